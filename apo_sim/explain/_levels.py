"""Where a noisy series begins, where it ends, and whether the difference is more than noise."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from apo_sim.explain.log import Series
from apo_sim.statistics import CONFIDENCE, t_quantile

# Below it, a change cannot be told from noise.
FEWEST_ROWS = 8
# Means of so many stretches at most stand for a series: what is correlated within one does no harm.
_BLOCKS = 20
# Intervals that one log is judged by: each is wider, so that all of them hold at once.
_TESTS = 16
# From the median absolute deviation of normal numbers to their standard deviation.
_OF_MEDIAN = float(1.0 / stats.norm.ppf(0.75))


@dataclass(frozen=True)
class Levels:
    """A series as means of stretches.

    Attributes:
        blocks: the means, shape (B,).
        steps: at which each stretch begins and ends, shape (B, 2).
        noise: standard deviation of one of the means about a smooth course.

    Example:
        >>> rise = np.linspace(0.0, 1.0, 40)
        >>> found = levels(Series(np.zeros(40), np.arange(40.0), rise))
        >>> round(found.start, 2), round(found.end, 2), found.change()[0] > 0.8
        (0.04, 0.88, True)
    """

    blocks: np.ndarray
    steps: np.ndarray
    noise: float

    @property
    def _last(self) -> int:
        return max(2, len(self.blocks) // 4)

    @property
    def _first(self) -> int:
        return max(1, len(self.blocks) // 10)

    @property
    def start(self) -> float:
        """Mean of the first tenth, at least one row."""
        return float(self.blocks[: self._first].mean())

    @property
    def end(self) -> float:
        """Mean of the last quarter."""
        return float(self.blocks[-self._last :].mean())

    def final(self) -> tuple[float, float]:
        """Interval for the level of the last quarter."""
        half = self._quantile() * self.noise / self._last**0.5
        return self.end - half, self.end + half

    def change(self) -> tuple[float, float]:
        """Interval for the end less the start."""
        half = self._quantile() * self.noise * (1 / self._first + 1 / self._last) ** 0.5
        return self.end - self.start - half, self.end - self.start + half

    def rise_from(self, place: int) -> tuple[float, float]:
        """Interval for the end less the level of the three stretches around `place`.

        Wider, since whoever asks has chosen the place among all.
        """
        near = self.blocks[max(place - 1, 0) : place + 2]
        half = self._quantile(len(self.blocks)) * self.noise
        half *= (1 / len(near) + 1 / self._last) ** 0.5
        rise = self.end - float(near.mean())
        return rise - half, rise + half

    def since(self, holds: np.ndarray) -> tuple[float, float]:
        """First and last step of the last stretches that something holds in, shape (B,)."""
        fails = np.flatnonzero(~holds)
        first = min(0 if not len(fails) else int(fails[-1]) + 1, len(holds) - 1)
        return float(self.steps[first, 0]), float(self.steps[-1, 1])

    def _quantile(self, choices: int = 1) -> float:
        confidence = 1.0 - (1.0 - CONFIDENCE) / (_TESTS * choices)
        return t_quantile(confidence, len(self.blocks) - 2)


def levels(series: Series, restarts: bool = False) -> Levels | None:
    """The levels of a series; None where it has too few rows.

    The noise is that of the differences between neighbouring stretches, by their median: neither
    a trend nor a jump counts as noise.

    Args:
        series: what is no finite number is left out.
        restarts: whether the column begins anew in each iteration of the outer loop; then the
            iterations are averaged, each stretch over its like.

    Source: von Neumann's mean square successive difference, made robust.
    """
    kept = series.finite
    groups = [kept.iteration == t for t in np.unique(kept.iteration)] if restarts else [...]
    groups = [group for group in groups if len(kept.value[group]) >= FEWEST_ROWS]
    if not groups:
        return None
    number = min([_BLOCKS, *(len(kept.value[group]) for group in groups)])
    parts = [np.array_split(kept.value[group], number) for group in groups]
    with np.errstate(over="ignore", invalid="ignore"):
        blocks = np.mean([[part.mean() for part in row] for row in parts], axis=0)
        bends = np.diff(blocks)
        spread = np.median(np.abs(bends - np.median(bends)))
    if not np.isfinite(blocks).all():
        return None
    times = np.array_split(kept.step[groups[0]], number)
    steps = np.array([[part[0], part[-1]] for part in times])
    return Levels(blocks, steps, float(_OF_MEDIAN * spread / np.sqrt(2)))
