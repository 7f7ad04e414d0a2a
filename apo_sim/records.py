"""Frozen dataclasses as JSON data, and back, by way of cattrs."""

import json
import math
import types
from pathlib import Path
from typing import Any, TypeVar

import cattrs

from apo_sim import files
from apo_sim.errors import InvalidArgument
from apo_sim.estimate import FIGURES, Estimate, revived
from apo_sim.plain_kinds import is_real, is_whole

Record = TypeVar("Record")


def as_plain(record: Any) -> Any:
    """A record, or a list of records, as data that JSON can hold; infinite ends become None.

    Raises:
        ValueError: an estimate that is not finite.

    Example:
        >>> as_plain(Estimate(0.5, -math.inf, math.inf, "share", 1))
        {'value': 0.5, 'low': None, 'high': None, 'unit': 'share', 'n': 1}
    """
    return _CONVERTER.unstructure(record)


def from_plain(kind: type[Record] | types.GenericAlias, content: Any) -> Record:
    """The record of some data: other fields than its own are refused, and values of other types.

    The kind may be a list of records, as `list[Estimate]`, which is no class to Python.

    Raises:
        ValueError: for data that are not of this kind.

    Example:
        >>> from_plain(Estimate, {"value": 0.5, "low": None, "high": 0.6, "unit": "", "n": None})
        Estimate(value=0.5, low=-inf, high=0.6, unit='', n=None)
        >>> from_plain(Estimate, {"value": "0.5"})
        Traceback (most recent call last):
        ...
        ValueError: this is no record of kind Estimate: '0.5' is no number
    """
    try:
        return _CONVERTER.structure(content, kind)  # type: ignore[arg-type]
    except Exception as error:  # whatever it stumbles over is part of the data
        name = getattr(kind, "__name__", str(kind))
        raise ValueError(f"this is no record of kind {name}: {error}") from error


def write_record(argument: str, path: Path, record: Any) -> None:
    """Write a file of a record, whole or not at all.

    Raises:
        InvalidArgument: names the `argument` that the path comes from, where it cannot be written.
        ValueError: an estimate that is not finite.
    """
    content = json.dumps(as_plain(record), indent=1)
    try:
        files.write_text(path, content)
    except OSError as error:
        raise files.cannot_write(argument, path, error) from error


def read_record(argument: str, path: str | Path, kind: type[Record], remedy: str) -> Record:
    """The record in a file.

    Raises:
        InvalidArgument: names the `argument` that the path comes from; a file that is missing, or
            of something else; it ends with the `remedy`.
    """
    place = files.as_path(argument, path)
    try:
        return from_plain(kind, json.loads(place.read_bytes().decode("utf-8-sig")))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidArgument(argument, str(place), f"cannot be read ({error})", remedy) from error


def _number(value: Any, _: Any) -> float:
    if not is_real(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _count(value: Any, _: Any) -> int:
    if not is_whole(value):
        raise ValueError(f"{value!r} is no integer")
    return value


def _text(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _estimate(content: Any, _: Any) -> Estimate:
    value, *ends = (content.get(name) for name in FIGURES)
    figures = [_number(value, None), *(end if end is None else _number(end, None) for end in ends)]
    count = content["n"]
    return Estimate(
        *revived(figures),
        _text(content["unit"], None),
        count if count is None else _count(count, None),
    )


def _plain_estimate(estimate: Estimate) -> dict[str, Any]:
    value, low, high = estimate.figures
    if not math.isfinite(value) or math.isnan(low) or math.isnan(high):
        raise ValueError(f"{estimate} is not finite")
    ends = {"low": None if low == -math.inf else low, "high": None if high == math.inf else high}
    return {"value": value, **ends, "unit": estimate.unit, "n": estimate.n}


_CONVERTER = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)
_CONVERTER.register_structure_hook(float, _number)
_CONVERTER.register_structure_hook(int, _count)
_CONVERTER.register_structure_hook(str, _text)
_CONVERTER.register_structure_hook(Estimate, _estimate)
_CONVERTER.register_unstructure_hook(Estimate, _plain_estimate)
