"""Estimates and intervals for what is random: means, differences, shares and any statistic.

All that the library says of chance is said here, on SciPy's distributions. Members are
independent; what is paired is paired by its place. A single member gives no interval.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import xarray as xr
from scipy import stats

from apo_sim.checks import as_count
from apo_sim.errors import InvalidArgument
from apo_sim.estimate import Estimate

CONFIDENCE = 0.95
Interval = tuple[float, float]
# Log-ratios above it have exponentials that no sum of floats can hold.
_LARGEST_LOG = 600.0


def t_quantile(confidence: float, freedom: int | float) -> float:
    """How many standard errors the end of a two-sided interval of Student's is from its middle.

    Example:
        >>> round(t_quantile(0.95, 9), 3)
        2.262
    """
    return float(stats.t.ppf(0.5 + confidence / 2, freedom))


def student(values: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Student's interval for the mean of numbers (n,), n >= 2.

    Example:
        >>> low, high = student(np.array([1.0, 2.0, 3.0]))
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
    """
    half = float(stats.sem(values) * t_quantile(confidence, values.size - 1))
    mean = float(values.mean())
    return mean - half, mean + half


def welch(first: np.ndarray, second: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Welch's interval for the mean of numbers (n,) less that of others (m,), n and m >= 2.

    Example:
        >>> low, high = welch(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0, 3.0]))
        >>> round(low, 2), round(high, 2)
        (-1.73, 2.73)
    """
    ends = stats.ttest_ind(first, second, equal_var=False).confidence_interval(confidence)
    return float(ends.low), float(ends.high)


def clopper_pearson(
    successes: float | int, trials: int, confidence: float = CONFIDENCE
) -> Interval:
    """The exact interval for the probability behind `successes` out of `trials`.

    A part of a success, such as a tie, counts as none at the lower end and as one at the upper, so
    that the interval is never too narrow.

    Raises:
        InvalidArgument: more successes than trials.

    Example:
        >>> [round(end, 4) for end in clopper_pearson(4, 4)]
        [0.3976, 1.0]
        >>> [round(end, 4) for end in clopper_pearson(2.5, 4)]
        [0.0676, 0.9937]
    """
    whole = round(successes, 9)  # thirds may sum to a little less than one, or more
    if not 0 <= whole <= trials:
        raise InvalidArgument(
            "successes",
            successes,
            f"is not a count out of {trials}",
            "pass 0 <= successes <= trials",
        )
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
    spread = values.std("seed", ddof=1)
    return values.mean("seed"), t_quantile(confidence, count - 1) * spread / count**0.5


def standard_error(values: np.ndarray, axis: int) -> np.ndarray:
    """Of the means along an axis of independent members.

    Example:
        >>> standard_error(np.array([[1.0, 2.0, 3.0]]), axis=1).round(3).tolist()
        [0.577]
    """
    return values.std(axis=axis, ddof=1) / values.shape[axis] ** 0.5


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
    return percentile_ends(resampled(statistic, *parts, draws=draws, seed=seed), confidence)


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


def resampled_rows(
    count: int, draws: int = 1000, rng: np.random.Generator | None = None
) -> np.ndarray:
    """The members of every resample, (draws, count): for a statistic that takes all at once.

    Example:
        >>> rows = resampled_rows(5, draws=3)
        >>> rows.shape, bool(rows.max() < 5)
        ((3, 5), True)
    """
    rng = np.random.default_rng(0) if rng is None else rng
    return rng.integers(count, size=(draws, count))


def percentile_ends(
    draws: np.ndarray | list[float], confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the percentile interval of a statistic's draws (draws, ...), of shape (...).

    Example:
        >>> [float(end) for end in percentile_ends(np.arange(101.0), 0.9)]
        [5.0, 95.0]
    """
    tail = 50 * (1 - confidence)
    low, high = np.percentile(draws, [tail, 100 - tail], axis=0)
    return np.asarray(low), np.asarray(high)


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


