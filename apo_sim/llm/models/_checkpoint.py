"""Weights of a Llama in Hugging Face's layout, and the network that they make."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from apo_sim.errors import InvalidArgument
from apo_sim.llm.models.adapters import effective
from apo_sim.llm.models.llama import Config, Llama
from apo_sim.llm.models.meshes import evenly, fetched
from apo_sim.llm.models.stored_parameters import named
from apo_sim.llm.models.text import Tokenizer

# Hugging Face's names of architectures that are this one.
SHAPES = ("llama", "mistral")
# Tensors that hold nothing of their own.
_DERIVED = "rotary_emb.inv_freq"


@dataclass(frozen=True)
class Checkpoint:
    """What a file or folder of a model holds, its weights not yet read.

    Attributes:
        config: sizes.
        read: from a name in Hugging Face's layout to a tensor.
        tokenizer: that belongs to it.
        context: longest sequence, in tokens.
        name: for tables and figures.
    """

    config: Config
    read: Callable[[str], np.ndarray]
    tokenizer: Tokenizer
    context: int
    name: str


def network(checkpoint: Checkpoint, mesh: jax.sharding.Mesh | None, dtype: Any) -> Llama:
    """A network of the weights, read one by one and sharded at once.

    Raises:
        InvalidArgument: a tensor that holds NaN or infinity, in its file or in this precision.
    """
    config = checkpoint.config
    shell = nnx.eval_shape(lambda: Llama(config, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(shell)
    flat = _flat(state)
    layout = None if mesh is None else _flat(nnx.get_named_sharding(state, mesh))
    for name, path, kind in _tensors(config):
        place = None if layout is None else layout[path].get_value()
        # Cast on the host: no device ever holds more than the model itself.
        with np.errstate(over="ignore", invalid="ignore"):
            found = _into(checkpoint.read(name), kind, config).astype(dtype)
        _check_finite(checkpoint.name, name, found)
        flat[path] = flat[path].replace(_put(found, place))
    return nnx.merge(graph, nnx.statelib.from_flat_state(flat))


def tensor_bytes(model: Llama) -> dict[str, int]:
    """Bytes of every tensor that `weights` brings, none of which is read."""
    leaves, found = dict(named(model)), {}
    for name, path, _ in _tensors(model.config):
        there = jax.eval_shape(lambda path=path: effective(leaves, _joined(path)))
        found[name] = there.size * there.dtype.itemsize
    return found


def weights(model: Llama, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The other way: tensors by name, with their adapters, if there are any.

    Of several processes all call it, and the first gets them.

    Args:
        model: a Llama.
        names: the tensors wanted; None: all.
    """
    config, leaves, found = model.config, dict(named(model)), {}
    for name, path, kind in _tensors(config):
        if names is None or name in names:
            # JAX keeps what it fetches as long as the array lives: a copy is gone with this line.
            values = fetched(jnp.copy(effective(leaves, _joined(path))))
            if jax.process_index() == 0:
                found[name] = np.ascontiguousarray(_out_of(values, kind, config))
    return found


def check_tensors(source: Path, there: Mapping[str, tuple[int, ...]], config: Config) -> None:
    """Refuse tensors that are not those of the configuration, before anything is allocated.

    Args:
        source: file or folder, for the message.
        there: shapes of all tensors, by their names in Hugging Face's layout.
        config: sizes.

    Raises:
        InvalidArgument: a tensor that is missing, of another shape, or would be ignored: the model
            would be another, and no one would know.
    """
    # A configuration of a billion layers is refused before they are counted one by one.
    if config.num_layers > len(there):
        raise InvalidArgument(
            "num_hidden_layers",
            config.num_layers,
            f"is more than the {len(there)} tensors of {source}",
            "check its configuration against the weights, or download it again",
        )
    wanted = {name: _shape(name, config) for name, *_ in _tensors(config)}
    for name in sorted(wanted):
        if name not in there:
            raise InvalidArgument("model", str(source), f"lacks {name}", "download it again")
        if tuple(there[name]) != wanted[name]:
            raise InvalidArgument(
                name,
                str(tuple(there[name])),
                f"differs from the shape {wanted[name]} in the configuration",
                "check config.json against the weights",
            )
    left = sorted(name for name in set(there) - set(wanted) if not name.endswith(_DERIVED))
    if left:
        raise InvalidArgument(
            "model",
            str(source),
            f"holds {left[0]}, which a Llama of its configuration does not have",
            "check its configuration, or load it with Tunix and pass llm.Model(network, ...)",
        )


