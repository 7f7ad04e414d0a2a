"""Runs of pessimistic maximum likelihood and of greed on bandits of linear rewards."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.loop import solve
from apo_sim.methods.pessimistic import PessimisticMLE
from apo_sim.problems import Bandit
from apo_sim.pytree import pytree_dataclass
from apo_sim.sweep.lanes import over_lanes

ARMS, FEATURES, DELTA = 4, 2, 0.1


@pytree_dataclass
class GivenPairs:
    """Pairs of a given law, whatever the policy is.

    Attributes:
        law: share of the pairs of arms i and j, symmetric, shape (K, K).
    """

    law: Any

    def cells(self, problem: Any, log_policy: Any) -> Any:
        return (self.law * problem.preference).astype(log_policy.dtype)


class Lanes(NamedTuple):
    """Linear bandits of one context, and the data of a run.

    Attributes:
        features: phi, shape (n, 1, K, d).
        parameter: theta*, shape (n, d).
        law: of the pairs, both orders of a pair together, shape (n, K, K).
        regularization: lambda, shape (n,).
        labels: shape (n,).
        key: data of keys, shape (n, 2).
    """

    features: np.ndarray
    parameter: np.ndarray
    law: np.ndarray
    regularization: np.ndarray
    labels: np.ndarray
    key: np.ndarray


class Runs(NamedTuple):
    """What became of them, shapes (n,).

    Attributes:
        greedy: gap of the best arm for the fitted rewards.
        pessimistic: gap of the policy of the best worst case.
        bound: twice the radius times the norm at the best arm.
        off: distance of the fitted parameter to theta* over the radius, in the metric of the ball.
    """

    greedy: np.ndarray
    pessimistic: np.ndarray
    bound: np.ndarray
    off: np.ndarray


def run(lanes: Lanes) -> Runs:
    """Both policies on the same labels; B is the length of theta*, v is 0 and C is 1."""
    return Runs(*(np.asarray(each) for each in over_lanes(_run, lanes)))


def _run(lane: Lanes) -> Runs:
    features, parameter = jnp.asarray(lane.features), jnp.asarray(lane.parameter)
    reward = features @ parameter
    bandit = Bandit(reward, jnp.log(jnp.full_like(reward, 1 / ARMS)))
    method = PessimisticMLE(
        features,
        bound=jnp.linalg.norm(parameter),
        regularization=lane.regularization,  # type: ignore[arg-type]
        delta=DELTA,
        baseline=jnp.zeros_like(parameter),
        ranker=GivenPairs(lane.law),
    )
    key = jax.random.wrap_key_data(jnp.asarray(lane.key))
    found = solve(bandit, method, iterations=1, samples=lane.labels, key=key, save="path")
    assert found.path.rewards is not None
    fitted = found.path.rewards[0, 0]
    wins = found.state.data.wins[0]
    apart = features[0, :, None] - features[0]
    covariance = jnp.einsum("ij,ijd,ije->de", wins / jnp.sum(wins), apart, apart)
    covariance = covariance + lane.regularization * jnp.eye(len(parameter))
    radius = method._radius(found.state.data.labels)
    best = features[0, jnp.argmax(reward[0])]
    # The fitted parameter from the fitted rewards; arms span the space of features.
    error = jnp.linalg.lstsq(features[0], fitted)[0] - parameter
    return Runs(
        jnp.max(reward) - reward[0, jnp.argmax(fitted)],  # type: ignore[arg-type]
        found.suboptimality[0],  # type: ignore[arg-type]
        2 * radius * jnp.sqrt(best @ jnp.linalg.solve(covariance, best)),  # type: ignore[arg-type]
        jnp.sqrt(error @ covariance @ error) / radius,  # type: ignore[arg-type]
    )
