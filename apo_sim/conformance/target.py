"""What a loss of a difference asks for: the difference that it wants for each preference."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from apo_sim.conformance._calling import Call, Observed, observe
from apo_sim.conformance._fitting import View, view, views
from apo_sim.conformance.inputs import inputs_at

PREFERENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
# Differences asked about: dense at 0, and as far as any sensible beta needs.
_FURTHEST, _POINTS = 1000.0, 201


@dataclass(frozen=True)
class Target:
    """The difference D of two responses at which p l(D) + (1 - p) l(-D) is least.

    Attributes:
        difference: D* for each preference p; infinite where the loss falls without end.
        reference: whether D is of log-ratios, or of log pi alone.
        mean: whether the scores are means over the tokens.
    """

    difference: dict[float, float]
    reference: bool
    mean: bool


def implied_target(
    call: Call, observed: Observed, preferences: Sequence[float] = PREFERENCES
) -> Target | None:
    """What a loss wants, if it is a function of a difference of scores; None if it is not.

    Of two responses, the first of which wins with probability p, the loss is p l(D) + (1 - p)
    l(-D) on average. Its minimum is looked for on a grid up to ± 1000 and then, between two points
    of it, at the root of p l'(D) - (1 - p) l'(-D); of several minima, the one nearest to 0.

    Args:
        call: the loss.
        observed: what it answered to random pairs.
        preferences: p.

    Example:
        >>> from apo_sim.conformance._calling import bind
        >>> from apo_sim.conformance.inputs import random_inputs
        >>> call = bind(lambda w, l, rw, rl: np.logaddexp(0.0, 2.0 * (l - rl - w + rw)), {})
        >>> target = implied_target(call, observe(call, random_inputs(8, seed=0)), [0.9])
        >>> round(target.difference[0.9], 3), round(float(0.5 * np.log(9.0)), 3)
        (1.099, 1.099)
    """
    for seen in views(observed):
        if _is_of_difference(call, observed, seen):
            found = _minima(call, seen, preferences)
            return Target(found, seen.reference, seen.mean)
    return None


def _is_of_difference(call: Call, observed: Observed, seen: View) -> bool:
    slopes = observed.gradient / np.stack([seen.slope_won, seen.slope_lost], axis=1)
    size = np.abs(slopes).max(axis=1) + np.median(np.abs(slopes))
    tolerance = 10 * observed.tolerance
    if np.any(np.abs(slopes.sum(axis=1)) > tolerance * size):
        return False
    # The same differences at other levels of the scores.
    d = np.linspace(-6.0, 6.0, 13)
    (_, first), (_, second) = (_line(call, d, seen, seed, level) for seed, level in _LEVELS)
    scale = np.abs(first) + np.median(np.abs(first))
    return bool(np.all(np.abs(first - second) <= tolerance * scale))


_LEVELS = ((1, 0.0), (2, -2.0))


def _line(
    call: Call, d: np.ndarray, seen: View, seed: int = 1, level: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """l and l' at some differences."""
    inputs = inputs_at(d, reference=seen.reference, mean=seen.mean, seed=seed, rejected=level)
    observed = observe(call, inputs)
    at = view(observed.inputs, reference=seen.reference, mean=seen.mean)
    slope = observed.gradient[:, 0] / at.slope_won
    # Where it is not finite it was left out.
    return np.interp(d, at.difference, observed.values), np.interp(d, at.difference, slope)


def _minima(call: Call, seen: View, preferences: Sequence[float]) -> dict[float, float]:
    half = np.sinh(np.linspace(0.0, 7.0, _POINTS // 2 + 1))
    half = _FURTHEST * half / half[-1]
    grid = np.concatenate([-half[:0:-1], half])
    value, _ = _line(call, grid, seen)
    found: dict[float, float] = {}
    for p in preferences:
        mean = p * value + (1.0 - p) * value[::-1]
        found[float(p)] = _least(call, seen, grid, mean, float(p))
    return found


def _least(call: Call, seen: View, grid: np.ndarray, mean: np.ndarray, p: float) -> float:
    least = np.flatnonzero(mean <= mean.min() + 1e-12 * (1.0 + abs(mean.min())))
    best = int(min(least, key=lambda i: (abs(grid[i]), -grid[i])))
    if least[-1] - least[0] >= 2 and least[0] < best < least[-1]:
        return float(grid[best])  # it does not care
    if best in (0, len(grid) - 1):
        return float(np.copysign(np.inf, grid[best]))
    low, high = float(grid[best - 1]), float(grid[best + 1])
    for _ in range(4):
        d = np.linspace(low, high, 33)
        slope = p * _line(call, d, seen)[1] - (1.0 - p) * _line(call, -d[::-1], seen)[1][::-1]
        rising = np.flatnonzero(slope >= 0)
        if not rising.size or rising[0] == 0:
            return float(grid[best])
        at = rising[0]
        low, high = float(d[at - 1]), float(d[at])
        if slope[at] == 0.0:
            return float(d[at])
    return 0.5 * (low + high)
