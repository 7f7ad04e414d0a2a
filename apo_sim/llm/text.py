"""Text to tokens and back: tokenizers built from what a model brings, and its chat template."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import tokenizers
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import decoders, models, pre_tokenizers

from apo_sim.errors import InvalidArgument

# What tells GGUF tokens apart: 1 normal, 3 control, 4 defined by the user.
_NORMAL = 1
_UNFIT = "cannot be read as a tokenizer"


class Tokenizer:
    """A tokenizer with the names that Tunix expects, and the chat template of its model.

    Args:
        inner: of the package `tokenizers`.
        begin: token put before a text, or None.
        end: token that ends a response.
        padding: token that fills up a batch. It must never occur in a text, since the sampler
            tells padding by it.
        template: jinja2 source of the chat template; None: the prompt as it is.

    Example:
        >>> words = tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, "?"))
        >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> Tokenizer(words, begin=None, end=1, padding=2).encode("a a b")
        [0, 0, 1]
    """

    def __init__(
        self,
        inner: tokenizers.Tokenizer,
        *,
        begin: int | None,
        end: int,
        padding: int,
        template: str | None = None,
    ):
        self.inner, self.begin, self.end, self.padding = inner, begin, end, padding
        self.template = template

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, none added."""
        return self.inner.encode(text, add_special_tokens=False).ids

    def decode(self, tokens: Any) -> str:
        """Text of tokens, without those that control the conversation."""
        return self.inner.decode([int(token) for token in tokens], skip_special_tokens=True)

    def bos_id(self) -> int | None:
        return self.begin

    def eos_id(self) -> int:
        return self.end

    def pad_id(self) -> int:
        return self.padding

    def prompt(self, text: str) -> str:
        """The conversation that asks for a response to a text, up to where the response begins."""
        if self.template is None:
            return text
        return self._template.render(
            messages=[{"role": "user", "content": text}],
            add_generation_prompt=True,
            bos_token=self._name(self.begin),
            eos_token=self._name(self.end),
        )

    def prompt_tokens(self, text: str) -> list[int]:
        """Tokens of `prompt(text)`, with the beginning token once."""
        tokens = self.encode(self.prompt(text))
        if self.begin is None or tokens[:1] == [self.begin]:
            return tokens
        return [self.begin, *tokens]

    @cached_property
    def _template(self) -> jinja2.Template:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _refuse
        return environment.from_string(self.template or "")

    def _name(self, token: int | None) -> str:
        return "" if token is None else self.inner.id_to_token(token)


def from_gguf(fields: dict[str, Any]) -> Tokenizer:
    """The byte-level tokenizer that a GGUF file describes in its fields.

    Raises:
        InvalidArgument: a kind of tokenizer that these fields do not describe.
    """
    kind = fields.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise InvalidArgument(
            "tokenizer.ggml.model", kind, "is not read here", "pass a GGUF file of kind 'gpt2'"
        )
    names = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    inner = tokenizers.Tokenizer(
        models.BPE(vocab={name: place for place, name in enumerate(names)}, merges=merges)
    )
    inner.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    inner.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    kinds = fields["tokenizer.ggml.token_type"]
    control = [n for n, kind in zip(names, kinds, strict=True) if kind != _NORMAL]
    inner.add_special_tokens([tokenizers.AddedToken(n, special=True) for n in control])
    end = int(fields["tokenizer.ggml.eos_token_id"])
    begin = int(fields["tokenizer.ggml.bos_token_id"])
    return Tokenizer(
        inner,
        begin=begin if fields.get("tokenizer.ggml.add_bos_token") else None,
        end=end,
        padding=_unused(inner, (int(fields.get("tokenizer.ggml.unknown_token_id", 0)), end, begin)),
        template=fields.get("tokenizer.chat_template"),
    )


def from_folder(folder: Path) -> Tokenizer:
    """The tokenizer in a folder of Hugging Face's layout: tokenizer.json and its configuration.

    Raises:
        InvalidArgument: a file that is missing or no tokenizer.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InvalidArgument(
            "model", str(folder), "has no tokenizer.json", "add it: transformers' save_pretrained"
        )
    try:
        inner = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises no class of its own
        raise InvalidArgument("model", str(path), _UNFIT, "download it again") from error
    settings = read_json(folder / "tokenizer_config.json")
    begin, end = (_token(inner, settings.get(name)) for name in ("bos_token", "eos_token"))
    if end is None:
        raise InvalidArgument(
            "model", str(folder), "names no eos_token", "add it to tokenizer_config.json"
        )
    template = folder / "chat_template.jinja"
    return Tokenizer(
        inner,
        begin=begin if settings.get("add_bos_token", begin is not None) else None,
        end=end,
        padding=_unused(inner, (_token(inner, settings.get("pad_token")), end, begin)),
        template=template.read_text() if template.is_file() else settings.get("chat_template"),
    )


def _unused(inner: tokenizers.Tokenizer, known: tuple[int | None, ...]) -> int:
    """A control token that no text holds: neither the end of a turn nor the beginning of one."""
    wanted, end, begin = known
    if wanted is not None and wanted not in (end, begin):
        return wanted
    names = ("<|endoftext|>", "<unk>", "<pad>", "<|finetune_right_pad_id|>", "[PAD]")
    for token in (*map(inner.token_to_id, names), *range(inner.get_vocab_size())):
        if token is not None and token not in (end, begin):
            return token
    raise InvalidArgument("tokenizer", inner, "has no token to pad with", "add <pad>")


def _token(inner: tokenizers.Tokenizer, entry: Any) -> int | None:
    name = entry.get("content") if isinstance(entry, dict) else entry
    return None if name is None else inner.token_to_id(name)


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file of a model says; nothing where there is none."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise InvalidArgument("model", str(path), "is not JSON", "download it again") from error


def _refuse(message: str) -> None:
    raise InvalidArgument("prompt", message, "is refused by the chat template", "change the prompt")
