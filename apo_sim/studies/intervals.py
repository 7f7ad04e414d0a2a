"""Intervals for what is random: means, shares, and any statistic, of independent members.

No rule here returns an interval without width for want of data: a single member has none.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from scipy import stats

from apo_sim.checks import as_count
from apo_sim.errors import InvalidArgument

CONFIDENCE = 0.95


def student(values: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Student's interval for the mean of numbers (n,); None for one number, or for equal ones.

    Example:
        >>> low, high = student(np.array([1.0, 2.0, 3.0]))
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
        >>> student(np.array([1.0, 1.0]))
    """
    if values.size < 2 or np.ptp(values) == 0:
        return None
    ends = stats.t.interval(confidence, values.size - 1, values.mean(), stats.sem(values))
    return float(ends[0]), float(ends[1])


def clopper_pearson(
    successes: float | int, trials: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The exact interval for the probability behind `successes` out of `trials`.

    A part of a success, such as a tie, counts as none at the lower end and as one at the upper, so
    that the interval is never too narrow.

    Example:
        >>> [round(end, 4) for end in clopper_pearson(4, 4)]
        [0.3976, 1.0]
        >>> [round(end, 4) for end in clopper_pearson(2.5, 4)]
        [0.0676, 0.9937]
    """
    whole = round(successes, 9)  # thirds may sum to a little less than one
    low, high = (
        stats.binomtest(count, trials).proportion_ci(confidence, "exact")
        for count in (math.floor(whole), math.ceil(whole))
    )
    return float(low.low), float(high.high)


def mean_and_half(
    values: xr.DataArray, confidence: float = CONFIDENCE
) -> tuple[xr.DataArray, xr.DataArray]:
    """The mean over the seeds, and half its Student interval.

    Raises:
        InvalidArgument: a single seed, of which nothing tells how far off it is.

    Example:
        >>> mean, half = mean_and_half(xr.DataArray([1.0, 2.0, 3.0], dims="seed"))
        >>> float(mean), round(float(half), 3)
        (2.0, 2.484)
    """
    count = several(values.sizes["seed"])
    quantile = float(stats.t.ppf(0.5 + confidence / 2, count - 1))
    return values.mean("seed"), quantile * values.std("seed", ddof=1) / count**0.5


def bootstrap(
    statistic: Callable[..., np.ndarray],
    *parts: xr.DataArray,
    draws: int = 1000,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the percentile interval of a statistic of several parts.

    Args:
        statistic: from arrays like the parts, with the seeds last, to a number or an array.
        *parts: all with the same seeds, which are drawn together: what is paired stays paired.
        draws: number of resamples.
        seed: of the resampling.
        confidence: of the interval; each tail needs some draws beyond it.

    Returns:
        Lower and upper ends, each of the statistic's shape.

    Raises:
        InvalidArgument: a single seed.

    Example:
        >>> values = xr.DataArray(np.arange(101.0), dims="seed")
        >>> low, high = bootstrap(lambda v: v.mean(axis=-1), values)
        >>> bool(40 < low < 50 < high < 60)
        True
    """
    several(parts[0].sizes["seed"])
    tail = 50 * (1 - confidence)
    found = resampled(statistic, *parts, draws=draws, seed=seed)
    low, high = np.percentile(found, [tail, 100 - tail], axis=0)
    return np.asarray(low), np.asarray(high)


def resampled(
    statistic: Callable[..., np.ndarray], *parts: xr.DataArray, draws: int, seed: int = 0
) -> np.ndarray:
    """The statistic of `bootstrap` in every resample, shape (draws, ...).

    Example:
        >>> values = xr.DataArray(np.ones((2, 5)), dims=("arm", "seed"))
        >>> resampled(lambda v: v.mean(axis=-1), values, draws=3).tolist()
        [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    """
    arrays = [part.transpose(..., "seed").values for part in parts]
    count = arrays[0].shape[-1]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        rows = rng.integers(count, size=count)
        found.append(statistic(*(array[..., rows] for array in arrays)))
    return np.asarray(found)


def ratio_of_means(pair: np.ndarray) -> np.ndarray:
    """The mean over the seeds, which come last, of pair[0] over that of pair[1].

    Example:
        >>> ratio_of_means(np.array([[2.0, 4.0], [1.0, 2.0]])).item()
        2.0
    """
    return np.asarray(pair[0].mean(axis=-1) / pair[1].mean(axis=-1))


def log_log_slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least-squares slope of log y (points, ...) on log x (points,).

    Example:
        >>> x = np.array([1.0, 10.0, 100.0])
        >>> round(float(log_log_slope(x, 3 * x**-0.5)), 6)
        -0.5
    """
    centred = np.log(x) - np.log(x).mean()
    return np.asarray(np.tensordot(centred, np.log(y), axes=1) / np.sum(centred**2))


def several(seeds: int, least: int = 2) -> int:
    """A number of seeds that an interval can be had from, asked for before they are run.

    Args:
        seeds: how many.
        least: 4 where one half of them is chosen on, and the other half judged on.

    Raises:
        InvalidArgument: fewer.

    Example:
        >>> several(1)
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: seeds = 1 gives no interval; pass at least 2
    """
    if as_count("seeds", seeds) < least:
        raise InvalidArgument("seeds", seeds, "gives no interval", f"pass at least {least}")
    return seeds


def place(out: str | Path | None, name: str) -> Path | None:
    """Where a study keeps one of its stores: in its folder, if it has one."""
    return None if out is None else Path(out) / f"{name}.zarr"
