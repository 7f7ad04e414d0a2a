"""The solvers of `evalica` (in Rust): maximum-likelihood Bradley-Terry scores, no bound on them."""

import functools
from collections.abc import Callable
from typing import Any

import evalica
import numpy as np
from peers_numpy import Floats, Solver

MOST_STEPS = 100_000


def _fit(method: Callable[..., Any], wins: Floats, start: Floats, tolerance: float) -> Floats:
    """One comparison of every pair and direction, weighted by how often it came out so."""
    winners, losers = np.nonzero(wins)
    found = method(
        winners.tolist(),
        losers.tolist(),
        [evalica.Winner.X] * len(winners),
        weights=wins[winners, losers],
        tolerance=tolerance,
        limit=MOST_STEPS,
    )
    # Strengths, the strongest first; it takes no start.
    scores = np.log(found.scores.sort_index().to_numpy())
    return scores - scores.mean()


SOLVERS: dict[str, Solver] = {
    "bradley_terry": functools.partial(_fit, evalica.bradley_terry),
    "newman": functools.partial(_fit, evalica.newman),
}
