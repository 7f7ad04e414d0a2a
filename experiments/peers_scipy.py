"""Bradley-Terry scores in a box, by SciPy: any win counts, separable and unseen ones too."""

import numpy as np
from peers_numpy import Floats
from scipy import optimize
from scipy.sparse.csgraph import connected_components
from scipy.special import expit


def groups_of(wins: Floats) -> Floats:
    """A label for each arm: arms that a chain of comparisons links have the same one."""
    return connected_components(wins + wins.T, directed=False)[1]


def by_lbfgs(wins: Floats, bound: float, tolerance: float) -> Floats:
    """The scores of largest likelihood in [-bound, bound], the mean slope below `tolerance`."""
    total = max(wins.sum(), 1.0)

    def mean_loss(scores: Floats) -> tuple[float, Floats]:
        lead = scores[:, None] - scores
        push = wins * expit(-lead) / total
        value = np.sum(wins * np.logaddexp(0.0, -lead)) / total
        return value, push.sum(axis=0) - push.sum(axis=1)

    return optimize.minimize(
        mean_loss,
        np.zeros(len(wins)),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-bound, bound)] * len(wins),
        options={"ftol": 0.0, "gtol": tolerance, "maxiter": 10_000, "maxfun": 20_000, "maxcor": 30},
    ).x


def best_in_box(wins: Floats, bound: float) -> Floats:
    """The same to rounding; the judge of accuracy where counts are hard.

    L-BFGS finds which arms the walls hold, and Newton's method places the others. Where that
    holds an arm that is not pushed outward, or lets one pass a wall, the search goes on from
    there.

    Raises:
        RuntimeError: the walls that hold arms are not found.
    """
    scores = by_lbfgs(wins, bound, 1e-12)
    met = wins + wins.T
    for _ in range(50):
        held = np.abs(scores) >= bound * (1.0 - 1e-9)
        scores[held] = np.sign(scores[held]) * bound
        for _ in range(50):
            chance = expit(scores[:, None] - scores)
            slope = (met * chance - wins).sum(axis=1)
            curvature = met * chance * (1.0 - chance)
            matrix = np.diag(curvature.sum(axis=1)) - curvature
            free = np.ix_(~held, ~held)
            # The shortest step: groups that no wall holds, and arms never met, stay.
            step = np.linalg.lstsq(matrix[free], -slope[~held], rcond=1e-13)[0]
            scores[~held] += np.clip(step, -1.0, 1.0)
            if np.abs(step).max(initial=0.0) < 1e-11:
                break
        inward = held & (slope * scores > 1e-9 * wins.sum())
        outside = np.abs(scores) > bound
        if not (inward.any() or (outside & ~held).any()):
            return scores
        scores = np.clip(scores, -bound, bound)
        scores[inward] *= 0.9
    raise RuntimeError("the active walls were not found")
