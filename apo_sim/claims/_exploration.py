"""What the claims on exploring methods share: XPO's regularised gap, its weight and its bound."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.loop import Policies, solve
from apo_sim.methods.xpo import XPO
from apo_sim.problems import Bandit
from apo_sim.sweep.lanes import over_lanes

# The rewards of the theorems lie in [0, 1], so that policies of the class have as much.
RANGE = 1.0
DELTA = 0.1
# Constants that the theorem does not state are taken to be 1.
GROWTH = 2 * RANGE * math.exp(2 * RANGE)  # (V + R) e^(2R) with V = R


class Lanes(NamedTuple):
    """Runs of XPO on bandits of one context, one pair an iteration.

    Attributes:
        reward: r*, shape (n, 1, K).
        log_ref: shape (n, 1, K).
        beta: shape (n,).
        alpha: weight of the bonus, shape (n,).
        key: data of JAX keys, shape (n, 2).
    """

    reward: np.ndarray
    log_ref: np.ndarray
    beta: np.ndarray
    alpha: np.ndarray
    key: np.ndarray


def gaps(lanes: Lanes, iterations: int, method: type[XPO] = XPO) -> np.ndarray:
    """The regularised gap of pi_1 = pi_ref, ..., pi_{T+1}, shape (n, T+1).

    Args:
        lanes: the runs.
        iterations: T.
        method: `XPO`, or a class that finds its policy otherwise.
    """
    return np.asarray(over_lanes(_gaps, lanes, iterations=iterations, kind=method))


def _gaps(lane: Lanes, iterations: int, kind: type[XPO]) -> Any:
    bandit = Bandit(lane.reward, lane.log_ref)  # type: ignore[arg-type]
    method = kind(lane.alpha, lane.beta, RANGE / 2)  # type: ignore[arg-type]
    key = jax.random.wrap_key_data(jnp.asarray(lane.key))
    found = solve(bandit, method, iterations=iterations, samples=1, key=key, save="path")
    return regularised_gap(bandit, found.path.log_policy, lane.beta)


def regularised_gap(bandit: Bandit, log_policy: Policies, beta: Any) -> Any:
    """max J - J, where J(pi) = E r* - beta KL(pi || pi_ref) in one context.

    It is beta KL(pi || pi*), of which nothing is lost to rounding.

    Args:
        bandit: of one context.
        log_policy: shape (points, 1, K).
        beta: weight of the divergence.

    Example:
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> best = jax.nn.log_softmax(bandit.log_ref + bandit.reward / 0.5)
        >>> regularised_gap(bandit, best[None], 0.5).tolist()
        [0.0]
    """
    best = jax.nn.log_softmax(bandit.log_ref[0] + bandit.reward[0] / beta)
    policy = log_policy[:, 0]
    return beta * jnp.sum(jnp.exp(policy) * (policy - best), axis=-1)


def weight(arms: int, beta: Any, horizon: Any, delta: float = DELTA) -> Any:
    """The alpha of XPO's Theorem 3.1 with its constant at 1, for rewards in [0, 1].

    beta / ((V + R) e^(2R)) sqrt(log(|Pi| T / delta) log T / (T C_cov)). A bandit has C_cov = K;
    log |Pi| of the theorem's finite class counts as a nat for each free reward.

    Example:
        >>> round(float(weight(2, 0.05, 100)), 5)
        0.00144
    """
    horizon = np.asarray(horizon, float)
    return beta / GROWTH * np.sqrt(_nats(arms, horizon, delta) * _log(horizon) / (horizon * arms))


def bound(arms: int, horizon: Any, delta: float = DELTA) -> Any:
    """(V + R) e^(2R) sqrt(C_cov log(|Pi| T / delta) log(T)^2 / T), as `weight` reads it.

    Example:
        >>> round(float(bound(2, 100)), 1)
        27.1
    """
    horizon = np.asarray(horizon, float)
    return GROWTH * _log(horizon) * np.sqrt(arms * _nats(arms, horizon, delta) / horizon)


def _nats(arms: int, horizon: Any, delta: float) -> Any:
    return arms - 1 + np.log(horizon / delta)


def _log(horizon: Any) -> Any:
    return np.log(np.maximum(horizon, 2.0))


@functools.lru_cache(maxsize=4)
def keys(seed: int, count: int) -> np.ndarray:
    """Data of so many keys, shape (count, 2)."""
    return np.asarray(jax.random.key_data(jax.random.split(jax.random.key(seed), count)))
