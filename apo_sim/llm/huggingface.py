"""Folders of Llama-shaped models as Hugging Face's transformers have them: JSON and safetensors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from apo_sim.errors import InvalidArgument
from apo_sim.llm import text
from apo_sim.llm.checkpoint import SHAPES, Checkpoint, check_all_used, names
from apo_sim.llm.llama import Config
from apo_sim.llm.text import Tokenizer

# Its names of rotations that are known here.
ROTATIONS = ("default", "linear", "llama3")


def read(folder: Path) -> Checkpoint:
    """What a folder holds: config.json, tokenizer.json and safetensors.

    Raises:
        InvalidArgument: a file that is missing or damaged, or of another architecture.
    """
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
    check_all_used(folder, files, [*tied, *names(config)])

    def tensor(name: str) -> np.ndarray:
        if name not in files:
            raise InvalidArgument("model", str(folder), f"lacks {name}", "download it again")
        with safetensors.safe_open(files[name], framework="numpy") as opened:  # type: ignore[attr-defined]
            return opened.get_tensor(name)

    return Checkpoint(
        config=config,
        read=tensor,
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
    fields = ["factor"]
    if kind == "llama3":
        fields += ["low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
    return (("rope_type", kind), *((name, entry[name]) for name in fields))


def write(
    folder: Path, config: Config, tensors: dict[str, np.ndarray], tokenizer: Tokenizer, context: int
) -> None:
    """The other way.

    Args:
        folder: is made.
        config: sizes.
        tensors: all of them, by name.
        tokenizer: that belongs to them.
        context: longest sequence, in tokens.
    """
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    tokens = {"bos": tokenizer.begin, "eos": tokenizer.end, "pad": tokenizer.padding}
    dtype = str(next(iter(tensors.values())).dtype)
    settings = _settings(config) | {f"{name}_token_id": token for name, token in tokens.items()}
    settings |= {"max_position_embeddings": context, "dtype": dtype}
    _write_json(folder / "config.json", settings)
    tokenizer.inner.save(str(folder / "tokenizer.json"))
    named = {
        f"{name}_token": tokenizer.inner.id_to_token(token)
        for name, token in tokens.items()
        if token is not None
    }
    named |= {
        "chat_template": tokenizer.template,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    _write_json(folder / "tokenizer_config.json", named)


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


def _settings(config: Config) -> dict[str, Any]:
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
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1))