def _check_finite(source: str, name: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise InvalidArgument(
            name,
            str(values[~np.isfinite(values)][0]),
            f"is among the weights of {source} in {values.dtype}",
            "download the model again, or load it as float32",
        )


def _put(values: np.ndarray, place: jax.sharding.NamedSharding | None) -> jax.Array:
    if place is None:
        return jax.device_put(values, jax.local_devices()[0])
    place = evenly(place, values.shape)
    return jax.make_array_from_callback(values.shape, place, lambda index: values[index])


def _joined(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def _flat(state: Any) -> dict[tuple[Any, ...], Any]:
    return dict(nnx.to_flat_state(state))


_LAYER = (
    ("self_attn.q_proj", ("attn", "q_proj", "w"), "queries"),
    ("self_attn.k_proj", ("attn", "k_proj", "w"), "keys"),
    ("self_attn.v_proj", ("attn", "v_proj", "w"), "keys"),
    ("self_attn.o_proj", ("attn", "o_proj", "w"), "output"),
    ("mlp.gate_proj", ("mlp", "gate_proj", "kernel"), "matrix"),
    ("mlp.up_proj", ("mlp", "up_proj", "kernel"), "matrix"),
    ("mlp.down_proj", ("mlp", "down_proj", "kernel"), "matrix"),
    ("input_layernorm", ("input_layernorm", "w"), "as it is"),
    ("post_attention_layernorm", ("post_attention_layernorm", "w"), "as it is"),
)


def _tensors(config: Config) -> Iterator[tuple[str, tuple[Any, ...], str]]:
    """Name in Hugging Face's layout, place in the network, and how the two are laid out."""
    yield "model.embed_tokens.weight", ("embedder", "input_embedding"), "as it is"
    yield "model.norm.weight", ("final_norm", "w"), "as it is"
    if not config.weight_tying:
        yield "lm_head.weight", ("lm_head", "w"), "matrix"
    for number in range(config.num_layers):
        for name, path, kind in _LAYER:
            yield f"model.layers.{number}.{name}.weight", ("layers", number, *path), kind


def _shape(name: str, config: Config) -> tuple[int, ...]:
    """Of a tensor in Hugging Face's layout."""
    width, inner, words = config.embed_dim, config.hidden_dim, config.vocab_size
    queries, keys = (n * config.head_dim for n in (config.num_heads, config.num_kv_heads))
    shapes = {
        "embed_tokens": (words, width),
        "lm_head": (words, width),
        "q_proj": (queries, width),
        "k_proj": (keys, width),
        "v_proj": (keys, width),
        "o_proj": (width, queries),
        "gate_proj": (inner, width),
        "up_proj": (inner, width),
        "down_proj": (width, inner),
    }
    return shapes.get(name.split(".")[-2], (width,))


def _into(tensor: np.ndarray, kind: str, config: Config) -> np.ndarray:
    width, head = config.embed_dim, config.head_dim
    shapes = {
        "queries": (width, config.num_heads, head),
        "keys": (width, config.num_kv_heads, head),
        "output": (config.num_heads, head, width),
    }
    if kind == "as it is":
        return tensor
    tensor = tensor.T
    return tensor.reshape(shapes.get(kind, tensor.shape))


def _out_of(tensor: np.ndarray, kind: str, config: Config) -> np.ndarray:
    if kind == "as it is":
        return tensor
    rows = config.num_heads * config.head_dim if kind == "output" else tensor.shape[0]
    return tensor.reshape(rows, -1).T
