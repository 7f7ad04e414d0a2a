"""Text to tokens and back, and the chat template of a model."""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import tokenizers
from tokenizers import processors

from apo_sim.errors import InvalidArgument
from apo_sim.llm._thinking import CLOSE, OPEN
from apo_sim.llm.models._template import rendered
from apo_sim.plain_kinds import is_whole

# Prompts that are kept once they are rendered: each is asked for several times.
_KEPT = 10_000
# That templates which ask for the date are told; None: the present one.
_MOMENT: ContextVar[str | None] = ContextVar("moment", default=None)


@contextlib.contextmanager
def dated(moment: str | None) -> Iterator[None]:
    """A while in which chat templates are told one date and time, however long it takes.

    Args:
        moment: in ISO 8601; None: the present one, as elsewhere.

    Example:
        >>> from apo_sim.llm.models import tiny
        >>> tokenizer = tiny.tokenizer()
        >>> tokenizer.template = "{{ strftime_now('%d %b %Y') }}: {{ messages[0].content }}"
        >>> with dated("2024-07-26T12:00:00"):
        ...     tokenizer.prompt("w1")
        '26 Jul 2024: w1'
    """
    token = _MOMENT.set(moment)
    try:
        yield
    finally:
        _MOMENT.reset(token)


class Tokenizer:
    """A tokenizer and the chat template of its model.

    Args:
        inner: of the package `tokenizers`. Truncation and padding that are stored in it are
            switched off, as transformers does, and it is told to put `begin` before a text.
        begin: token put before a text that does not begin with it, where there is no template; a
            template writes it by itself. None: none is put there.
        end: token that ends a response.
        padding: token that fills up a batch; no model sees it.
        template: jinja2 source of the chat template; None: the prompt as it is.
        ends: further tokens that end a response.
        names: special tokens that the template may name, as `bos_token`; None: `begin` and `end`.
        size: tokens that the network has embeddings of; None: all.

    Raises:
        InvalidArgument: `begin`, `end` or `padding` is not among its tokens.

    Example:
        >>> from tokenizers import models, pre_tokenizers
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
        ends: Sequence[int] = (),
        names: Mapping[str, str] | None = None,
        size: int | None = None,
    ):
        self.inner: tokenizers.Tokenizer = inner
        self.begin: int | None = begin
        self.end: int = end
        self.padding: int = padding
        self.template: str | None = template
        self.size: int | None = size
        others = (token for token in dict.fromkeys(ends) if token != end)
        self.ends: tuple[int, ...] = (end, *others)
        for name, token in (("begin", begin), ("end", end), ("padding", padding)):
            if token is not None and not _is_token(inner, token):
                raise InvalidArgument(
                    name,
                    token,
                    "is not a token id",
                    f"pass one from 0 to {inner.get_vocab_size() - 1}",
                )
        inner.no_truncation()
        inner.no_padding()
        if begin is not None:
            # Whoever reads a saved tokenizer.json then puts it there too.
            name = inner.id_to_token(begin)
            inner.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
                [name, "$A"], [name, "$A", name, "$B:1"], [(name, begin)]
            )
        special = {"bos_token": begin, "eos_token": end}
        found = {name: inner.id_to_token(n) for name, n in special.items() if n is not None}
        self.names: dict[str, str] = dict(found if names is None else names)
        self._rendered: dict[tuple[str, str | None], str] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the prompts that it has rendered: they follow from the rest."""
        return {**vars(self), "_rendered": {}}

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, none added.

        Raises:
            InvalidArgument: half a pair of surrogates, or a token that the network lacks.
        """
        if not isinstance(text, str):
            raise InvalidArgument("prompt", text, "is not text", "pass a string")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(
                "prompt", text, f"is not Unicode ({error.reason})", "replace the invalid characters"
            ) from None
        found = self.inner.encode(text, add_special_tokens=False).ids
        unknown = [token for token in found if self.size is not None and token >= self.size]
        if unknown:
            raise InvalidArgument(
                "prompt",
                text,
                f"has the token {self.inner.id_to_token(unknown[0])!r}, number {unknown[0]}, but "
                f"the network has embeddings of {self.size} tokens only",
                "take it out of the prompt, or resize the model's embeddings",
            )
        return found

    def decode(self, tokens: Any) -> str:
        """Text of tokens, without those that control the conversation.

        What opens and closes thinking stays: without it, thoughts would read as an answer.
        """
        text = ""
        for mark, run in itertools.groupby(map(int, tokens), self._marks().get):
            same = list(run)
            text += mark * len(same) if mark else self.inner.decode(same, skip_special_tokens=True)
        return text

    def _marks(self) -> dict[int, str]:
        """Of thinking, those that are special tokens, which decoding leaves out."""
        numbers = ((self.inner.token_to_id(name), name) for name in (OPEN, CLOSE))
        return {
            n: name
            for n, name in numbers
            if n is not None and not self.inner.decode([n], skip_special_tokens=True)
        }

    def prompt(self, text: str) -> str:
        """The conversation that asks for a response to a text, up to where the response begins.

        Raises:
            InvalidArgument: what `apo_sim.llm.models._template.rendered` says.
        """
        if self.template is None:
            return text
        if not isinstance(text, str):
            raise InvalidArgument("prompt", text, "is not text", "pass a string")
        asked = text, _MOMENT.get()
        if asked not in self._rendered:
            if len(self._rendered) >= _KEPT:
                self._rendered.clear()
            self._rendered[asked] = rendered(self.template, text, self.names, asked[1])
        return self._rendered[asked]

    def prompt_tokens(self, text: str) -> list[int]:
        """Tokens of `prompt(text)`; where there is no template, with `begin` before them.

        Raises:
            InvalidArgument: a text of no tokens, and what `prompt` and `encode` say.
        """
        tokens = self.encode(self.prompt(text))
        if self.template is None and self.begin is not None and tokens[:1] != [self.begin]:
            tokens = [self.begin, *tokens]
        if not tokens:
            raise InvalidArgument(
                "prompt", text, "yields no tokens", "check the prompt and the chat template"
            )
        return tokens

    @property
    def digest(self) -> str:
        """What tells tokenizers apart, the chat template and the ends included."""
        settings = [self.begin, self.ends, self.padding, self.template, self.names, self.size]
        content = json.dumps([self.inner.to_str(), settings], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def _is_token(inner: tokenizers.Tokenizer, token: Any) -> bool:
    return is_whole(token) and 0 <= token < 2**32 and inner.id_to_token(token) is not None