def divergence(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Estimates of the KL divergence of one policy from another, along responses of the one.

    The sum over tokens of r - 1 - log r, with r the other's probability of the token over the own:
    without bias for responses drawn at temperature and top-p 1, never negative, and of far less
    variance than the sum of -log r. Elsewhere it is that of the tokens likely to be drawn. A token
    whose r is above e^600 counts as if it were e^600, which floats can hold.

    Args:
        own: log-probability of every token under the policy that drew it, shape (..., tokens).
        other: the same under the other policy.

    Source: Schulman 2020, "Approximating KL divergence", the estimator k3.

    Example:
        >>> divergence(np.log([[0.5, 0.9]]), np.log([[0.5, 0.45]])).round(3).tolist()
        [0.193]
    """
    log_ratio = np.asarray(other, float) - np.asarray(own, float)
    log_ratio = np.minimum(log_ratio, _LARGEST_LOG)
    return (np.expm1(log_ratio) - log_ratio).sum(axis=-1)


def looks(first: int, most: int, confidence: float = CONFIDENCE) -> Iterator[tuple[int, float]]:
    """How many members to look at, one look after the other, and the confidence of each look.

    The numbers double up to `most`, from `first` or a little more. Of J looks the j-th has the
    error rate (1 - confidence) / (j (j + 1)) and the last one what is left, (1 - confidence) / J:
    by the union bound all intervals cover together as often as `confidence` says, whatever the
    data of one look have to do with those of another. So whoever stops at the first look that
    decides keeps the level.

    Raises:
        InvalidArgument: less than one member, or a last look at fewer than the first.

    Source: the union bound over sample sizes that grow geometrically, as in Mnih, Szepesvari and
    Audibert 2008, "Empirical Bernstein stopping".

    Example:
        >>> [(size, round(each, 4)) for size, each in looks(100, 450)]
        [(113, 0.975), (225, 0.9917), (450, 0.9833)]
    """
    doublings = int(math.log2(as_count("most", most, least=as_count("first", first)) / first))
    last = doublings + 1
    for look in range(1, last + 1):
        parts = look if look == last else look * (look + 1)
        yield math.ceil(most / 2 ** (last - look)), 1 - (1 - confidence) / parts


def mean_estimate(values: np.ndarray, confidence: float = CONFIDENCE, unit: str = "") -> Estimate:
    """The mean of numbers (n,), n >= 2, with Student's interval.

    Example:
        >>> f"{mean_estimate(np.array([1.0, 2.0, 3.0])):.2f}"
        '2.00 [-0.48, 4.48]'
    """
    return Estimate(float(np.mean(values)), *student(values, confidence), unit, values.size)


def share_estimate(
    successes: float | int, trials: int, confidence: float = CONFIDENCE, unit: str = ""
) -> Estimate:
    """The share of successes with the interval of Clopper and Pearson.

    Example:
        >>> f"{share_estimate(4, 4):.2f}"
        '1.00 [0.40, 1.00]'
    """
    ends = clopper_pearson(successes, trials, confidence)
    return Estimate(successes / trials, *ends, unit, trials)


def crossed(values: np.ndarray, confidence: float = CONFIDENCE, unit: str = "") -> Estimate:
    """The mean of a table whose rows and columns are both drawn at random, such as seeds x prompts.

    Members of a row share its luck, and so do those of a column; the mean is off by the luck of
    either. Its variance is that of a two-way layout without replication, never below what rows or
    columns alone would give, and Satterthwaite's number says how well it is known.

    Args:
        values: shape (rows, columns).
        confidence: of the interval.
        unit: of the values.

    Returns:
        An `Estimate`; without an end where there is a single value.

    Source: Searle, Casella and McCulloch (1992), *Variance Components*, chapter 4.

    Example:
        >>> print(crossed(np.array([[1.0, 2.0, 3.0]])))
        2 [-0.4841, 4.484]
    """
    rows, columns = values.shape
    mean = float(values.mean())
    by_row, by_column = values.mean(axis=1) - mean, values.mean(axis=0) - mean
    rest = values - mean - by_row[:, None] - by_column
    squares = np.array([columns * by_row @ by_row, rows * by_column @ by_column, (rest**2).sum()])
    freedom = np.array([rows - 1, columns - 1, (rows - 1) * (columns - 1)])
    there = freedom > 0
    if not there.any():
        return Estimate(mean, math.nan, math.nan, unit, values.size)
    between_rows, between_columns, within = squares / np.maximum(freedom, 1)
    total = max(between_rows + between_columns - within, between_rows, between_columns)
    parts = np.array([between_rows, between_columns, within])[there] ** 2 / freedom[there]
    known = float(total**2 / parts.sum() if parts.sum() > 0 else freedom.max())
    half = t_quantile(confidence, known) * (total / values.size) ** 0.5
    return Estimate(mean, mean - half, mean + half, unit, values.size)


def ratio_estimate(
    pair: xr.DataArray, confidence: float = CONFIDENCE, draws: int = 1000
) -> Estimate:
    """The ratio of two means over the same seeds, (2, seed), with a bootstrap interval.

    Example:
        >>> ratio_estimate(xr.DataArray([[2.0, 4.0], [1.0, 2.0]], dims=("part", "seed")))
        Estimate(value=2.0, low=2.0, high=2.0, unit='ratio', n=2)
    """
    pair = pair.transpose(..., "seed")
    low, high = bootstrap(ratio_of_means, pair, draws=draws, confidence=confidence)
    value = float(ratio_of_means(pair.values))
    return Estimate(value, float(low), float(high), "ratio", pair.sizes["seed"])


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
