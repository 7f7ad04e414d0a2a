"""Folders of Llama-shaped models as Hugging Face's transformers has them: JSON and safetensors."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from huggingface_hub import split_state_dict_into_shards_factory

from apo_sim import files
from apo_sim.errors import InvalidArgument
from apo_sim.llm import stages
from apo_sim.llm.models import _folder_text, _model_json, _shards, stored_parameters
from apo_sim.llm.models._checkpoint import (
    SHAPES,
    Checkpoint,
    check_tensors,
    tensor_bytes,
    weights,
)
from apo_sim.llm.models.llama import Config, Llama
from apo_sim.llm.models.text import Tokenizer
from apo_sim.plain_kinds import is_real, is_whole

# Its names of rotations that are known here, with the fields that each needs.
ROTATIONS = {
    "default": (),
    "linear": ("factor",),
    "llama3": (
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ),
}
# From our names of sizes to those of config.json.
_SIZES = {
    "num_layers": "num_hidden_layers",
    "vocab_size": "vocab_size",
    "embed_dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "num_heads": "num_attention_heads",
    "head_dim": "head_dim",
    "num_kv_heads": "num_key_value_heads",
}
# Fields of config.json that are never left out.
_NEEDED = (
    "num_hidden_layers",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "max_position_embeddings",
    "rms_norm_eps",
)
# Fields of config.json that change what is computed, and their values that are computed here.
_COMPUTED = {
    "hidden_act": ("silu", "swish"),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "is_causal": (True, None),
    "quantization_config": (None,),
}
# Of a file of weights that is written, as transformers has long had it; a larger tensor is alone.
MOST_BYTES = 5 * 10**9
_CHECK = "check config.json, or download it again"


def read(folder: Path) -> Checkpoint:
    """What a folder holds: config.json, tokenizer.json and safetensors.

    Fields that config.json may leave out are those that transformers assumes.

    Raises:
        InvalidArgument: a file that is missing or damaged, a model of another architecture, or a
            field that asks for what is not computed here; it is named.
    """
    _check_whole_model(folder)
    settings = _model_json.read(folder / "config.json")
    config, context = _config(folder, settings)
    tensors = _shards.tensors(folder)
    there = {name: tensor.shape for name, tensor in tensors.items()}
    if config.weight_tying and there.get("lm_head.weight"):
        _check_tied(tensors)
        del there["lm_head.weight"]
    check_tensors(folder, there, config)
    return Checkpoint(
        config=config,
        read=lambda name: tensors[name].read(),
        tokenizer=_folder_text.read(folder, ends=_ends(folder, settings), size=config.vocab_size),
        context=context,
        name=folder.name,
    )


def _check_whole_model(folder: Path) -> None:
    """Say what a folder is that is often taken for a model's."""
    if (folder / "adapter_config.json").is_file():
        raise InvalidArgument(
            "model",
            str(folder),
            "holds an adapter (adapter_config.json), which transformers would add to its model",
            "merge it first: peft's merge_and_unload, then save_pretrained",
        )
    if not (folder / "config.json").is_file():
        inside = sorted(str(path.parent) for path in folder.glob("snapshots/*/config.json"))
        raise InvalidArgument(
            "model",
            str(folder),
            "has no config.json",
            f"pass {inside[0]}" if inside else "pass the folder of a model, as downloaded",
        )


def _config(folder: Path, settings: dict[str, Any]) -> tuple[Config, int]:
    """Sizes, and the longest sequence."""
    theirs = _by_transformers(folder, settings)
    for field, computed in _COMPUTED.items():
        value = getattr(theirs, field, None)
        if value not in computed:
            raise _not_computed(folder, field, value)
    sizes = {
        field: getattr(theirs, field) for field in (*_SIZES.values(), "max_position_embeddings")
    }
    # Up to there a sliding window hides nothing, and it is not computed here.
    window = getattr(theirs, "sliding_window", None) if theirs.model_type == "mistral" else None
    if window is not None:  # of 0 or below it would hide every token
        sizes["sliding_window"] = window
    for field, value in sizes.items():
        if not is_whole(value) or value < 1:
            raise InvalidArgument(field, value, f"in {folder} is not a valid size", _CHECK)
    theta, scaling = _rotations(folder, theirs.rope_parameters)
    config = Config(
        **{size: sizes[field] for size, field in _SIZES.items()},
        rope_theta=theta,
        norm_eps=theirs.rms_norm_eps,
        weight_tying=theirs.tie_word_embeddings,
        rope_scaling=scaling,
    )
    longest = sizes["max_position_embeddings"]
    return config, min(longest, window or longest)


