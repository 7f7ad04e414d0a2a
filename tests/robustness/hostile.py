"""Values that outsiders pass by mistake, and some that nobody passes."""

import datetime
import decimal
import fractions
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class Mute:
    """Prints as nothing."""

    def __repr__(self) -> str:
        raise RuntimeError("mute")


class Ambiguous:
    """Compares to no yes or no, as arrays do."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> Any:
        return np.array([True, False])


class Endless:
    """Says that it is a sequence, and has no end."""

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, place: int) -> float:
        return 0.5


def _fail(*args: Any, **kwargs: Any) -> Any:
    raise ZeroDivisionError("by a caller's function")


VALUES: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "0": lambda: 0,
    "1": lambda: 1,
    "-1": lambda: -1,
    "1.0": lambda: 1.0,
    "1.5": lambda: 1.5,
    "-0.0": lambda: -0.0,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "1e308": lambda: 1e308,
    "-1e308": lambda: -1e308,
    "1e-308": lambda: 1e-308,
    "5e-324": lambda: 5e-324,
    "2**31": lambda: 2**31,
    "2**63": lambda: 2**63,
    "-2**63": lambda: -(2**63),
    "10**13": lambda: 10**13,
    "10**400": lambda: 10**400,
    "1j": lambda: 1j,
    "decimal": lambda: decimal.Decimal("0.5"),
    "fraction": lambda: fractions.Fraction(1, 2),
    "empty text": lambda: "",
    "text": lambda: "x",
    "number as text": lambda: "0.5",
    "NUL": lambda: "\0",
    "NUL within": lambda: "runs\0b",
    "markup": lambda: "runs[/b]",
    "address": lambda: "s3://bucket/runs",
    "lone surrogate": lambda: "\udcff",
    "long text": lambda: "x" * 100_000,
    "bytes": lambda: b"x",
    "path": lambda: pathlib.Path("/nowhere/at/all"),
    "empty list": lambda: [],
    "empty tuple": lambda: (),
    "empty dict": lambda: {},
    "empty set": lambda: set(),
    "list of a list": lambda: [[]],
    "list of None": lambda: [None],
    "list of text": lambda: ["x", "y"],
    "list of numbers": lambda: [0.5, 0.25],
    "list of counts": lambda: [1, 2, 3, 4, 5],
    "ragged": lambda: [[1.0, 2.0], [3.0]],
    "more ragged": lambda: [1.0, [2.0, [3.0]]],
    "dict": lambda: {"a": 1},
    "dict with odd keys": lambda: {1: 2, None: 3},
    "set": lambda: {0.5},
    "range": lambda: range(3),
    "generator": lambda: (x for x in (0.5, 0.5)),
    "object": object,
    "class": lambda: int,
    "module": lambda: math,
    "function": lambda: lambda *args, **kwargs: None,
    "failing function": lambda: _fail,
    "function of nothing": lambda: lambda: 1.0,
    "error": lambda: ValueError("x"),
    "not implemented": lambda: NotImplemented,
    "ellipsis": lambda: ...,
    "date": lambda: datetime.date(2020, 1, 1),
    "mute": Mute,
    "ambiguous": Ambiguous,
    "endless": Endless,
    "numpy half": lambda: np.float16(0.5),
    "numpy integer": lambda: np.int64(3),
    "numpy bool": lambda: np.bool_(True),
    "numpy text": lambda: np.str_("dpo"),
    "numpy time": lambda: np.datetime64("2020-01-01"),
    "numpy type": lambda: np.float64,
    "no numbers": lambda: np.zeros(0),
    "array of no dimension": lambda: np.array(0.5),
    "array": lambda: np.array([0.5, 0.25, 0.25]),
    "array with NaN": lambda: np.array([[1.0, math.nan, 0.0], [0.0, 0.0, 0.0]]),
    "large array": lambda: np.full((2, 3), 1e308),
    "planes": lambda: np.zeros((2, 3, 4)),
    "array of text": lambda: np.array(["dpo", "ipo"]),
    "array of objects": lambda: np.array([None, object()], dtype=object),
    "complex array": lambda: np.array([[1j, 0.0]]),
    "masked array": lambda: np.ma.masked_array([0.5, 0.5], [True, False]),
    "structured array": lambda: np.zeros(2, [("a", float)]),
    "bfloat16": lambda: jnp.asarray(0.5, jnp.bfloat16),
    "bfloat16 array": lambda: jnp.full((2, 3), 0.5, jnp.bfloat16),
    "float16 array": lambda: jnp.full((2, 3), 0.5, jnp.float16),
    "8-bit array": lambda: jnp.full((2, 3), 0.5, jnp.float8_e4m3fn),
    "unsigned": lambda: jnp.ones((2, 3), jnp.uint32),
    "key": lambda: jax.random.key(0),
    "keys": lambda: jax.random.split(jax.random.key(0), 3),
    "old key": lambda: jax.random.PRNGKey(0),
    "shape": lambda: jax.ShapeDtypeStruct((2, 3), jnp.float32),
    "random generator": lambda: np.random.default_rng(0),
}
