"""Sampled runs that the statistical claims share, made so that one compilation serves them all.

Every run is a *lane* of the sweep engine: a bandit of one context, a momentum rule, schedules and
a key. Claims which agree on the numbers of arms and iterations do not compile again.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim import theory
from apo_sim.momentum import Averaging, FromBehaviour, Schedule
from apo_sim.one_of import OneOf
from apo_sim.problems import Bandit
from apo_sim.running import run
from apo_sim.sweep.lanes import over_lanes

RULES = ("extrapolation", "from behaviour", "averaging")
LANES_AT_ONCE = 100


@dataclass(frozen=True)
class Setting:
    """What distinguishes the runs of one row of a study; T iterations.

    Attributes:
        samples: preference pairs an iteration N.
        beta: proximal weight, a number or a schedule (T,).
        alpha: extrapolation (or decay), a number or, for extrapolation, a schedule (T,).
        rule: one of `RULES`.
    """

    samples: float | int
    beta: Any = 5.0
    alpha: Any = 0.0
    rule: str = "extrapolation"


@dataclass(frozen=True)
class Runs:
    """What `sampled` returns: axes (settings, seeds, ...); T iterations, K arms, one context.

    `seeds` share bandit and data key across settings: differences along the first axis are
    paired. gap, tv, gamma, optimisation, statistics (the terms of N4), paper_optimisation and
    paper_statistics (the paper's) have a last axis (T,); log_policy and behaviour
    (T+1, K) are the paths, rewards (T, K) the r_t.
    """

    gap: np.ndarray
    tv: np.ndarray
    gamma: np.ndarray
    optimisation: np.ndarray
    statistics: np.ndarray
    paper_optimisation: np.ndarray
    paper_statistics: np.ndarray
    log_policy: np.ndarray
    behaviour: np.ndarray
    rewards: np.ndarray
    true_reward: np.ndarray
    log_ref: np.ndarray


def uniform_bandits(key: jax.Array, seeds: int, arms: int) -> tuple[np.ndarray, np.ndarray]:
    """Rewards uniform on [-1, 1] and a uniform reference, both (seeds, arms).

    Example:
        >>> reward, log_ref = uniform_bandits(jax.random.key(0), seeds=3, arms=4)
        >>> reward.shape, float(np.exp(log_ref).sum())
        ((3, 4), 3.0)
    """
    reward = jax.random.uniform(key, (seeds, arms), minval=-1.0, maxval=1.0)
    return np.asarray(reward), np.full((seeds, arms), -np.log(arms))


def sampled(
    key: jax.Array,
    settings: Sequence[Setting],
    bandits: tuple[np.ndarray, np.ndarray],
    iterations: int,
    *,
    reward_bound: float = 2.0,
) -> Runs:
    """Run DPO on sampled preferences for every setting and every bandit.

    Args:
        key: of the data; seed s gets the s-th key split from it, in every setting.
        settings: the rows.
        bandits: rewards and reference, each (seeds, K).
        iterations: T.
        reward_bound: R of Assumption 4.3.

    Returns:
        A `Runs`.
    """
    reward, log_ref = (np.asarray(part, float) for part in bandits)
    seeds = reward.shape[0]
    keys = jax.random.split(key, seeds)
    lanes = {
        "reward": np.tile(reward, (len(settings), 1)),
        "log_ref": np.tile(log_ref, (len(settings), 1)),
        "alphas": _rows([np.broadcast_to(s.alpha, iterations) for s in settings], seeds),
        "betas": _rows([np.broadcast_to(s.beta, iterations) for s in settings], seeds),
        "samples": _rows([float(s.samples) for s in settings], seeds),
        "which": _rows([RULES.index(s.rule) for s in settings], seeds),
        "bound": np.full(len(settings) * seeds, float(reward_bound)),
    }
    lanes["key"] = keys[np.tile(np.arange(seeds), len(settings))]
    found = over_lanes(_run, lanes, at_once=LANES_AT_ONCE)
    shaped = {n: v.reshape(len(settings), seeds, *v.shape[1:]) for n, v in found.items()}
    return Runs(**shaped, true_reward=reward, log_ref=log_ref)


def _run(lane: dict[str, Any]) -> dict[str, jax.Array]:
    bandit = Bandit(lane["reward"][None], lane["log_ref"][None])
    alphas = lane["alphas"]
    rules = Schedule(alphas), FromBehaviour(alphas[0]), Averaging(alphas[0])
    solution = run(
        bandit,
        momentum=OneOf(lane["which"], rules),
        beta=lane["betas"],
        iterations=alphas.shape[0],
        samples=lane["samples"],
        key=lane["key"],
        reward_bound=lane["bound"],
        save="path",
    )
    parts = theory.split(bandit, solution)
    path = solution.path
    return {
        "gap": solution.suboptimality,
        "tv": solution.tv,
        "gamma": solution.gamma,
        "optimisation": parts.optimisation,
        "statistics": parts.statistics,
        "paper_optimisation": parts.paper_optimisation,
        "paper_statistics": parts.paper_statistics,
        "log_policy": path.log_policy[:, 0],
        "behaviour": path.behaviour[:, 0],
        "rewards": solution.rewards[:, 0],
    }


@dataclass(frozen=True)
class Constants:
    """What the statistical bounds need of every run, axis (seeds,); n updates up to the horizon.

    log_printed and log_corrected are the two coverage coefficients, (seeds, n); reward_bound is
    the R of Assumption 4.3 over all pairs of visited policies, a lower bound for that of the class.
    """

    log_printed: np.ndarray
    log_corrected: np.ndarray
    reward_bound: np.ndarray


def constants(runs: Runs, row: int, beta: float | int, horizon: int) -> Constants:
    """Measure coverage and R on the first `horizon` updates of the runs of one setting."""
    met = _constants(
        runs.log_policy[row, :, : horizon + 1],
        runs.behaviour[row, :, : horizon + 1],
        runs.rewards[row, :, :horizon],
        runs.gamma[row, :, :horizon],
        runs.true_reward,
        runs.log_ref,
        jnp.asarray(float(beta)),
    )
    return Constants(*(np.asarray(part) for part in met))


@jax.jit
def _constants(log_policy, behaviour, rewards, gamma, reward, log_ref, beta):
    def one(log_policy, behaviour, rewards, gamma, reward, log_ref):
        bandit = Bandit(reward[None], log_ref[None])
        path: Any = SimpleNamespace(
            gamma=gamma,
            log_policy=log_policy[:, None],
            behaviour=behaviour[:, None],
            rewards=rewards[:, None],
        )
        exact = theory.exact_policy(bandit, gamma[-1])
        kappa = theory.coverage(path.log_policy[-1], exact, path.behaviour[:-1])
        met = theory.assumptions(bandit, path, beta)
        return kappa.log_printed, kappa.log_corrected, met.reward_bound_all_pairs

    return jax.vmap(one)(log_policy, behaviour, rewards, gamma, reward, log_ref)


def log10_tv_bound(
    log_coverage: np.ndarray,
    setting: Setting,
    reward_bound: np.ndarray,
    log_class: float,
    delta: float,
    flavour: theory.Flavour,
) -> np.ndarray:
    """Decimal logarithm of `theory.tv_statistical` for every seed, (seeds,)."""
    numbers = (setting.alpha, setting.beta, setting.samples, log_class, delta)
    logs = _log_tv(log_coverage, reward_bound, *map(jnp.asarray, map(float, numbers)), flavour)
    return np.asarray(logs) / np.log(10.0)


@functools.partial(jax.jit, static_argnums=7)
def _log_tv(log_coverage, reward_bound, alpha, beta, samples, log_class, delta, flavour):
    def one(log_coverage, reward_bound):
        return theory.log_tv_statistical(
            log_coverage, alpha, beta, samples, reward_bound, log_class, delta, flavour=flavour
        )

    return jax.vmap(one)(log_coverage, reward_bound)


def log10_samples_needed(
    log_coverage: np.ndarray,
    setting: Setting,
    reward_bound: np.ndarray,
    arms: int,
    delta: float,
    flavour: theory.Flavour,
    threshold: float | np.ndarray = 1.0,
) -> np.ndarray:
    """Decimal logarithm of the N that brings a table's bound below `threshold`, (seeds,).

    Infinite where the threshold, a number or one a seed, is not positive.
    """
    wanted = np.broadcast_to(threshold, reward_bound.shape).astype(float)
    possible = wanted > 0
    numbers = (jnp.asarray(float(n)) for n in (setting.alpha, setting.beta, delta))
    wanted = np.where(possible, wanted, 1.0)
    logs = _log_needed(log_coverage, reward_bound, wanted, *numbers, arms, flavour)
    return np.where(possible, np.asarray(logs) / np.log(10.0), np.inf)


@functools.partial(jax.jit, static_argnums=(6, 7))
def _log_needed(log_coverage, reward_bound, threshold, alpha, beta, delta, arms, flavour):
    def one(log_coverage, reward_bound, threshold):
        arguments = (log_coverage, alpha, beta, reward_bound, arms, delta)
        return theory.log_samples_needed_tabular(*arguments, threshold=threshold, flavour=flavour)

    return jax.vmap(one)(log_coverage, reward_bound, threshold)


def _rows(values: Sequence[Any], seeds: int) -> np.ndarray:
    return np.repeat(np.asarray(values), seeds, axis=0)
