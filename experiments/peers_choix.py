"""Solvers of `choix`: maximum-likelihood Bradley-Terry scores, no bound on them."""

import choix
import numpy as np
from peers_numpy import Floats, Solver


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
