"""What was asked for by name or passed as an object, brought to one form."""

import dataclasses
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.identity import identity
from apo_sim.plain_kinds import is_listing

_LONGEST = 60
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# How `apo_sim.identity.identity` ends.
_HASH = re.compile(r"\[[0-9a-f]{16}\]$")


@dataclass(frozen=True)
class Choice:
    """An object that was chosen; two are equal if the contents of their objects are.

    Attributes:
        identity: what tells it from every other: the name of ours, the content of a user's.
        label: what to call it in a table or a figure.
        content: the object.
        refusal: why its content cannot be told from another's, if it cannot.
    """

    identity: str
    label: str = field(compare=False)
    content: Any = field(compare=False)
    refusal: InvalidArgument | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Registry:
    """The library's own objects of one kind, by name.

    Attributes:
        argument: what an object of the kind is passed as.
        named: the objects.
        kind: what every object is an instance of, those of users too.
        problem: what to say of one that is not.
        example: what to pass in its place, in words.
    """

    argument: str
    named: Mapping[str, Any]
    kind: Any
    problem: str
    example: str

    def __getitem__(self, name: object) -> Any:
        if not isinstance(name, str) or name not in self.named:
            raise UnknownName(self.argument, name, self.named)
        return self.named[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.named)

    def is_one(self, value: Any) -> bool:
        """Whether it is a name or an object by itself, and no list of them.

        An object may be something that can be iterated, such as a named tuple.
        """
        return isinstance(value, str | type | self.kind)

    def chosen(self, value: Any) -> Choice:
        """What a name stands for, or an object itself; ours by its name, if it has one.

        Raises:
            UnknownName: for a name that is not listed.
            InvalidArgument: for what is neither.

        Example:
            >>> from apo_sim import IPO
            >>> from apo_sim.registry import LOSSES
            >>> [LOSSES.chosen(loss).label for loss in ("dpo", IPO(), IPO(tau=0.5))]
            ['dpo', 'ipo', 'IPO(tau=0.5)']
        """
        if isinstance(value, str):
            return self._by_name(value)
        if isinstance(value, type) or not isinstance(value, self.kind):
            names = ", ".join(self.named)
            remedy = f"pass {self.example}, or a name out of {names}"
            raise InvalidArgument(self.argument, value, self.problem, remedy)
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value)):
            raise InvalidArgument(
                self.argument, value, "is traced", "call this outside jax.jit and jax.vmap"
            )
        for name, own in self.named.items():
            if _same(own, value):
                return Choice(name, name, own)
        return self._of_user(value)

    def _by_name(self, name: str) -> Choice:
        if name not in self.named and _HASH.search(name):
            raise InvalidArgument(
                self.argument, name, "is the stored record of an object", "pass the object itself"
            )
        return Choice(str(name), str(name), self[name])

    def _of_user(self, value: Any) -> Choice:
        # A name of ours stands for ours.
        label = told_apart([label_of(value)], self.named)[0]
        try:
            return Choice(identity(self.argument, value), label, value)
        except InvalidArgument as refusal:
            return Choice(f"{label} [{uuid.uuid4().hex}]", label, value, refusal)


def told_apart(labels: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """The labels, numbered where they are not the first of their kind.

    Example:
        >>> told_apart(["f", "g", "f"])
        ['f', 'g', 'f #2']
    """
    used = set(taken)
    found: list[str] = []
    for label in labels:
        one, number = label, 1
        while one in used:
            number += 1
            one = f"{label} #{number}"
        used.add(one)
        found.append(one)
    return found


def label_of(value: Any) -> str:
    """A short name: a function's own, or a class with the fields that are not as by default.

    Example:
        >>> from apo_sim import IPO, Pairwise
        >>> label_of(IPO(tau=0.5)), label_of(Pairwise()), label_of(label_of)
        ('IPO(tau=0.5)', 'Pairwise()', 'label_of')
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if f.repr and not _is_default(f, value)]
        inside = ", ".join(f"{f.name}={_short(getattr(value, f.name))}" for f in fields)
        return _cut(f"{type(value).__name__}({inside})")
    if isinstance(name := getattr(value, "__name__", None), str):
        return _cut(name)
    if type(value).__repr__ is object.__repr__:
        return type(value).__name__
    return _cut(_words(value))


def _short(value: Any) -> str:
    if dataclasses.is_dataclass(value) or callable(value):
        return label_of(value)
    shape = getattr(value, "shape", None)
    if shape:
        return f"array{tuple(shape)}"
    if isinstance(value, float) or shape == ():
        return f"{float(value):g}"
    return _words(value)


def _words(value: Any) -> str:
    try:
        return " ".join(_ADDRESS.sub("", repr(value)).split())
    except Exception:  # a user's own
        return type(value).__name__


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _is_default(of: Any, value: Any) -> bool:
    if of.default is not dataclasses.MISSING:
        return _same(of.default, getattr(value, of.name))
    if of.default_factory is not dataclasses.MISSING:
        return _same(of.default_factory(), getattr(value, of.name))
    return False


def _same(one: Any, other: Any) -> bool:
    """Whether two objects are surely alike; numbers count by value, whatever holds them."""
    if one is other:
        return True
    numbers = int | float | np.ndarray | np.generic | jax.Array
    if isinstance(one, numbers) and isinstance(other, numbers):
        return np.shape(one) == np.shape(other) and bool(np.all(np.asarray(one) == other))
    if type(one) is not type(other):
        return False
    if dataclasses.is_dataclass(one) and not isinstance(one, type):
        names = [f.name for f in dataclasses.fields(one)]
        return all(_same(getattr(one, name), getattr(other, name)) for name in names)
    if is_listing(one):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, str | bool) and one == other
