"""The surface at any setting: interpolated, and asked how much the answer changes nearby."""

import functools
import itertools
from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from apo_sim.advice.surface import shipped

# Half an interval is so many standard errors.
Z = 1.96
AXES = ("arms", "beta", "samples", "iteration")
# Another family of problems answers as if its setting were another one: by factors like these.
NEARBY = {"arms": 1.5, "beta": 1.5, "samples": 2.0, "iteration": 1.3}
# Keeps logarithms finite.
FLOOR = 1e-9
# Gaps below this share of the rewards' size count as that: what remains of them is no matter.
NEGLIGIBLE = 0.01

Point = Mapping[str, float | int]


def clamped(point: Point) -> tuple[dict[str, float], list[str]]:
    """The nearest setting on the surface, and in words what it differs in.

    With more arms than the surface has, the number of labels is that of as many an arm.

    Example:
        >>> point, changes = clamped({"arms": 60, "beta": 1.0, "samples": 1000, "iteration": 3})
        >>> point["samples"], changes
        (500.0, ['arms = 60 is outside 3 to 30'])
    """
    surface = shipped()
    found, changes = dict(point), []
    for axis in AXES:
        low, high = float(surface[axis].min()), float(surface[axis].max())
        asked = found[axis]
        found[axis] = float(np.clip(asked, low, high))
        if found[axis] != asked:
            changes.append(f"{axis} = {_plain(asked)} is outside {_plain(low)} to {_plain(high)}")
        if axis == "arms":
            found["samples"] *= found["arms"] / asked
    return found, changes


def _plain(number: float | int) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"


def at(point: Point) -> xr.Dataset:
    """Every alpha at one setting of the surface.

    Returns:
        Dimension alpha: `gap`; `over_none` and `over_matched`, the shares of the rivals' gaps
        that momentum saves; `worse`; and `*_half`, relative to what the name says.

    Example:
        >>> table = at({"arms": 10, "beta": 5.0, "samples": 1000, "iteration": 12})
        >>> float(table.over_none.sel(alpha=0.0)), bool(table.over_none.sel(alpha=0.9) > 0.5)
        (0.0, True)
    """
    here = _interpolated({axis: [point[axis]] for axis in AXES}).isel(point=0, drop=True)
    log_none = here.log_gap.sel(alpha=0.0, drop=True)
    return xr.Dataset(
        {
            "gap": np.exp(here.log_gap),
            "gap_half": here.gap_half,
            "over_none": -np.expm1(here.log_gap - log_none),
            "over_none_half": here.over_none_half,
            "over_matched": -np.expm1(here.log_gap - here.log_matched),
            "over_matched_half": here.over_matched_half,
            "worse": here.worse,
        }
    )


def excess(gap: ArrayLike, best: ArrayLike, spread: float = 1.0) -> np.ndarray:
    """By what share a gap exceeds the best one, or `NEGLIGIBLE` where that is larger.

    Example:
        >>> excess(np.array([0.2, 1e-6]), np.array([0.1, 1e-9])).round(4).tolist()
        [1.0, 0.0001]
    """
    return np.asarray(np.subtract(gap, best) / np.maximum(best, NEGLIGIBLE * spread))


def excess_nearby(point: Point) -> np.ndarray:
    """The excess of every alpha in settings around one, the noise of the surface included.

    Returns:
        Shape (settings, alphas).

    Example:
        >>> nearby = excess_nearby({"arms": 10, "beta": 5.0, "samples": 1000, "iteration": 12})
        >>> nearby.shape, float(nearby.min())
        ((81, 6), 0.0)
    """
    factors = itertools.product(*((1 / NEARBY[axis], 1.0, NEARBY[axis]) for axis in AXES))
    settings = np.array(list(factors)) * [point[axis] for axis in AXES]
    here = _interpolated(dict(zip(AXES, settings.T, strict=True))).transpose("point", "alpha")
    noise = np.random.default_rng(0).normal(size=here.log_gap.shape) / Z
    gap = np.exp(here.log_gap.values + noise * here.gap_half.values)
    return excess(gap, gap.min(axis=1, keepdims=True))


@functools.lru_cache(maxsize=1)
def _logarithmic() -> xr.Dataset:
    """What is interpolated, over the logarithms of the settings."""
    surface = shipped().astype(float)
    matched = surface.gap + surface.over_matched
    none = surface.gap.sel(alpha=0.0, drop=True)
    found = xr.Dataset(
        {
            "log_gap": np.log(np.maximum(surface.gap, FLOOR)),
            "log_matched": np.log(np.maximum(matched, FLOOR)),
            "gap_half": surface.gap_half / np.maximum(surface.gap, FLOOR),
            "over_none_half": surface.over_none_half / np.maximum(none, FLOOR),
            "over_matched_half": surface.over_matched_half / np.maximum(matched, FLOOR),
            "worse": surface.worse,
        }
    )
    return found.assign_coords({axis: np.log(found[axis]) for axis in AXES})


def _interpolated(points: Mapping[str, ArrayLike]) -> xr.Dataset:
    """At points within the surface or, where they lie outside, at its edge; dimension point."""
    surface = _logarithmic()
    where = {}
    for axis, values in points.items():
        edges = float(surface[axis].min()), float(surface[axis].max())
        where[axis] = xr.DataArray(np.clip(np.log(values), *edges), dims="point")
    return surface.interp(where, method="linear").drop_vars(AXES)
