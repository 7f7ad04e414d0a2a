"""Compiled programs that are shared by whatever they are the same for."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from apo_sim.errors import InvalidArgument
from apo_sim.identity import fingerprint

# Programs of one kind that are kept: of some models, each with a few objectives.
_KEPT = 32


@dataclass(frozen=True)
class _ByContent:
    """Settings that are equal if their contents are."""

    digest: str
    settings: tuple[Any, ...] = field(compare=False)


def shared(make: Callable[..., Any]) -> Callable[..., Any]:
    """Let networks of one graph share what `make` compiles for equal settings.

    A user's objects count by their content, see `apo_sim.identity`; those without one share
    nothing, and neither do graphs that cannot be hashed, as those of some of Tunix's models.

    Args:
        make: from the graph of a network, as of `nnx.graphdef`, and settings to a program.

    Example:
        >>> program = shared(lambda graph, settings: object())
        >>> program("graph", [1]) is program("graph", [1]), program("graph", [1]) is program("", 1)
        (True, False)
    """
    kept = functools.lru_cache(_KEPT)(lambda graph, key: make(graph, *key.settings))

    @functools.wraps(make)
    def found(graph: Any, *settings: Any) -> Any:
        try:
            hash(graph)
            digest = fingerprint("settings", settings)
        except (InvalidArgument, TypeError):
            return make(graph, *settings)
        return kept(graph, _ByContent(digest, settings))

    return found
