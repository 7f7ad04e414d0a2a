"""The tokenizer that a GGUF file describes in its fields, as llama.cpp reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from apo_sim.errors import InvalidArgument
from apo_sim.llm.models.text import Tokenizer
from apo_sim.plain_kinds import is_whole

# What tells GGUF tokens apart. The others, of bytes or of no use, are found by merging only.
_UNKNOWN, _CONTROL, _OF_THE_USER = 2, 3, 4
# Ends of a turn whose names mean one thing only; llama.cpp finds them by their names too, since
# early files of Llama 3 name just <|end_of_text|>, which its chats never write.
_ENDS_OF_TURNS = ("<|eot_id|>", "<|eom_id|>", "<|im_end|>")

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _TAIL
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _TAIL
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class _Cut:
    """How a text is cut before pairs are merged: by one expression after the other."""

    expressions: tuple[str, ...]
    # Whether a piece that is a token is taken whole, whatever the merges say.
    whole: bool = False
    # Whether the beginning token comes first where the file does not say.
    begins: bool = False
    # Whether characters are composed first, as that model's own tokenizer does.
    composed: bool = False


_DIGITS = _Cut((r"\p{N}", _GPT2))
_CUTS = {
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), _Cut((_LLAMA3,), whole=True, begins=True)),
    "smaug-bpe": _Cut((_LLAMA3,)),
    "tekken": _Cut((_TEKKEN,), whole=True, begins=True),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), _Cut((_QWEN2,), composed=True)),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell"), _DIGITS),
    **dict.fromkeys(("gpt-2", "mpt", "olmo"), _Cut((_GPT2,))),
    "default": _Cut((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
}


def read(fields: dict[str, Any]) -> Tokenizer:
    """The byte-level tokenizer of a GGUF file.

    Args:
        fields: of the file.

    Raises:
        InvalidArgument: a kind of tokenizer, or a way to cut texts, that is not computed here;
            fields that are missing or contradict each other; the field is named.

    Source: llama.cpp's src/llama-vocab.cpp.
    """
    kind = fields.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise InvalidArgument(
            "tokenizer.ggml.model",
            kind,
            "is not supported",
            "pass a GGUF file of kind 'gpt2', or a folder with tokenizer.json and safetensors",
        )
    cut = _cut(fields)
    names = _list(fields, "tokenizer.ggml.tokens", str)
    inner = _inner(names, _list(fields, "tokenizer.ggml.merges", str), cut)
    kinds = _list(fields, "tokenizer.ggml.token_type", int)
    if len(kinds) != len(names):
        raise InvalidArgument(
            "tokenizer.ggml.token_type",
            f"{len(kinds)} types",
            f"do not match {len(names)} tokens",
            "download the file again",
        )
    _add(inner, names, kinds)
    bos, eos, unknown, padding = (
        _id(fields, name, len(names)) for name in ("bos", "eos", "unknown", "padding")
    )
    if eos is None:
        raise InvalidArgument(
            "tokenizer.ggml.eos_token_id", None, "is missing", "download the file again"
        )
    declared = [_id(fields, name, len(names)) for name in ("eot", "eom")]
    by_name = [names.index(name) for name in _ENDS_OF_TURNS if name in names]
    begins = _flag(fields, "add_bos_token", cut.begins) and bos is not None
    special = {"bos_token": bos, "eos_token": eos, "unk_token": unknown, "pad_token": padding}
    return Tokenizer(
        inner,
        begin=bos if begins else None,
        end=eos,
        ends=[token for token in (*declared, *by_name) if token is not None],
        padding=eos if padding is None else padding,
        template=_template(fields, names[bos] if begins and bos is not None else None),
        names={name: names[token] for name, token in special.items() if token is not None},
    )


def _cut(fields: dict[str, Any]) -> _Cut:
    name = fields.get("tokenizer.ggml.pre")
    if name is None:
        # llama.cpp then takes one that is wrong for most models, with a warning (its issue 6914).
        raise InvalidArgument(
            "tokenizer.ggml.pre",
            None,
            "is missing, so it is unknown how the model's tokenizer splits text",
            f"convert the model again with a newer llama.cpp, which writes one of {sorted(_CUTS)}",
        )
    if not isinstance(name, str) or name not in _CUTS:
        raise InvalidArgument(
            "tokenizer.ggml.pre",
            name,
            "is not supported",
            f"pass a folder with tokenizer.json, or a file with one of {sorted(_CUTS)}",
        )
    return _CUTS[name]


def _inner(names: Sequence[str], merges: Sequence[str], cut: _Cut) -> tokenizers.Tokenizer:
    vocabulary = {name: place for place, name in enumerate(names)}
    if len(vocabulary) != len(names):
        raise InvalidArgument(
            "tokenizer.ggml.tokens",
            f"{len(names)} tokens",
            f"are only {len(vocabulary)} different ones",
            "download the file again",
        )
    # A token may begin with a space, but a merge is cut at the next one.
    pairs = [(m[: m.find(" ", 1)], m[m.find(" ", 1) + 1 :]) for m in merges]
    try:
        model = models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=cut.whole)
    except Exception as error:  # the package raises no class of its own
        raise InvalidArgument(
            "tokenizer.ggml.merges",
            f"{len(merges)} merges",
            f"do not fit the tokens ({error})",
            "download the file again",
        ) from error
    inner = tokenizers.Tokenizer(model)
    if cut.composed:
        inner.normalizer = normalizers.NFC()  # type: ignore[assignment]
    steps = [pre_tokenizers.Split(Regex(one), "isolated") for one in cut.expressions]
    inner.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    inner.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return inner


def _add(inner: tokenizers.Tokenizer, names: Sequence[str], kinds: Sequence[int]) -> None:
    """Tell the tokens that are found in a text as they are."""
    named = list(zip(names, kinds, strict=True))
    special = [name for name, kind in named if kind in (_UNKNOWN, _CONTROL)]
    inner.add_special_tokens([_added(name, special=True) for name in special])
    inner.add_tokens([_added(name, special=False) for name, kind in named if kind == _OF_THE_USER])


def _added(name: str, special: bool) -> tokenizers.AddedToken:
    return tokenizers.AddedToken(name, special=special, normalized=False)


def _template(fields: dict[str, Any], begin: str | None) -> str | None:
    """The chat template; llama.cpp puts the beginning token before it where it has none itself."""
    found = fields.get("tokenizer.chat_template")
    if found is None:
        _check_unnamed(fields)
        return None
    if not isinstance(found, str):
        raise InvalidArgument(
            "tokenizer.chat_template", found, "is not a text", "download the file again"
        )
    if begin is None or "bos_token" in found or begin in found:
        return found
    return "{{ bos_token }}" + found


def _check_unnamed(fields: dict[str, Any]) -> None:
    """Refuse templates that all have names: without any, a prompt would be taken as it is."""
    named = sorted(field for field in fields if field.startswith("tokenizer.chat_template"))
    if named:
        raise InvalidArgument(
            "tokenizer.chat_template",
            None,
            f"is missing, while there are {named}",
            "convert the model again with one of its templates named 'default'",
        )


def _flag(fields: dict[str, Any], name: str, default: bool) -> bool:
    field = f"tokenizer.ggml.{name}"
    found = fields.get(field, default)
    if not isinstance(found, bool):
        raise InvalidArgument(field, found, "is not true or false", "download the file again")
    return found


def _id(fields: dict[str, Any], name: str, size: int) -> int | None:
    field = f"tokenizer.ggml.{name}_token_id"
    found = fields.get(field)
    if found is None:
        return None
    if not is_whole(found) or not 0 <= found < size:
        raise InvalidArgument(
            field, found, f"is not among the {size} tokens", "download the file again"
        )
    return found


def _list(fields: dict[str, Any], field: str, kind: type) -> list[Any]:
    found = fields.get(field)
    if not isinstance(found, list) or not all(isinstance(entry, kind) for entry in found):
        raise InvalidArgument(
            field,
            found,
            f"is not a list of {kind.__name__}",
            "download the file again",
        )
    return found
