"""What the claims on coverage share: a family of bandits, and errors to leading order."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from apo_sim.theory import weights

# Two good arms that the reference policy hardly knows, and two that it knows well.
REWARD = np.array([1.0, 0.8, 0.0, 0.0])
UPDATES = 8


def reference(p: float) -> np.ndarray:
    """Mass p on each good arm, the rest on the others, shape (4,).

    Example:
        >>> reference(0.01).tolist()
        [0.01, 0.01, 0.49, 0.49]
    """
    return np.array([p, p, 0.5 - p, 0.5 - p])


def sharpness(p: float) -> float:
    """The weight g at which pi_ref exp(g r*) has about half of its mass on the best arm.

    Example:
        >>> policy = reference(0.01) * np.exp(sharpness(0.01) * REWARD)
        >>> round(float(policy[0] / policy.sum()), 2)
        0.5
    """
    return math.log(1.5 / p)


def tilted(p: float, weight: float) -> np.ndarray:
    """pi_ref exp(weight r*), normalised."""
    policy = reference(p) * np.exp(weight * REWARD)
    return policy / policy.sum()


def uncertainty(
    target: np.ndarray, behaviours: Sequence[np.ndarray], reward: np.ndarray = REWARD
) -> float:
    """tr(V I^+): the variance under the target of a reward fitted to labels, times their number.

    V = diag(pi*) - pi* pi*^T, and I is the mean Fisher information of a label on two responses of
    the behaviour policies, the Laplacian of the weights 2 pi(i) pi(j) s'(r_i - r_j).
    """
    lead = reward[:, None] - reward
    met = 2 * np.mean([each[:, None] * each for each in behaviours], axis=0)
    pull = met * expit(lead) * expit(-lead)
    np.fill_diagonal(pull, 0)
    information = np.diag(pull.sum(axis=1)) - pull
    spread = np.diag(target) - np.outer(target, target)
    # Both have the constants for kernel; lifted there, nothing that counts is changed.
    lifted = information + np.trace(information) * np.ones_like(information) / len(reward) ** 2
    return float(np.trace(spread @ np.linalg.inv(lifted)))


def of_accelerated(alpha: float, weight: float, uncertainties: Sequence[float]) -> float:
    """n E KL(pi_hat_T || exact) of n labels to leading order, for momentum at a total weight.

    Every update learns r* anew from its own labels, with the error that its behaviour leaves:
    (T / 2) sum_i (w_(T-i) / beta)^2 tr(V I_i^+), beta = sum w / weight.

    Args:
        alpha: extrapolation.
        weight: gamma_T, the same for every alpha.
        uncertainties: tr(V I_i^+) of updates 0 ... T-1.

    Example:
        >>> of_accelerated(0.0, 2.0, [1.0, 1.0])
        2.0
    """
    share = np.asarray(weights(alpha, len(uncertainties)), float)[::-1]
    share = share / share.sum()
    return len(share) / 2 * weight**2 * float(np.sum(share**2 * np.asarray(uncertainties)))


def on_path(alpha: float, p: float) -> list[np.ndarray]:
    """The behaviour pi_0 ... pi_{T-1} of the exact run at the weight of `sharpness`."""
    share = np.asarray(weights(alpha, UPDATES), float)
    beta = share.sum() / sharpness(p)
    before, behaviour, path = 0.0, 0.0, []
    for _ in range(UPDATES):
        path.append(tilted(p, behaviour))
        after = behaviour + 1 / beta
        before, behaviour = after, after + alpha * (after - before)
    return path
