"""Two-stage RLHF: the tilted reference policy, offline and online labels."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim.methods.reward_sources import FittedReward, TrueReward
from apo_sim.methods.rlhf import RLHF

sys.path.insert(0, str(Path(__file__).parent))
from rewards_by_hand import a_bandit, bradley_terry, check_continued, check_rate, softmax

BANDIT = a_bandit()
LOG_REF = np.asarray(BANDIT.log_ref)
BETA = 0.4
KEY = jax.random.key(4)
SOURCE: Any = TrueReward()
NUMBER: Any = 1


def test_it_tilts_the_reference_policy():
    """Two iterations on exact labels are one; two prices side by side."""
    betas = jnp.array([BETA, 2.0])
    run = jax.vmap(lambda beta: apo.solve(BANDIT, RLHF(beta), iterations=2, save="path"))
    path = run(betas).path
    for k, beta in enumerate(np.asarray(betas)):
        weights = np.exp(LOG_REF) * np.exp(np.asarray(BANDIT.reward) / beta)
        expected = weights / weights.sum(axis=1, keepdims=True)
        for t in (1, 2):
            np.testing.assert_allclose(np.exp(path.log_policy[k, t]), expected, atol=1e-7)


@pytest.mark.parametrize("online", [False, True])
def test_labels_of_the_reference_or_of_the_policy(online):
    """All so far, redrawn outside of the loop and fitted by Newton's method."""
    method = RLHF(BETA, online=online)
    found = apo.solve(BANDIT, method, iterations=3, samples=3_000, key=KEY, save="path")
    wins, policy, draw = np.zeros((2, 4, 4)), LOG_REF, jax.jit(method.request.draw)
    for t in range(3):
        behaviour = policy if online else LOG_REF
        np.testing.assert_allclose(found.path.behaviour[t], behaviour, atol=1e-6)
        key = jax.random.fold_in(KEY, t)
        law = found.path.behaviour[t]
        wins = wins + np.asarray(draw(key, BANDIT, law, 3_000.0).wins)
        reward = np.stack([bradley_terry(context) for context in wins])
        policy = np.log(softmax(LOG_REF + reward / BETA))
        np.testing.assert_allclose(found.path.log_policy[t + 1], policy, atol=1e-6)


def test_a_model_fitted_once_makes_one_policy():
    method = RLHF(BETA, FittedReward(refit=False), online=True)
    found = apo.solve(BANDIT, method, iterations=4, samples=50, key=KEY, save="path")
    path = np.asarray(found.path.log_policy)
    assert abs(path[1] - path[0]).max() > 0.1
    np.testing.assert_allclose(path[2:], path[[1, 1, 1]], atol=1e-12)
    check_continued(BANDIT, method, 30, save="path")


def test_the_error_falls_as_one_over_root_n():
    target = softmax(LOG_REF + np.asarray(BANDIT.reward) / BETA)
    check_rate(BANDIT, RLHF(BETA), target)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: RLHF(0.0), "beta"),
        (lambda: RLHF(jnp.array([1.0, 2.0])), "beta"),
        (lambda: RLHF(source=SOURCE), "source"),
        (lambda: RLHF(online=NUMBER), "online"),
        (
            lambda: apo.solve(BANDIT, RLHF(source=FittedReward(True, 1e6)), iterations=1),
            "reward_bound",
        ),
    ],
)
def test_bad_input(call, argument):
    with pytest.raises(apo.InvalidArgument) as raised:
        call()
    assert raised.value.argument == argument
