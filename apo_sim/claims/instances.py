"""Bandits that many claims try: random ones, worst cases, and those an adversary climbs to.

Drawn with NumPy and run as lanes of the sweep engine, so that claims share a single loop.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.claims import judge
from apo_sim.claims.verdict import Study
from apo_sim.loop import Solution
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit
from apo_sim.running import run
from apo_sim.sweep.lanes import over_lanes

ARMS = 5
ITERATIONS = 8
# At these gamma is near 60, so that the worst rewards, some 1/gamma apart, stay in [-1, 1].
ALPHA, BETA = 0.5, 0.2


class Instances(NamedTuple):
    """Bandits of one context, each with an extrapolation and a proximal weight.

    Attributes:
        reward: r*, shape (n, 1, K).
        log_ref: reference log-probabilities, shape (n, 1, K).
        alpha: shape (n,).
        beta: shape (n,).
    """

    reward: np.ndarray
    log_ref: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray

    @property
    def best_arm(self) -> np.ndarray:
        """The optimal arm, the first of those that tie, shape (n, 1)."""
        return np.argmax(self.reward[:, 0], axis=1)[:, None]

    @property
    def shortfall(self) -> np.ndarray:
        """r*(y*) - r*(y), shape (n, K)."""
        return self.reward[:, 0].max(axis=1, keepdims=True) - self.reward[:, 0]

    @property
    def log_p(self) -> np.ndarray:
        """Log of the reference mass of the optimal arm, shape (n,)."""
        return np.take_along_axis(self.log_ref[:, 0], self.best_arm, axis=1)[:, 0]

    @property
    def gap(self) -> np.ndarray:
        """The smallest gap to the optimal arm (0 where arms tie for it), shape (n,)."""
        return np.partition(self.shortfall, 1, axis=1)[:, 1]

    def first(self, count: int) -> "Instances":
        """The first `count` of them."""
        return Instances(*(field[:count] for field in self))

    def witness(self, index: int, step: int = ITERATIONS - 1) -> dict[str, Any]:
        """One instance as plain data, with the number of updates after which it was judged."""
        return {
            "reward": self.reward[index, 0],
            "reference": np.exp(self.log_ref[index, 0]),
            "alpha": self.alpha[index],
            "beta": self.beta[index],
            "iterations": step + 1,
        }


class Runs(NamedTuple):
    """What the loop made of some instances.

    Attributes:
        suboptimality: gap of pi_hat_1 ... pi_hat_T, shape (n, T).
        tv: total variation to the optimal policy, shape (n, T).
        gamma: accumulated weight, shape (n, T).
        log_policy: log pi_hat_0 ... log pi_hat_T, shape (n, T+1, K).
    """

    suboptimality: np.ndarray
    tv: np.ndarray
    gamma: np.ndarray
    log_policy: np.ndarray


def join(*parts: Instances) -> Instances:
    """All of them in one, in order.

    Example:
        >>> worst = two_level(np.log([0.1, 0.2]), gap=1.0)
        >>> len(join(worst, worst).alpha)
        4
    """
    return Instances(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


def random(rng: np.random.Generator, count: int, arms: int = ARMS) -> Instances:
    """Random instances of every kind that the bounds are sensitive to.

    Rewards are uniform, tied on three levels, or nearly two-level; the optimal arm has a
    reference mass from 1e-9 to 0.999; alpha is 0, nearly 1 or anything between; beta spans
    three orders of magnitude.

    Example:
        >>> drawn = random(np.random.default_rng(0), count=100)
        >>> drawn.reward.shape, bool(np.all(np.abs(drawn.reward) <= 1))
        ((100, 1, 5), True)
    """
    uniform = rng.uniform(-1, 1, (count, arms))
    on_top = np.arange(arms) == rng.integers(arms, size=(count, 1))
    height = 10 ** rng.uniform(-2, 0, (count, 1))
    levels = 0.98 * height * np.where(on_top, 1, -1) + 0.02 * height * uniform
    kind = rng.integers(3, size=(count, 1))
    reward = np.select([kind == 1, kind == 2], [np.round(uniform), levels], uniform)

    log_p = -np.logaddexp(0, rng.uniform(-np.log(999), np.log(1e9), (count, 1)))
    rest = rng.choice([0.0, 1.0, 5.0], (count, 1)) * rng.normal(size=(count, arms))
    best = np.arange(arms) == np.argmax(reward, axis=1)[:, None]
    log_ref = _reference(log_p, rest, best)

    alpha = np.where(
        rng.random(count) < 0.5, rng.choice([0.0, 0.3, 0.9, 0.999], count), rng.random(count)
    )
    beta = 10 ** rng.uniform(-1.5, 1.5, count)
    return Instances(reward[:, None], log_ref[:, None], alpha, beta)


def leading(rng: np.random.Generator, count: int) -> Instances:
    """Random bandits whose best arm leads by 0.1 or more, at weights where a long run converges.

    Example:
        >>> bool(np.all(leading(np.random.default_rng(0), count=100).gap > 0.099))
        True
    """
    drawn = random(rng, count)
    top = np.arange(ARMS) == drawn.best_arm
    reward = np.where(top, 1.0, np.minimum(drawn.reward[:, 0], 0.9))
    alpha, beta = rng.uniform(0, 0.9, count), rng.uniform(0.05, 0.3, count)
    return Instances(reward[:, None], drawn.log_ref, alpha, beta)


def two_level(
    log_p: np.ndarray, gap: Any, alpha: Any = ALPHA, beta: Any = BETA, arms: int = ARMS
) -> Instances:
    """The worst case of the sharp bounds: arm 0 leads, all others tie `gap` below it.

    Example:
        >>> two_level(np.log([0.1]), gap=0.5, arms=3).reward.tolist()
        [[[0.25, -0.25, -0.25]]]
    """
    log_p, gap, alpha, beta = np.broadcast_arrays(log_p, gap, alpha, beta)
    best = np.arange(arms) == np.zeros((log_p.size, 1))
    reward = np.where(best, gap[:, None], -gap[:, None]) / 2
    log_ref = _reference(log_p[:, None], np.zeros((log_p.size, arms)), best)
    return Instances(reward[:, None], log_ref[:, None], np.array(alpha), np.array(beta))


def with_mass(instances: Instances, p: float) -> Instances:
    """The same instances with mass p on the optimal arm, the others in proportion.

    Example:
        >>> moved = with_mass(random(np.random.default_rng(0), count=3), 0.25)
        >>> np.exp(moved.log_p).round(6).tolist()
        [0.25, 0.25, 0.25]
    """
    best = np.arange(instances.reward.shape[-1]) == instances.best_arm
    log_p = np.full((len(best), 1), np.log(p))
    return instances._replace(log_ref=_reference(log_p, instances.log_ref[:, 0], best)[:, None])


def climb(
    study: Study, score: Callable[[Bandit, Solution], Any], log_p: np.ndarray, *, steps: int
) -> tuple[Instances, np.ndarray]:
    """Instances that an adversary reaches by gradient ascent through the loop.

    It moves all rewards, and the reference of all arms but the optimal one, whose mass is given.
    A check and its negative control share what it finds.

    Args:
        study: seeds the starts.
        score: what is climbed, from the bandit and its exact run to a scalar.
        log_p: log of the optimal arm's mass, one start each, shape (n,).
        steps: steps of Adam.

    Returns:
        The best instance of every start, and the best score so far, shape (steps, n).
    """
    return _climb(dataclasses.replace(study, variant="stated"), score, tuple(log_p), steps)


@functools.lru_cache(maxsize=1)
def _climb(
    study: Study, score: Callable[[Bandit, Solution], Any], log_ps: tuple[float, ...], steps: int
) -> tuple[Instances, np.ndarray]:
    rng, log_p = study.rng(1), np.array(log_ps)
    size = (log_p.size, ARMS - 1)
    starts = {
        "log_p": log_p[:, None],
        "log_drop": rng.normal(size=size) - 3.0,
        "rest": rng.normal(size=size),
    }

    def build(params: Any) -> tuple[Any, Any]:
        log_p = jax.lax.stop_gradient(params["log_p"])  # given, not climbed
        reward = jnp.concatenate([jnp.ones(1), 1 - jnp.exp(params["log_drop"])])
        rest = jax.nn.log_softmax(params["rest"]) + jnp.log(-jnp.expm1(log_p))
        return reward[None], jnp.concatenate([log_p, rest])[None]

    def objective(params: Any) -> Any:
        bandit = Bandit(*build(params))
        return score(
            bandit, run(bandit, momentum=Constant(ALPHA), beta=BETA, iterations=ITERATIONS)
        )

    top = judge.climb(objective, starts, steps=steps)
    reward, log_ref = jax.jit(jax.vmap(build))(top.all_params)
    alpha, beta = np.full(log_p.size, ALPHA), np.full(log_p.size, BETA)
    found = Instances(np.asarray(reward), np.asarray(log_ref), alpha, beta)
    return found, np.asarray(top.trace)


def solve(instances: Instances, iterations: int = ITERATIONS) -> Runs:
    """The exact run of every instance.

    Any alpha is allowed, so that a control may turn its sign.

    Example:
        >>> solve(random(np.random.default_rng(0), count=3)).suboptimality.shape
        (3, 8)
    """
    return over_lanes(_solve, instances, iterations=iterations)


def _solve(lane: Instances, iterations: int) -> Any:
    rule = Constant(lane.alpha, unrestricted=True)  # type: ignore[arg-type]
    bandit = Bandit(lane.reward, lane.log_ref)  # type: ignore[arg-type]
    found = run(bandit, momentum=rule, beta=lane.beta, iterations=iterations, save="path")
    return Runs(found.suboptimality, found.tv, found.gamma, found.path.log_policy[:, 0])  # type: ignore[arg-type]


def _reference(log_p: np.ndarray, rest: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Mass p on the best arm, the remainder on the others in proportion to exp(rest)."""
    rest = np.where(best, -np.inf, rest)
    rest = rest - np.logaddexp.reduce(rest, axis=1, keepdims=True)
    return np.where(best, log_p, rest + np.log(-np.expm1(log_p)))
