"""What the command lists without importing what it lists.

Claims, and the names of losses, geometries and others, are declared in modules that need JAX,
which takes seconds. `index.json` repeats what the command says of them. It is written by
`experiments/command_index.py`, and a test compares it with the declarations.
"""

import dataclasses
import functools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apo_sim.errors import UnknownName

if TYPE_CHECKING:
    from apo_sim.claims.registry import Declaration

FILE = Path(__file__).with_suffix(".json")


@functools.cache
def _stored() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def names_of(registry: str) -> list[str]:
    """The names in a registry of `apo_sim.registry`.

    Raises:
        UnknownName: for a registry that is not in the index.

    Example:
        >>> names_of("RANKERS")
        ['pairwise', 'best_against_worst']
    """
    names = _stored()["names"]
    if registry not in names:
        raise UnknownName("registry", registry, names)
    return names[registry]


def declaration(id: str) -> "Declaration":
    """What a claim says of itself: as declared if its module has been imported, else as indexed.

    Raises:
        UnknownName: for an unknown claim; the message offers the nearest.

    Example:
        >>> declaration("N2").title
        'Sharp constant of the gap bound'
    """
    from apo_sim.claims import registry

    entry = _stored()["claims"].get(id)
    if registry.module(id) in sys.modules or entry is None:
        return registry.describe(id)
    return from_entry(entry)


def from_entry(entry: dict[str, Any]) -> "Declaration":
    """The declaration of an entry of the index."""
    from apo_sim.claims.registry import Declaration
    from apo_sim.claims.scope import Scope
    from apo_sim.claims.words import Origin

    names = [field.name for field in dataclasses.fields(Declaration)]
    fields: dict[str, Any] = {name: entry.get(name) for name in names}
    fields["source"] = Origin(entry["source"])
    if "scope" in entry:
        fields["scope"] = Scope(**entry["scope"])
    return Declaration(**fields)


def to_entry(declaration: "Declaration") -> dict[str, Any]:
    """The entry of a declaration in the index: plain data, without what it leaves open.

    Example:
        >>> to_entry(declaration("N2"))["scope"]["arms"]
        '5'
    """
    names = [field.name for field in dataclasses.fields(declaration) if field.name != "check"]
    entry = {name: getattr(declaration, name) for name in names}
    if entry["scope"] is not None:
        entry["scope"] = _given(dataclasses.asdict(entry["scope"]))
    return _given(entry)


def _given(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if value is not None}
