"""The explorer's data: the gap of small runs over a grid of settings, in its two parts.

They come with the package (`explorer.nc`), so that the report neither waits for them nor differs
between machines; `experiments/explorer.py` makes them again.
"""

import base64
import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import xarray as xr

PARTS = ("optimisation", "statistics", "half")
# The parts are embedded as half-precision floats, whose least normal number is 6e-5: in units of
# a thousandth, so that a gap of 1e-7 still has its digits.
UNIT = 1e-3


# What the page calls the axes: its symbol, and words for those who do not see it beside a figure.
AXES = {
    "method": ("method", "method"),
    "geometry": ("geometry", "geometry of the proximal step"),
    "arms": ("K", "arms"),
    "alpha": ("α", "extrapolation"),
    "weight": ("β", "proximal weight"),
    "samples": ("N", "labelled pairs an iteration"),
    "iteration": ("T", "iterations"),
}
# What is shown first.
START = {"method": "DPO", "geometry": "KL", "arms": 10, "alpha": 0.3, "weight": 1.0,
         "samples": 300, "iteration": 20}  # fmt: skip


@dataclass(frozen=True)
class Dial:
    """An axis of the data, as something to turn.

    Attributes:
        name: of the axis.
        symbol: short.
        words: what it is.
        values: as texts.
        start: place of the value that is shown first.
    """

    name: str
    symbol: str
    words: str
    values: list[str]
    start: int


def dials() -> list[Dial]:
    """The axes of the data, in their order.

    Example:
        >>> [dial.symbol for dial in dials()]
        ['method', 'geometry', 'K', 'α', 'β', 'N', 'T']
    """
    return [
        Dial(name, symbol, words, [_text(value) for value in values], values.index(START[name]))
        for name, (symbol, words) in AXES.items()
        for values in [read()[name].values.tolist()]
    ]


@functools.cache
def read() -> xr.Dataset:
    """The data that come with the package, with `attrs` that say how they were made.

    Example:
        >>> sorted(read().data_vars)
        ['half', 'optimisation', 'statistics']
    """
    stored = resources.files("apo_sim.report").joinpath("explorer.nc").read_bytes()
    with xr.open_dataset(stored, engine="scipy") as data:
        return data.load()


@functools.cache
def embedded() -> str:
    """The data as the page embeds them: JSON, with the parts as half-precision floats in base64.

    Example:
        >>> content = json.loads(embedded())
        >>> [axis["name"] for axis in content["axes"]][:2]
        ['method', 'geometry']
    """
    data = read()
    axes = [
        {"name": name, "symbol": symbol, "values": data[name].values.tolist()}
        for name, (symbol, _) in AXES.items()
    ]
    parts = {name: _packed(data[name].values) for name in PARTS}
    return json.dumps({"axes": axes, "unit": UNIT, **parts}, ensure_ascii=False)


def _packed(values: np.ndarray) -> str:
    return base64.b64encode((values / UNIT).astype("<f2").tobytes()).decode()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,}".removesuffix(".0")