def _by_transformers(folder: Path, settings: dict[str, Any]) -> Any:
    """The configuration as transformers completes it."""
    kind = settings.get("model_type")
    if kind not in SHAPES:
        raise InvalidArgument(
            "model",
            str(folder),
            f"is of type {kind!r}, which is not supported",
            f"pass one of {SHAPES}, or load it with Tunix and pass llm.Model(network, ...)",
        )
    for field in _NEEDED:
        if field not in settings:
            raise InvalidArgument(
                "model", str(folder / "config.json"), f"lacks {field!r}", "download it again"
            )
    for field in ("rope_scaling", "rope_parameters"):
        _check_rotations(folder, field, settings.get(field))
    try:
        return _folder_text.transformers().AutoConfig.for_model(**settings)
    except Exception as error:  # of many classes; the last line names the field
        said = (str(error).strip().splitlines() or [""])[-1]
        raise InvalidArgument(
            "model", str(folder / "config.json"), f"cannot be used: {said[:300].strip()}", _CHECK
        ) from error


def _check_rotations(folder: Path, field: str, entry: Any) -> None:
    if entry is None:
        return
    if not isinstance(entry, dict):
        raise InvalidArgument(field, entry, f"in {folder} is not a JSON object", _CHECK)
    kind = entry.get("rope_type", entry.get("type", "default"))
    if not isinstance(kind, str) or kind not in ROTATIONS:
        raise _not_computed(folder, field, kind)
    for name in ROTATIONS[kind]:
        # What is missing here is the longest sequence of all, to transformers.
        if name not in entry and name != "original_max_position_embeddings":
            raise InvalidArgument(field, entry, f"in {folder} lacks {name!r}", _CHECK)


def _rotations(
    folder: Path, entry: dict[str, Any]
) -> tuple[float | int, tuple[tuple[str, Any], ...]]:
    """Base of the rotations, and how they are slowed down, as transformers completes them."""
    if entry.get("partial_rotary_factor", 1.0) != 1.0:
        raise _not_computed(folder, "partial_rotary_factor", entry["partial_rotary_factor"])
    fields = ROTATIONS[entry["rope_type"]]
    for field in ("rope_theta", *fields):
        value = entry[field]
        if not is_real(value) or not 0 < value < 1e38:
            raise InvalidArgument(field, value, f"in {folder} is not a positive number", _CHECK)
    if "low_freq_factor" in fields and not entry["low_freq_factor"] < entry["high_freq_factor"]:
        raise InvalidArgument(
            "high_freq_factor", entry["high_freq_factor"], "is not above low_freq_factor", _CHECK
        )
    scaling = ("rope_type", *fields) if fields else ()
    return entry["rope_theta"], tuple((name, entry[name]) for name in scaling)


def _not_computed(folder: Path, field: str, value: Any) -> InvalidArgument:
    known = _COMPUTED.get(field, tuple(ROTATIONS) if field.startswith("rope") else (1.0,))
    return InvalidArgument(
        field,
        value,
        f"of {folder} is not supported, only {' or '.join(map(repr, known))} are",
        "pass another model, or load it with Tunix and pass llm.Model(network, ...)",
    )


def _check_tied(tensors: dict[str, _shards.Tensor]) -> None:
    """Refuse two different matrices where the configuration says that they are one."""
    head, embedding = (tensors.get(f"{name}.weight") for name in ("lm_head", "model.embed_tokens"))
    if head is None or embedding is None or np.array_equal(head.read(), embedding.read()):
        return
    raise InvalidArgument(
        "tie_word_embeddings",
        True,
        "contradicts the weights: lm_head.weight is not model.embed_tokens.weight",
        "set it to false in config.json if the weights are right",
    )


