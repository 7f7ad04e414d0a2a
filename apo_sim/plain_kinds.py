"""Kinds of arguments that need no arrays, and so neither JAX nor NumPy: see `apo_sim.checks`."""

import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeGuard

from apo_sim.errors import InvalidArgument, UnknownName

Kind = Callable[[str, Any], Any]


def as_text(name: str, value: Any) -> str:
    """Text that can be written into a file."""
    try:
        written = isinstance(value, str) and "\0" not in value and value.encode()
    except UnicodeEncodeError:  # half of a character
        written = False
    if written is False:
        raise InvalidArgument(name, value, "is not text", "pass a string")
    return value


def one_of(names: Iterable[str]) -> Kind:
    """The kind of a name out of a few: plain ones, or the members of an enumeration.

    Example:
        >>> one_of(["before", "after"])("output", "befor")
        Traceback (most recent call last):
        ...
        apo_sim.errors.UnknownName: output = 'befor' is unknown; did you mean 'before'?
    """
    known = tuple(names)

    def kind(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise UnknownName(name, value, known)
        return known[known.index(value)]

    return kind


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Whether it is a mapping, of whatever keys and values: for data that somebody else wrote."""
    return isinstance(value, Mapping)


def is_listing(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether it is a list or a tuple, of whatever entries: for data that somebody else wrote."""
    return isinstance(value, list | tuple)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is an integer, which a truth value is not: for data that somebody else wrote.

    Example:
        >>> is_whole(1), is_whole(True), is_whole(1.0)
        (True, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool)


def is_real(value: object) -> TypeGuard[float]:
    """Whether it is a number, which a truth value is not: for data that somebody else wrote."""
    return is_whole(value) or isinstance(value, float)


def as_seed(name: str, value: Any) -> int:
    """An integer in [0, 2**32)."""
    # NumPy's integers are of this kind, too, and its truth values are not.
    integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not integer or not 0 <= int(value) < 2**32:
        raise InvalidArgument(name, value, "is not a valid seed", "pass an integer in [0, 2**32)")
    return int(value)
