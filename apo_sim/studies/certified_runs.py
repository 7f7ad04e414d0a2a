"""Sampled runs to hold certificates against: bandits of several families, their labels and gaps.

The rewards are within [-1, 1] everywhere, which is what a certificate is told of them.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from apo_sim import theory
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit
from apo_sim.replay import replayed_counts
from apo_sim.running import run
from apo_sim.sweep.lanes import over_lanes
from apo_sim.theory import likelihood_ball
from apo_sim.theory.certificate import Certificate, certify, surface

ARMS, REWARD_BOUND, DELTA = 10, 1.0, 0.05
HARD = "one arm leads by a hair, greedy"
CONTEXTS = {"four contexts": 4}
FAMILIES = ("uniform", "Zipf reference", "rare best arm", "ties", "four contexts")
VERSIONS = {"asymptotic": False, "finite-sample": True}
LEAD = 2.6  # of the hard family's best arm, in standard errors of the first iteration

Bandits = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Runs:
    r"""Sampled runs, each on a bandit of its own.

    Attributes:
        reward: the true one, shape (runs, X, K).
        gap: of the final policy, expectation over contexts, shape (runs,).
        log_policy: of the final policy, shape (runs, X, K).
        wins: win counts of all iterations, shape (runs, X, K, K).
        log_paper: logarithm of the paper's bound on the gap (Theorem 4.4 as printed), with the
            coverage that the run met and the metric entropy of the table; shape (runs,).
    """

    reward: np.ndarray
    gap: np.ndarray
    log_policy: np.ndarray
    wins: np.ndarray
    log_paper: np.ndarray


def bandits(family: str, rng: np.random.Generator, count: int, samples: int | float) -> Bandits:
    """Rewards and log-references of a family, each of shape (count, X, K).

    Uniform rewards with a uniform, a Zipf or a one-percent reference, and in four contexts; rewards
    on three levels; and the hard case, where one arm leads all others, which are alike, by `LEAD`
    standard errors of a difference of two arms after `samples` labels.

    Example:
        >>> reward, log_ref = bandits("four contexts", np.random.default_rng(0), 3, 100)
        >>> reward.shape, float(np.exp(log_ref[0, 0]).sum().round(9))
        ((3, 4, 10), 1.0)
    """
    if family == HARD:
        return _one_leads(count, samples)
    shape = (count, CONTEXTS.get(family, 1), ARMS)
    reward = rng.uniform(-1, 1, shape)
    weights = np.ones(shape)
    if family == "Zipf reference":
        weights = rng.permuted(np.broadcast_to(np.arange(1.0, ARMS + 1) ** -1.5, shape), axis=-1)
    if family == "rare best arm":
        best = np.arange(ARMS) == np.argmax(reward, axis=-1)[..., None]
        rest = np.where(best, 0.0, rng.standard_exponential(shape))
        weights = np.where(best, 0.01, 0.99 * rest / rest.sum(axis=-1, keepdims=True))
    if family == "ties":
        reward = rng.integers(-1, 2, shape).astype(float)
    return reward, np.log(weights / weights.sum(axis=-1, keepdims=True))


def _one_leads(count: int, samples: int | float) -> Bandits:
    # An arm meets others in 2 N (K - 1) / K^2 pairs, each of information 1/4.
    error = np.sqrt(2 * 4 * ARMS**2 / (2 * samples * (ARMS - 1)))
    lead = min(LEAD * error, 2 * REWARD_BOUND)
    reward = np.where(np.arange(ARMS) == 0, lead / 2, -lead / 2)
    shape = (count, 1, ARMS)
    return np.broadcast_to(reward, shape), np.full(shape, -np.log(ARMS))


def sampled(
    key: jax.Array,
    problems: Bandits,
    *,
    iterations: int,
    samples: Any,
    beta: Any,
    alpha: Any,
    reward_bound: Any = 2.0,
) -> Runs:
    """Run DPO with momentum on every bandit, with labels of its own.

    Args:
        key: of all labels.
        problems: rewards and log-references, what `bandits` returns.
        iterations: T.
        samples: N, a number or one for each bandit, as the following ones.
        beta: proximal weight.
        alpha: extrapolation.
        reward_bound: R that the rewards are fitted within, which may exclude the true ones.

    Example:
        >>> problems = bandits("uniform", np.random.default_rng(0), 2, 100)
        >>> given = {"iterations": 2, "samples": 100, "beta": 1.0, "alpha": 0.3}
        >>> sampled(jax.random.key(0), problems, **given).wins.sum(axis=(1, 2, 3)).tolist()
        [200.0, 200.0]
    """
    reward, log_ref = problems
    count = len(reward)
    numbers = {"samples": samples, "beta": beta, "alpha": alpha, "bound": reward_bound}
    lanes: dict[str, Any] = {
        name: np.broadcast_to(np.asarray(value, float), count) for name, value in numbers.items()
    }
    lanes |= {"reward": reward, "log_ref": log_ref, "key": jax.random.split(key, count)}
    return Runs(reward, *over_lanes(_run, lanes, at_once=60, iterations=iterations))


def _run(lane: dict[str, Any], iterations: int) -> tuple[jax.Array, ...]:
    bandit = Bandit(lane["reward"], lane["log_ref"])
    solution = run(
        bandit,
        momentum=Constant(lane["alpha"]),
        beta=lane["beta"],
        iterations=iterations,
        samples=lane["samples"],
        key=lane["key"],
        reward_bound=lane["bound"],
        save="path",
    )
    wins = replayed_counts(bandit, solution, samples=lane["samples"])
    final, gamma = solution.path.log_policy[-1], solution.gamma[-1]
    exact = theory.exact_policy(bandit, gamma)
    kappa = theory.coverage(final, exact, solution.path.behaviour[:-1])
    shape = {"arms": bandit.num_arms, "contexts": bandit.num_contexts}
    statistics = theory.log_tv_statistical(
        kappa.log_printed,
        lane["alpha"],
        lane["beta"],
        lane["samples"],
        lane["bound"],
        theory.tabular_entropy(samples=lane["samples"], reward_bound=lane["bound"], **shape),
        DELTA,
        flavour="printed",
    )
    optimisation = jnp.log(jnp.max(-bandit.log_best_ref) / gamma)
    log_paper = jnp.logaddexp(jnp.log(2.0) + statistics, optimisation)
    return solution.suboptimality[-1], final, jnp.sum(wins, axis=0), log_paper


class Balls(NamedTuple):
    """What the likelihood balls of runs say, each of shape (runs,).

    Attributes:
        missed: whether the ball of a context leaves the true reward out: if none does, the
            certificate is right, whatever the policy.
        refuted: whether no reward within the range is likely enough: then there is no certificate.
    """

    missed: Bool[np.ndarray, " runs"]
    refuted: Bool[np.ndarray, " runs"]


def balls(runs: Runs) -> dict[str, Balls]:
    """The likelihood balls of every run, by version.

    Example:
        >>> problems = bandits("uniform", np.random.default_rng(0), 2, 100)
        >>> given = {"iterations": 2, "samples": 100, "beta": 1.0, "alpha": 0.3}
        >>> found = balls(sampled(jax.random.key(0), problems, **given))
        >>> found["finite-sample"].missed.tolist()
        [False, False]
    """
    count, contexts, arms = runs.reward.shape
    wins = runs.wins.reshape(-1, arms, arms) * (1 - np.eye(arms))
    fit = likelihood_ball.fitted(wins)
    within = likelihood_ball.fitted_within(wins, REWARD_BOUND)
    true = runs.reward.reshape(-1, arms)
    ratios = {
        name: likelihood_ball.log_likelihood_ratio(rewards, wins, fit.rewards)
        for name, rewards in (("missed", true), ("refuted", within))
    }
    found = {}
    for version, finite_sample in VERSIONS.items():
        level = surface(wins, fit, DELTA / contexts, finite_sample)
        outside = {
            name: np.any((ratio <= level).reshape(count, contexts), axis=1)
            for name, ratio in ratios.items()
        }
        found[version] = Balls(**outside)
    return found


class Tried(NamedTuple):
    """Certificates of those runs for which one was asked, each of shape (runs,).

    Attributes:
        estimate: of the certificate; without one, minus infinity.
        bound: the same.
        failed: whether the gap is above the bound, or the labels refute the range of rewards, so
            that there is no certificate.
    """

    estimate: np.ndarray
    bound: np.ndarray
    failed: Bool[np.ndarray, " runs"]


def tried(runs: Runs, anyway: Any = False, share: float = 1.0) -> dict[str, Tried]:
    """Hold every run against its certificate, by version.

    A certificate is computed only where the likelihood ball misses the true reward: it cannot fail
    elsewhere.

    Args:
        runs: the runs.
        anyway: for which runs one is computed all the same.
        share: of the radius, for a bound that is too small on purpose.

    Example:
        >>> problems = bandits("uniform", np.random.default_rng(0), 2, 100)
        >>> given = {"iterations": 2, "samples": 100, "beta": 1.0, "alpha": 0.3}
        >>> found = tried(sampled(jax.random.key(0), problems, **given), anyway=[True, False])
        >>> np.isfinite(found["finite-sample"].bound).tolist()
        [True, False]
    """
    found = {}
    for version, ball in balls(runs).items():
        which = np.flatnonzero((ball.missed | anyway) & ~ball.refuted)
        estimate, bound = np.full((2, len(runs.gap)), -np.inf)
        failed = ball.refuted.copy()
        if which.size:
            one = certified(runs, version, which)
            estimate[which], bound[which] = one.estimate, one.estimate + share * one.radius
            failed[which] = bound[which] < runs.gap[which]
        found[version] = Tried(estimate, bound, failed)
    return found


def certified(runs: Runs, version: str, which: Any = slice(None)) -> Certificate:
    """The certificates of some of the runs, as of a user who knows that |r*| <= 1."""
    return certify(
        runs.wins[which],
        runs.log_policy[which],
        delta=DELTA,
        reward_bound=REWARD_BOUND,
        finite_sample=VERSIONS[version],
    )
