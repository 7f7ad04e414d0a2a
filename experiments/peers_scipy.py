"""Bradley-Terry scores in a box, by SciPy: any win counts, separable and unseen ones too."""

import numpy as np
from numpy.typing import NDArray
from peers_numpy import Floats
from scipy import optimize
from scipy.sparse.csgraph import connected_components
from scipy.special import expit


def groups_of(wins: Floats) -> NDArray[np.int32]:
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
    for _ in range(50):
        held = np.abs(scores) >= bound * (1.0 - 1e-9)
        scores = _newton(wins, np.where(held, np.sign(scores) * bound, scores), held)
        inward = held & (_slope(wins, scores) * scores > 1e-9 * wins.sum())
        outside = ~held & (np.abs(scores) > bound)
        if not (inward | outside).any():
            return scores
        scores = np.clip(scores, -bound, bound) * np.where(inward, 0.9, 1.0)
    raise RuntimeError("the active walls were not found")


def _slope(wins: Floats, scores: Floats) -> Floats:
    return ((wins + wins.T) * expit(scores[:, None] - scores) - wins).sum(axis=1)


def _newton(wins: Floats, scores: Floats, held: NDArray[np.bool_]) -> Floats:
    """The best scores of the arms that no wall holds."""
    scores, free = scores.copy(), ~held
    for _ in range(50):
        chance = expit(scores[:, None] - scores)
        curvature = (wins + wins.T) * chance * (1.0 - chance)
        matrix = np.diag(curvature.sum(axis=1)) - curvature
        # The shortest step: groups that no wall holds, and arms never met, stay.
        downhill = -_slope(wins, scores)[free]
        step = np.linalg.lstsq(matrix[np.ix_(free, free)], downhill, rcond=1e-13)[0]
        scores[free] += np.clip(step, -1.0, 1.0)
        if np.abs(step).max(initial=0.0) < 1e-11:
            break
    return scores
