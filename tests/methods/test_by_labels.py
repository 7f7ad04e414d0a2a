"""Training on labelled responses against a slow descent in NumPy that shares no code."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim.policies import LogLinear, Table

RATE, STEPS, BETA, ITERATIONS = 0.7, 40, 0.8, 3
REWARD: Any = np.array([[0.9, -0.3, 0.1], [-0.5, 0.6, 0.2]])
REFERENCE: Any = np.array([[0.5, 0.2, 0.3], [0.1, 0.3, 0.6]])
CONTEXTS: Any = np.array([0.4, 0.6])
FEATURES = np.random.default_rng(0).normal(size=(2, 3, 2))
LOG_REF: Any = np.log(REFERENCE)
LIKED, DISLIKED = 1.3, 0.8


def policy_of(parameters, offset, features):
    """exp(features . parameters + offset), normalised, one context and one arm after another."""
    policy = np.empty_like(offset)
    for x in range(2):
        weights = [np.exp(features[x, y] @ parameters + offset[x, y]) for y in range(3)]
        policy[x] = np.array(weights) / sum(weights)
    return policy


def gradient_of(parameters, offset, features, centre):
    """d/d parameters of the population mean of KTO's loss, by hand."""
    policy = policy_of(parameters, offset, features)
    score = BETA * np.log(policy / centre)
    liked, disliked = np.zeros((2, 3)), np.zeros((2, 3))
    for x in range(2):
        for i in range(3):
            for j in range(3):
                wins = 1 / (1 + np.exp(REWARD[x, j] - REWARD[x, i]))
                drawn = CONTEXTS[x] * centre[x, i] * centre[x, j]
                # Of the pair (i, j), i wins with P: one desirable and one undesirable response.
                liked[x, i] += 0.5 * drawn * wins
                disliked[x, j] += 0.5 * drawn * wins
                liked[x, j] += 0.5 * drawn * (1 - wins)
                disliked[x, i] += 0.5 * drawn * (1 - wins)
    responses = liked + disliked
    anchor = sum(
        responses[x].sum() * responses[:, y].sum() * score[x, y] for x in range(2) for y in range(3)
    )
    anchor = max(0.0, anchor)
    total = np.zeros_like(parameters)
    for x in range(2):
        mean = sum(policy[x, y] * features[x, y] for y in range(3))
        for y in range(3):
            s = 1 / (1 + np.exp(-(score[x, y] - anchor)))
            slope = s * (1 - s) * (DISLIKED * disliked[x, y] - LIKED * liked[x, y])
            total += slope * BETA * (features[x, y] - mean)
    return total


def descent(features, parameters):
    """Three updates of plain gradient descent, each from the centre that it is anchored in."""
    offset = np.log(REFERENCE) - np.log(policy_of(parameters, np.zeros((2, 3)), features))
    for _ in range(ITERATIONS):
        centre = policy_of(parameters, offset, features)
        for _ in range(STEPS):
            parameters = parameters - RATE * gradient_of(parameters, offset, features, centre)
    return policy_of(parameters, offset, features)


@pytest.mark.parametrize("kind", ["table", "network"])
def test_kto_follows_a_slow_descent(kind):
    if kind == "table":
        policy, features = Table(2, 3), np.eye(6).reshape(2, 3, 6)
        params, start = jnp.zeros((2, 3)), np.zeros(6)
    else:
        policy, features = LogLinear(jnp.asarray(FEATURES)), FEATURES
        start = np.array([0.3, -0.2])
        shape = jax.eval_shape(policy.init, jax.random.key(0))
        params = jax.tree.map(lambda leaf: jnp.asarray(start).reshape(leaf.shape), shape)
    problem = apo.Bandit(REWARD, LOG_REF, CONTEXTS)
    found = apo.train(
        problem,
        policy,
        apo.KTO(LIKED, DISLIKED),
        beta=BETA,
        iterations=ITERATIONS,
        step=apo.ByGradient(apo.SGD(RATE), steps=STEPS),
        params=params,
        key=jax.random.key(0),
    )
    wanted = descent(features, start)
    moved = np.abs(wanted - REFERENCE).max()
    assert moved > 0.02
    np.testing.assert_allclose(np.exp(found.final_log_policy), wanted, rtol=0, atol=1e-6)


def test_kto_on_sampled_labels_learns():
    problem = apo.Bandit(REWARD, LOG_REF, CONTEXTS)
    found = apo.train(
        problem,
        Table(2, 3),
        apo.KTO(),
        beta=0.2,
        iterations=5,
        samples=5_000,
        step=apo.ByGradient(apo.SGD(5.0), steps=100),
        key=jax.random.key(0),
    )
    assert float(found.suboptimality[-1]) < 0.5 * float(problem.suboptimality(problem.log_ref))