def _ends(folder: Path, settings: dict[str, Any]) -> Sequence[int]:
    """Tokens that end a response: generation_config.json's, or else config.json's."""
    path = folder / "generation_config.json"
    found = (_model_json.read(path) if path.is_file() else settings).get("eos_token_id")
    listed = found if isinstance(found, list) else [] if found is None else [found]
    for token in listed:
        if not is_whole(token):
            raise InvalidArgument(
                "eos_token_id",
                found,
                f"of {folder} is neither a token nor a list of tokens",
                _CHECK,
            )
    return listed


def write(folder: Path, network: Llama, tokenizer: Tokenizer, context: int) -> None:
    """The other way, one file of weights after the other: the host never holds more than one.

    Of several processes all call it, and the first one writes.

    Args:
        folder: is made.
        network: whose weights are written, with their adapters, if there are any.
        tokenizer: that belongs to it.
        context: longest sequence, in tokens.

    Raises:
        InvalidArgument: the folder cannot be written.
    """
    sizes = tensor_bytes(network)
    split = split_state_dict_into_shards_factory(
        sizes,
        get_storage_size=int,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=MOST_BYTES,
    )
    shards = {folder / name: names for name, names in split.filename_to_tensors.items()}
    index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, names in shards.items():
            _write_shard(_draft(path), network, names)
        if jax.process_index() > 0:
            return
        for path in shards:
            _draft(path).replace(path)
        if split.is_sharded:
            (folder / _shards.WHOLE).unlink(missing_ok=True)  # it would be read in their place
            files.write_text(folder / _shards.INDEX, json.dumps(index, indent=1))
        _write_settings(folder, network, tokenizer, context)
    except (OSError, safetensors.SafetensorError) as error:
        raise files.cannot_write("folder", folder, error) from error


def _write_shard(path: Path, network: Llama, names: list[str]) -> None:
    tensors = weights(network, names)
    if jax.process_index() == 0:
        safetensors.numpy.save_file(tensors, path, {"format": "pt"})


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _write_settings(folder: Path, network: Llama, tokenizer: Tokenizer, context: int) -> None:
    """What is no weight: sizes, and the tokenizer, in the place of any that was there before."""
    for before in _folder_text.BESIDE:
        stages.clear_place(folder / before)
    ends = list(tokenizer.ends) if len(tokenizer.ends) > 1 else tokenizer.end
    # The widest: transformers reads all in this one, which would round what adapters have added.
    leaves = [leaf.get_value() for _, leaf in stored_parameters.named(network)]
    dtype = str(jnp.result_type(*(leaf.dtype for leaf in leaves)))
    settings = _settings(network.config) | {"max_position_embeddings": context, "dtype": dtype}
    settings |= {
        "bos_token_id": tokenizer.inner.token_to_id(tokenizer.names.get("bos_token", "")),
        "eos_token_id": ends,
        "pad_token_id": tokenizer.padding,
    }
    name = tokenizer.inner.id_to_token
    # Templates name them: what had no name gets one only if `read` would take another token.
    tokens = dict(tokenizer.names)
    if tokenizer.padding != tokenizer.end:
        tokens["pad_token"] = name(tokenizer.padding)
    if tokenizer.begin is not None:
        tokens["bos_token"] = name(tokenizer.begin)
    named = tokens | {
        "add_bos_token": tokenizer.begin is not None,
        "chat_template": tokenizer.template,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    contents = {
        "config.json": settings,
        "generation_config.json": {"eos_token_id": ends},
        "tokenizer_config.json": named,
    }
    files.write_text(folder / "tokenizer.json", tokenizer.inner.to_str(pretty=True))
    for file, content in contents.items():
        files.write_text(folder / file, json.dumps(content, indent=1))


def _settings(config: Config) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        **{field: getattr(config, size) for size, field in _SIZES.items()},
        "rope_theta": config.rope_theta,
        "rope_scaling": dict(config.rope_scaling) or None,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.weight_tying,
    }
