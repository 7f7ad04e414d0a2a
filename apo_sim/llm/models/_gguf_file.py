"""GGUF files of Llama-shaped models, as llama.cpp has them, quantised or not."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from apo_sim.errors import InvalidArgument
from apo_sim.llm.models import _gguf_text
from apo_sim.llm.models._checkpoint import SHAPES, Checkpoint, check_tensors
from apo_sim.llm.models.llama import Config, rope_periods

_AGAIN = "download it again"
_FOLDER = "pass a folder of safetensors"
# How much slower each rotation is in Llama 3.1 (8 at most) and in Llama 3.2 (32).
_SLOWED = "rope_freqs.weight"
_FACTORS = (8.0, 32.0)
_LLAMA3 = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
# Fields without which llama.cpp reads no Llama, and those that it completes.
_NEEDED = (
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
)


def read(path: Path) -> Checkpoint:
    """What a GGUF file holds.

    Raises:
        InvalidArgument: a file that is damaged or a part of several, a model of another
            architecture, or a field that asks for what is not computed here; it is named.
    """
    try:
        reader = gguf.GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
    except Exception as error:  # the reader trips over damage in many ways
        raise InvalidArgument("model", str(path), "cannot be read as GGUF", _AGAIN) from error
    tokenizer = _gguf_text.read(fields)
    _check_computed(path, fields, tensors)
    config, context = _config(path, fields, tensors)
    if (slowed := tensors.pop(_SLOWED, None)) is not None:
        config = _as_llama3(config, np.asarray(slowed.data).reshape(-1))
    shapes = {name: tuple(map(int, reversed(tensor.shape))) for name, tensor in tensors.items()}
    check_tensors(path, {hugging_face_name(name): shape for name, shape in shapes.items()}, config)

    def tensor(name: str) -> np.ndarray:
        there = tensors[tensor_name(name)]
        try:
            values = gguf.dequantize(there.data, there.tensor_type)
        except NotImplementedError as error:
            raise InvalidArgument(
                there.name,
                there.tensor_type.name,
                f"of {path} is a quantisation that is not supported",
                _FOLDER,
            ) from error
        if there.name.endswith(("attn_q.weight", "attn_k.weight")):
            # llama.cpp interleaves the two halves of what is rotated.
            pairs = values.reshape(-1, config.head_dim // 2, 2, values.shape[1])
            values = pairs.swapaxes(1, 2).reshape(values.shape)
        return values

    return Checkpoint(
        config=config,
        read=tensor,
        tokenizer=tokenizer,
        context=context,
        name=path.name.split(".")[0],
    )


def _check_computed(path: Path, fields: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Refuse what would be computed wrongly."""
    kind = fields.get("general.architecture")
    if kind not in SHAPES:
        raise InvalidArgument("model", kind, "is not Llama-shaped", f"pass one of {SHAPES}")
    for name in _NEEDED:
        value = fields.get(f"{kind}.{name}")
        if not isinstance(value, int) or value < 1:
            raise InvalidArgument(f"{kind}.{name}", value, f"of {path} is not a valid size", _AGAIN)
    if "token_embd.weight" not in tensors:
        raise InvalidArgument("model", str(path), "lacks token_embd.weight", _AGAIN)
    head = fields.get(f"{kind}.attention.key_length") or _head(fields, kind)
    for name, fine in (
        (f"{kind}.rope.scaling.type", ("none", "linear")),
        (f"{kind}.rope.scaling.attn_factor", (1.0,)),
        (f"{kind}.rope.dimension_count", (head,)),
        (f"{kind}.attention.causal", (True,)),
        (f"{kind}.attention.value_length", (head,)),
        (f"{kind}.expert_count", (0,)),
        ("split.count", (0, 1)),
    ):
        value = fields.get(name)
        if value is not None and value not in fine:
            raise InvalidArgument(name, value, f"of {path} is not supported in GGUF files", _FOLDER)


