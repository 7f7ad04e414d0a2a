"""The tokenizer in a folder of Hugging Face's layout, as transformers reads it."""

import importlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tokenizers

from apo_sim.errors import InvalidArgument
from apo_sim.llm.models import _model_json
from apo_sim.llm.models.text import Tokenizer

# What transformers reads beside tokenizer_config.json, and believes more.
BESIDE = (
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "additional_chat_templates",
)
# What it makes a tokenizer of.
_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", *BESIDE)
_MARK = b"\xef\xbb\xbf"
_AGAIN = "download it again"
# Words, digits, punctuation, spaces and letters that tokenizers cut in different ways.
_PROBES = ("a w3 Hello world", "In 2024, it's 3.14%:\n\n  (x)", "é日本語 ß\tÀ", "1234567 12345678")


def read(folder: Path, *, ends: Sequence[int], size: int) -> Tokenizer:
    """The tokenizer of a model.

    Args:
        folder: of the model.
        ends: tokens that end a response by the model's configuration.
        size: tokens that the network has embeddings of.

    Raises:
        InvalidArgument: a file that is missing or damaged; no token that ends a response; tokens
            that are put behind a prompt; a template of no name among several.
    """
    theirs = _by_transformers(folder)
    inner = theirs.backend_tokenizer
    found = [theirs.eos_token_id, *ends]
    found = [token for token in found if token is not None]
    if not found:
        raise InvalidArgument(
            "model", str(folder), "names no eos_token", "add it to tokenizer_config.json"
        )
    for token in found:
        if not 0 <= token < size or inner.id_to_token(token) is None:
            raise InvalidArgument(
                "eos_token_id",
                token,
                f"of {folder} is not among its {min(size, inner.get_vocab_size())} tokens",
                _AGAIN,
            )
    padding = theirs.pad_token_id
    return Tokenizer(
        inner,
        begin=_begin(folder, theirs, inner),
        end=found[0],
        ends=found,
        # Told by a mask and not by its number, it may be any token.
        padding=padding if padding is not None and padding < size else found[0],
        template=_template(folder, theirs),
        names={name: token for name, token in theirs.special_tokens_map.items() if token},
        size=size,
    )


def transformers() -> Any:
    """The package, imported when a folder is read, since that takes a second.

    Its notice that PyTorch is missing is left out: nothing here needs it.
    """
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    return importlib.import_module("transformers")


def _by_transformers(folder: Path) -> Any:
    """The tokenizer as transformers reads it, by its class, or else by tokenizer.json alone.

    For GPT2Tokenizer and LlamaTokenizer, transformers 5 takes but the vocabulary and the merges
    from tokenizer.json, and cuts texts as GPT-2 or Llama 2 does. Published folders name these
    classes for tokenizers of another kind (SmolLM2, whose digits are single; many children of
    Llama 3). Where the class does not even cut plain text as tokenizer.json says, it is not
    believed: tokenizer.json is what the model was trained with.
    """
    if not (folder / "tokenizer.json").is_file():
        raise InvalidArgument(
            "model", str(folder), "has no tokenizer.json", "add it: transformers' save_pretrained"
        )
    with _copy(folder) as copy:
        try:
            whole = _from(copy, "PreTrainedTokenizerFast")
            by_class = _from(copy, "AutoTokenizer")
            same = all(_plain(whole, probe) == _plain(by_class, probe) for probe in _PROBES)
        except Exception as error:  # of many classes, the package tokenizers' own among them
            said = str(error).replace(str(copy), str(folder)).strip().splitlines() or [""]
            raise InvalidArgument(
                "model",
                str(folder),
                f"cannot be read as a tokenizer ({type(error).__name__}: {said[-1][:200]})",
                "check tokenizer.json and tokenizer_config.json, or download them again",
            ) from error
    dropout = getattr(whole.backend_tokenizer.model, "dropout", None)
    if dropout:
        raise InvalidArgument(
            "dropout",
            dropout,
            f"in the tokenizer.json of {folder} cuts the same text differently each time",
            "set it to null there",
        )
    return by_class if same else whole


def _from(folder: Path, reader: str) -> Any:
    found = getattr(transformers(), reader).from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    found.backend_tokenizer.no_truncation()
    found.backend_tokenizer.no_padding()
    return found


def _plain(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids


@contextmanager
def _copy(folder: Path) -> Iterator[Path]:
    """The files of a tokenizer alone, without the byte order mark that some editors put first."""
    with tempfile.TemporaryDirectory() as made:
        copy = Path(made) / folder.name
        copy.mkdir()
        for name in _FILES:
            source, target = folder / name, copy / name
            if source.is_dir():
                shutil.copytree(source, target)
            elif source.is_file():
                target.write_bytes(source.read_bytes().removeprefix(_MARK))
        yield copy


def _begin(folder: Path, theirs: Any, inner: tokenizers.Tokenizer) -> int | None:
    """The token before a text: what tokenizer.json puts there, or add_bos_token asks for.

    transformers 4 heeds the second, transformers 5 the first alone, if there is a tokenizer.json.
    """
    found, path = _put_before(folder, inner), folder / "tokenizer_config.json"
    asked = _model_json.read(path).get("add_bos_token") if path.is_file() else None
    if asked is False and found is not None and theirs.chat_template is None:
        raise InvalidArgument(
            "add_bos_token",
            asked,
            f"in {folder} contradicts its tokenizer.json, which puts {inner.id_to_token(found)!r} "
            "before a text",
            "set it to true, or take the token out of post_processor in tokenizer.json",
        )
    return theirs.bos_token_id if asked and found is None else found


def _put_before(folder: Path, inner: tokenizers.Tokenizer) -> int | None:
    for probe in _PROBES:
        plain = inner.encode(probe, add_special_tokens=False).ids
        if not plain:
            continue
        whole = inner.encode(probe).ids
        added = len(whole) - len(plain)
        if added > 1 or whole[added:] != plain:
            raise InvalidArgument(
                "post_processor",
                f"{plain} becomes {whole}",
                f"by the tokenizer.json of {folder}, but only one token before a prompt can be "
                "right for a model that goes on from there",
                "take the others out of post_processor in tokenizer.json",
            )
        return whole[0] if added else None
    return None


def _template(folder: Path, theirs: Any) -> str | None:
    if theirs.chat_template is None:
        return None
    try:
        found = theirs.get_chat_template()
    except ValueError:
        found = None
    if not isinstance(found, str):
        raise InvalidArgument(
            "chat_template",
            sorted(theirs.chat_template) if isinstance(theirs.chat_template, dict) else found,
            f"of {folder} has no template named 'default'",
            "rename one of them to 'default' in tokenizer_config.json",
        )
    return found
