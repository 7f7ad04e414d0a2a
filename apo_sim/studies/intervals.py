"""Intervals for what is random, over the dimension `seed`, whose members are independent."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from scipy import stats

CONFIDENCE = 0.95


def mean_and_half(
    values: xr.DataArray, confidence: float = CONFIDENCE
) -> tuple[xr.DataArray, xr.DataArray]:
    """The mean over the seeds, and half its Student interval.

    Example:
        >>> mean, half = mean_and_half(xr.DataArray([1.0, 2.0, 3.0], dims="seed"))
        >>> float(mean), round(float(half), 3)
        (2.0, 2.484)
    """
    count = values.sizes["seed"]
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

    Example:
        >>> values = xr.DataArray(np.arange(101.0), dims="seed")
        >>> low, high = bootstrap(lambda v: v.mean(axis=-1), values)
        >>> bool(40 < low < 50 < high < 60)
        True
    """
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


def place(out: str | Path | None, name: str) -> Path | None:
    """Where a study keeps one of its stores: in its folder, if it has one."""
    return None if out is None else Path(out) / f"{name}.zarr"