def _config(path: Path, fields: dict[str, Any], tensors: dict[str, Any]) -> tuple[Config, int]:
    """Sizes, and the longest sequence."""
    kind = fields["general.architecture"]

    def field(name: str, default: Any = None) -> Any:
        return fields.get(f"{kind}.{name}", default)

    epsilon = _number(f"{kind}.attention.layer_norm_rms_epsilon", fields)
    theta = _number(f"{kind}.rope.freq_base", fields, 10_000.0)
    words, listed = int(tensors["token_embd.weight"].shape[-1]), fields["tokenizer.ggml.tokens"]
    if words < len(listed):
        raise InvalidArgument(
            "tokenizer.ggml.tokens", f"{len(listed)} tokens", f"have {words} embeddings", _AGAIN
        )
    heads, context = field("attention.head_count"), field("context_length")
    config = Config(
        num_layers=field("block_count"),
        vocab_size=words,
        embed_dim=field("embedding_length"),
        hidden_dim=field("feed_forward_length"),
        num_heads=heads,
        head_dim=field("attention.key_length") or _head(fields, kind),
        num_kv_heads=field("attention.head_count_kv", heads),
        rope_theta=int(theta) if theta.is_integer() else theta,
        norm_eps=epsilon,
        weight_tying="output.weight" not in tensors,
        rope_scaling=_scaling(fields, kind),
    )
    return config, min(context, field("attention.sliding_window") or context)


def _as_llama3(config: Config, slowed: np.ndarray) -> Config:
    """With the rotations of Llama 3.1 and later, of which GGUF holds what they come to.

    The numbers that they come from are published, and tried here: a folder needs them.
    """
    plain = rope_periods(config)
    for factor in _FACTORS:
        fields = {"rope_type": "llama3", "factor": factor, **_LLAMA3}
        found = replace(config, rope_scaling=tuple(fields.items()))
        periods = rope_periods(found)
        if slowed.shape == plain.shape and np.allclose(periods, slowed * plain, rtol=1e-5, atol=0):
            return found
    raise InvalidArgument(_SLOWED, slowed, "matches no published Llama", _FOLDER)


def _head(fields: dict[str, Any], kind: str) -> int:
    return fields[f"{kind}.embedding_length"] // fields[f"{kind}.attention.head_count"]


def _scaling(fields: dict[str, Any], kind: str) -> tuple[tuple[str, Any], ...]:
    """As llama.cpp has it: linear where there is a factor, under its name or a former one."""
    found = fields.get(f"{kind}.rope.scaling.type")
    names = [f"{kind}.rope.scaling.factor", f"{kind}.rope.scale_linear"]
    given = [name for name in names if name in fields]
    if found == "none" or (found is None and not given):
        return ()
    return (("rope_type", "linear"), ("factor", _number((given or names)[0], fields)))


def _number(name: str, fields: dict[str, Any], default: Any = None) -> float:
    value = fields.get(name, default)
    if not isinstance(value, float | int) or not 0 < value < 1e38:
        raise InvalidArgument(name, value, "is not a positive number", _AGAIN)
    return float(value)


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


def tensor_name(name: str) -> str:
    """From a name in Hugging Face's layout to llama.cpp's.

    Example:
        >>> tensor_name("model.layers.3.mlp.up_proj.weight")
        'blk.3.ffn_up.weight'
    """
    stem, found = name.removesuffix(".weight"), re.match(r"model\.layers\.(\d+)\.(.*)", name)
    if found is None:
        return f"{_GGUF[stem]}.weight"
    return f"blk.{found[1]}.{_GGUF[found[2].removesuffix('.weight')]}.weight"


def hugging_face_name(name: str) -> str:
    """The other way; a name that llama.cpp's Llamas do not have stays as it is.

    Example:
        >>> hugging_face_name("blk.3.ffn_up.weight")
        'model.layers.3.mlp.up_proj.weight'
        >>> hugging_face_name("blk.3.ffn_up.bias")
        'blk.3.ffn_up.bias'
    """
    found = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.weight", name)
    if found is None or found[2] not in _HUGGING_FACE:
        return name
    layer = "" if found[1] is None else f"model.layers.{found[1]}."
    return f"{layer}{_HUGGING_FACE[found[2]]}.weight"


_HUGGING_FACE = {theirs: name for name, theirs in _GGUF.items()}
