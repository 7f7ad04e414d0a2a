"""GGUF files of Llama-shaped models, as llama.cpp has them, quantised or not."""

import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from apo_sim.errors import InvalidArgument
from apo_sim.llm import text
from apo_sim.llm.checkpoint import SHAPES, Checkpoint, check_all_used, names
from apo_sim.llm.llama import Config


def read(path: Path) -> Checkpoint:
    """What a GGUF file holds.

    Raises:
        InvalidArgument: a file that is damaged, or of another architecture.
    """
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

    check_all_used(path, tensors, map(tensor_name, names(config)))

    def tensor(name: str) -> np.ndarray:
        there = tensor_name(name)
        if there not in tensors:
            raise InvalidArgument("model", str(path), f"lacks {there}", "download it again")
        values = gguf.dequantize(tensors[there].data, tensors[there].tensor_type)
        if there.endswith(("attn_q.weight", "attn_k.weight")):
            # llama.cpp interleaves the two halves of what is rotated.
            pairs = values.reshape(-1, config.head_dim // 2, 2, values.shape[1])
            values = pairs.swapaxes(1, 2).reshape(values.shape)
        return values

    return Checkpoint(
        config=config,
        read=tensor,
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
