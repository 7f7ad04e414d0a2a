"""What results depend on, as plain data: kept beside them, and held against what is asked for."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apo_sim.errors import InvalidArgument

_LONGEST = 60


def check_same(place: Path, what: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse a folder whose results depend on something else, and name the first difference.

    Args:
        place: of the results.
        what: they are of, such as "sweep".
        theirs: configuration that lies there.
        ours: configuration that is asked for.

    Raises:
        InvalidArgument: they differ.

    Example:
        >>> check_same(Path("out"), "sweep", {"seed": 0}, {"seed": 1})
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: out = 'out' holds another sweep: seed is 0 there and ...
    """
    for name in (*ours, *(name for name in theirs if name not in ours)):
        if theirs.get(name) != ours.get(name):
            raise InvalidArgument(
                "out",
                str(place),
                f"holds another {what}: {name} is {_short(theirs.get(name))} there and "
                f"{_short(ours.get(name))} here",
                "choose an empty or a new folder",
            )


def described(value: Any) -> str:
    """A setting in words that mean the same in another process: no addresses.

    Example:
        >>> described(len), described(object())
        ('<built-in function len>', '<object object>')
    """
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
