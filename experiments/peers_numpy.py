"""What `benchmark_bandit.py` holds `apo_sim` against, in NumPy."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

Floats = NDArray[np.float64]
# From the win counts of one problem, a start and a tolerance to scores.
Solver = Callable[[Floats, Floats, float], Floats]


def exact_plain(
    reward: Floats, log_ref: Floats, alphas: Floats, beta: float, iterations: int
) -> tuple[Floats, Floats]:
    """Exact APO as one writes it: vectorised over alphas and contexts, equal context weights.

    Returns suboptimality and total variation of pi_hat_1 ... pi_hat_T, shape (alphas, T).
    """
    contexts = np.arange(reward.shape[0])
    best = reward.argmax(axis=1)
    regret = reward.max(axis=1, keepdims=True) - reward
    alpha = alphas[:, None, None]
    suboptimality, tv = np.empty((2, len(alphas), iterations))
    old = centre = np.broadcast_to(log_ref, (len(alphas), *log_ref.shape))
    for t in range(iterations):
        log_policy = log_softmax(centre + reward / beta, axis=2)
        policy = np.exp(log_policy)
        suboptimality[:, t] = (policy * regret).sum(axis=2).mean(axis=1)
        tv[:, t] = (1.0 - policy[:, contexts, best]).mean(axis=1)
        # Its normaliser would cancel in the next log_softmax.
        centre = log_policy + alpha * (log_policy - old)
        old = log_policy
    return suboptimality, tv


def exact_tuned(
    reward: Floats, log_ref: Floats, alphas: Floats, beta: float, iterations: int
) -> tuple[Floats, Floats]:
    """The same numbers with one exponential a step, everything in place, nothing allocated."""
    contexts = reward.shape[0]
    step = reward / beta
    regret = (reward.max(axis=1, keepdims=True) - reward) / contexts
    off_best = np.full_like(reward, 1.0 / contexts)
    off_best[np.arange(contexts), reward.argmax(axis=1)] = 0.0
    alpha = alphas[:, None, None]
    suboptimality, tv = np.empty((2, iterations, len(alphas)))
    old = np.broadcast_to(log_ref, (len(alphas), *log_ref.shape)).copy()
    centre, new, policy = old.copy(), np.empty_like(old), np.empty_like(old)
    for t in range(iterations):
        np.add(centre, step, out=new)
        new -= new.max(axis=2, keepdims=True)
        np.exp(new, out=policy)
        total = policy.sum(axis=2, keepdims=True)
        new -= np.log(total)
        policy /= total
        suboptimality[t] = np.einsum("axk,xk->a", policy, regret)
        tv[t] = np.einsum("axk,xk->a", policy, off_best)
        np.subtract(new, old, out=centre)
        centre *= alpha
        centre += new
        old, new = new, old
    return suboptimality.T, tv.T


def pair_law(log_policy: Floats, preference: Floats) -> Floats:
    """Probability that a pair has winner i and loser j, shape (arms, arms)."""
    policy = np.exp(log_policy)
    cells = 2.0 * np.outer(policy, policy) * preference
    return cells / cells.sum()


def draw_wins(rng: np.random.Generator, cells: Floats, samples: int) -> Floats:
    """Win counts of `samples` pairs without the ties of an arm with itself."""
    wins = rng.multinomial(samples, cells.ravel()).reshape(cells.shape).astype(np.float64)
    np.fill_diagonal(wins, 0.0)
    return wins


def best_rewards(wins: Floats) -> Floats:
    """Maximum-likelihood Bradley-Terry scores to rounding, by Newton; the judge of accuracy.

    For counts whose optimum is finite; shape (problems, arms), each row summing to zero.
    """
    arms = wins.shape[1]
    met = wins + np.swapaxes(wins, 1, 2)
    rewards = np.zeros(wins.shape[:2])
    for _ in range(100):
        win_prob = expit(rewards[:, :, None] - rewards[:, None, :])
        slope = (met * win_prob - wins).sum(axis=2)
        curvature = met * win_prob * (1.0 - win_prob)
        matrix = np.eye(arms) * curvature.sum(axis=2)[:, :, None] - curvature
        step = np.linalg.solve(matrix + 1.0, -slope[:, :, None])[:, :, 0]
        rewards += np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-12:
            return rewards - rewards.mean(axis=1, keepdims=True)
    raise RuntimeError("the counts are separable: no finite optimum")


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
