"""Sampled APO with a solver of `choix` in the proximal step, one problem after the other."""

from collections.abc import Callable

import choix
import numpy as np
from numpy.typing import NDArray
from peers_numpy import draw_wins, pair_law
from scipy.special import log_softmax

Floats = NDArray[np.float64]
# From win counts, a start and a tolerance to scores.
Solver = Callable[[Floats, Floats, float], Floats]


def _pairs(wins: Floats) -> list[tuple[int, int]]:
    arms = len(wins)
    counts = wins.astype(int).ravel()
    winners, losers = np.divmod(np.repeat(np.arange(arms * arms), counts), arms)
    return list(zip(winners.tolist(), losers.tolist(), strict=True))


# The data of the benchmark have a finite optimum, so none of them needs regularisation.
SOLVERS: dict[str, Solver] = {
    "ilsr_pairwise_dense": lambda wins, start, tol: choix.ilsr_pairwise_dense(
        wins, initial_params=start, tol=tol, max_iter=10_000
    ),
    "ilsr_pairwise": lambda wins, start, tol: choix.ilsr_pairwise(
        len(wins), _pairs(wins), initial_params=start, tol=tol, max_iter=10_000
    ),
    "mm_pairwise": lambda wins, start, tol: choix.mm_pairwise(
        len(wins), _pairs(wins), initial_params=start, tol=tol
    ),
    "opt_pairwise (Newton-CG)": lambda wins, start, tol: choix.opt_pairwise(
        len(wins), _pairs(wins), alpha=0.0, initial_params=start, tol=tol
    ),
    "opt_pairwise (BFGS)": lambda wins, start, tol: choix.opt_pairwise(
        len(wins), _pairs(wins), alpha=0.0, method="BFGS", initial_params=start, tol=tol
    ),
}

FASTEST = "ilsr_pairwise_dense"
"""Of them, at every number of arms up to ten at which all were tried."""


def sampled(
    solver: Solver,
    tolerance: float,
    reward: Floats,
    log_ref: Floats,
    *,
    alpha: float,
    beta: float,
    iterations: int,
    samples: int,
    seeds: int,
    seed: int,
) -> Floats:
    """Suboptimality of pi_hat_T for every seed; each solve starts from the scores before it."""
    rng = np.random.default_rng(seed)
    preference = 1.0 / (1.0 + np.exp(reward[None, :] - reward[:, None]))
    regret = reward.max() - reward
    final = np.empty(seeds)
    for index in range(seeds):
        old = centre = log_ref
        scores = np.zeros_like(log_ref)
        for _ in range(iterations):
            wins = draw_wins(rng, pair_law(centre, preference), samples)
            scores = solver(wins, scores, tolerance)
            log_policy = log_softmax(centre + scores / beta)
            final[index] = np.exp(log_policy) @ regret
            centre = log_softmax(log_policy + alpha * (log_policy - old))
            old = log_policy
    return final
