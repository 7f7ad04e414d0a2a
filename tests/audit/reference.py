"""The method and its theory once more: slow, simple, NumPy and SciPy alone.

Everything is written from the statements and knows nothing of the package that it audits. One
context at a time; arms are the last axis; policies are log-probabilities.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from math import factorial
from typing import Any

import numpy as np
from scipy.optimize import linprog, minimize
from scipy.special import expit, lambertw, logsumexp

Vector = np.ndarray
Learner = Callable[[int, Vector], Vector]


@dataclass
class Run:
    """pi_hat_0 ... pi_hat_T, pi_0 ... pi_T (T + 1, K), and r_0 ... r_{T-1} (T, K)."""

    before: np.ndarray
    after: np.ndarray
    rewards: np.ndarray


def normalise(log_weights: Vector) -> Vector:
    return log_weights - logsumexp(log_weights, axis=-1, keepdims=True)


def algorithm(
    log_ref: Vector,
    learn: Learner,
    beta: Any,
    iterations: int,
    alpha: Any = 0.0,
    momentum: str = "before",
) -> Run:
    """Algorithm 1: the proximal step (3.2), then the extrapolation (3.6).

    `learn(t, log pi_t)` is the reward of update t; `alpha` and `beta` are numbers or one for each
    update. Momentum is pi_hat_{t+1} - pi_hat_t, or pi_hat_{t+1} - pi_t with momentum="after".
    """
    alphas = np.broadcast_to(alpha, (iterations,))
    betas = np.broadcast_to(beta, (iterations,))
    before, after, rewards = [log_ref], [log_ref], []
    for t in range(iterations):
        rewards.append(learn(t, after[t]))
        before.append(normalise(after[t] + rewards[t] / betas[t]))
        base = before[t] if momentum == "before" else after[t]
        after.append(normalise(before[t + 1] + alphas[t] * (before[t + 1] - base)))
    return Run(np.array(before), np.array(after), np.array(rewards))


def averaging(log_ref: Vector, learn: Learner, beta: float, iterations: int, decay: float) -> Run:
    """Momentum by averaging: h <- decay h + (1 - decay) (update), and the centre moves by h."""
    before, after, rewards, moved = [log_ref], [log_ref], [], np.zeros_like(log_ref)
    for t in range(iterations):
        rewards.append(learn(t, after[t]))
        before.append(normalise(after[t] + rewards[t] / beta))
        moved = decay * moved + (1 - decay) * rewards[t] / beta
        after.append(normalise(after[t] + moved))
    return Run(np.array(before), np.array(after), np.array(rewards))


def bradley_terry(reward: Vector) -> np.ndarray:
    return expit(reward[..., :, None] - reward[..., None, :])


def win_rate(preference: np.ndarray, log_policy: Vector) -> Vector:
    """P(y > pi) of every arm: the exact reward of SPPO."""
    return np.array([sum(row * np.exp(log_policy)) for row in preference])


def ipo_reward(preference: np.ndarray, log_policy: Vector, tau: float) -> Vector:
    """The minimiser of the expected IPO loss over all ordered pairs, by least squares."""
    policy, arms = np.exp(log_policy), len(log_policy)
    rows, targets = [], []
    for winner, loser in product(range(arms), repeat=2):
        if winner != loser:
            weight = np.sqrt(policy[winner] * policy[loser] * preference[winner, loser])
            difference = np.zeros(arms)
            difference[winner], difference[loser] = 1.0, -1.0
            rows.append(weight * difference)
            targets.append(weight / tau)
    return np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0]


def weights(alpha: float, iterations: int) -> Vector:
    """w_1 ... w_T: w_k = 1 + alpha + ... + alpha^(k-1), that is w_{k+1} = 1 + alpha w_k."""
    w = [1.0]
    for _ in range(iterations - 1):
        w.append(1.0 + alpha * w[-1])
    return np.array(w)


def gamma(alpha: float, beta: float, iterations: int) -> float:
    return sum(weights(alpha, iterations)) / beta


def average_reward(rewards: np.ndarray, alpha: float) -> Vector:
    """The mean of r_0 ... r_{T-1} with weights w_T ... w_1."""
    w = weights(alpha, len(rewards))[::-1]
    return w @ rewards / w.sum()


def gap(reward: Vector, log_policy: Vector) -> Any:
    """r*(y*) - E r*, summed over the shortfalls so that a small gap keeps its digits."""
    shortfall = reward.max(axis=-1, keepdims=True) - reward
    return np.sum(np.exp(log_policy) * shortfall, axis=-1)


def total_variation(log_p: Vector, log_q: Vector) -> Any:
    return np.sum(np.abs(np.exp(log_p) - np.exp(log_q)), axis=-1) / 2


def off_mass(log_policy: Vector, best: int) -> Any:
    """Total variation to the policy that plays `best` alone."""
    return sum(np.exp(log_policy[..., arm]) for arm in range(log_policy.shape[-1]) if arm != best)


def exploitability(preference: np.ndarray, policy: Vector) -> float:
    """What the best of all pure replies wins beyond one half."""
    return max(float(row @ policy) for row in preference) - 0.5


def equilibrium(preference: np.ndarray) -> Vector:
    """A policy that no arm beats, by linear programming: min v, P(y > pi) <= v for every y."""
    arms = len(preference)
    found = linprog(
        np.append(np.zeros(arms), 1.0),
        A_ub=np.column_stack([preference, -np.ones(arms)]),
        b_ub=np.zeros(arms),
        A_eq=[[1.0] * arms + [0.0]],
        b_eq=[1.0],
        bounds=[(0, 1)] * (arms + 1),
    )
    return found.x[:-1]


def dominance(preference: np.ndarray, best: int) -> float:
    """The largest Delta of Assumption B.1 with y* = best."""
    arms = range(len(preference))
    return min(
        preference[best, rival] - preference[other, rival]
        for other in arms
        for rival in arms
        if other != best
    )


def lambert_gap(p: Any) -> Any:
    """W_0((1 - p)/(e p)), the supremum of gamma times the gap in N2."""
    return lambertw((1 - p) / (np.e * p)).real


def kappa(log_policy: Vector, log_exact: Vector, log_centre: Vector) -> tuple[float, float]:
    """The coverage coefficient of (4.1) as printed, and with two separate maxima."""
    to_run = np.exp(log_policy - log_centre)
    to_exact = np.exp(log_exact - log_centre)
    together = max(a * b for a, b in zip(to_run, to_exact, strict=True))
    return together, max(to_run) * max(to_exact)


def sigmoid_slope(x: float) -> float:
    return float(expit(x) * expit(-x))


def policy_error_bound(
    kappas: list[float],
    alpha: float,
    beta: float,
    pairs: int,
    bound: float,
    size: float,
    delta: float,
) -> float:
    """Lemma C.1 with explicit constants, for a class of `size` policies with |beta log| <= bound.

    `kappas` decides whether it is the printed lemma or the one that its proof proves.
    """  # fmt: skip
    updates = len(kappas)
    inside = updates * sum(kappas) * np.log(updates * size / delta)
    return np.sqrt(inside / (pairs * beta**2 * (1 - alpha) ** 2)) / sigmoid_slope(1 + bound)


def bradley_terry_fit(wins: np.ndarray, bound: float) -> Vector:
    """Rewards that minimise -sum wins_ij log sigmoid(r_i - r_j) with max r - min r <= 2 bound."""
    arms = len(wins)

    def loss(r):
        return np.sum(wins * np.logaddexp(0, r[None, :] - r[:, None]))

    def slope(r):
        pull = wins * expit(r[None, :] - r[:, None])
        return pull.sum(axis=0) - pull.sum(axis=1)

    pairs = [(i, j) for i in range(arms) for j in range(arms) if i != j]
    spread = np.array([np.eye(arms)[i] - np.eye(arms)[j] for i, j in pairs])
    found = minimize(
        loss,
        np.zeros(arms),
        jac=slope,
        method="SLSQP",
        constraints={
            "type": "ineq",
            "fun": lambda r: 2 * bound - spread @ r,
            "jac": lambda _: -spread,
        },
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return found.x


def two_arm_fit(first: int, second: int, bound: float) -> float:
    """The same of two arms, in closed form: r_1 - r_2 = log(first/second), kept within 2 bound."""
    if first == second:
        return 0.0
    with np.errstate(divide="ignore"):
        return float(np.clip(np.log(first) - np.log(second), -2 * bound, 2 * bound))


def two_arm_outcomes(
    log_policy: Vector, first_beats_second: float, pairs: int
) -> Iterator[tuple[float, int, int]]:
    """All that N pairs y, y' ~ pi of two arms can say: (probability, wins of 1, wins of 2)."""
    p, q = np.exp(log_policy)
    # The two may be drawn in either order, and the same arm twice is a tie.
    chances = (2 * p * q * first_beats_second, 2 * p * q * (1 - first_beats_second), p**2 + q**2)
    for first in range(pairs + 1):
        for second in range(pairs + 1 - first):
            counts = (first, second, pairs - first - second)
            ways = factorial(pairs)
            for count in counts:
                ways //= factorial(count)
            chance = float(np.prod([c**n for c, n in zip(chances, counts, strict=True)]))
            yield ways * chance, first, second


def two_arm_law(
    reward: Vector,
    log_ref: Vector,
    alpha: float,
    beta: float,
    pairs: int,
    iterations: int,
    bound: float,
) -> list[tuple[float, Run]]:
    """Every run of Algorithm 1 on two arms with sampled preferences, and its probability."""
    chance_first = float(expit(reward[0] - reward[1]))
    law = []

    def go_on(chance: float, before: list[Vector], after: list[Vector], rewards: list[Vector]):
        if len(rewards) == iterations:
            law.append((chance, Run(np.array(before), np.array(after), np.array(rewards))))
            return
        for share, first, second in two_arm_outcomes(after[-1], chance_first, pairs):
            if share == 0.0:
                continue
            difference = two_arm_fit(first, second, bound)
            r = np.array([difference / 2, -difference / 2])
            trained = normalise(after[-1] + r / beta)
            centre = normalise(trained + alpha * (trained - before[-1]))
            go_on(chance * share, [*before, trained], [*after, centre], [*rewards, r])

    go_on(1.0, [log_ref], [log_ref], [])
    return law
