"""The policy gradient: slopes of the expected reward, and the noise of its estimates."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim.methods.policy_gradient import PolicyGradient
from apo_sim.methods.reward_sources import FittedReward

sys.path.insert(0, str(Path(__file__).parent))
from rewards_by_hand import a_bandit, bradley_terry, check_continued, check_rate, softmax

BANDIT = a_bandit()
RATES = jnp.array([0.5, 2.0, 0.3, 1.1])
KEY = jax.random.key(9)
NOTHING: Any = None


def by_hand(bandit, rates):
    """Ascent along central differences of the expected reward in every context."""
    logits, reward = np.array(bandit.log_ref), np.asarray(bandit.reward)
    for eta in rates:
        slopes = np.zeros_like(logits)
        for x, y in np.ndindex(*logits.shape):
            ends = []
            for width in (1e-5, -1e-5):
                there = logits[x].copy()
                there[y] += width
                ends.append(softmax(there) @ reward[x])
            slopes[x, y] = (ends[0] - ends[1]) / 2e-5
        logits = logits + eta * slopes
    return softmax(logits)


def test_it_goes_along_the_slope_of_the_expected_reward():
    found = apo.solve(BANDIT, PolicyGradient(RATES), iterations=4)
    expected = by_hand(BANDIT, np.asarray(RATES))
    np.testing.assert_allclose(np.exp(found.final_log_policy), expected, atol=1e-9)


def test_a_mean_with_the_response_in_it_shortens_the_step():
    """By 1 - 1/n in expectation, exactly."""
    bandit, n = a_bandit(contexts=1), 3

    def step(key):
        found = apo.solve(bandit, PolicyGradient(1.0), iterations=1, samples=n, key=key)
        change = found.final_log_policy[0] - bandit.log_ref[0]
        return change - jnp.mean(change)  # steps sum to zero

    steps = np.asarray(jax.jit(jax.vmap(step))(jax.random.split(KEY, 20_000)))
    policy, reward = np.exp(np.asarray(bandit.log_ref[0])), np.asarray(bandit.reward[0])
    gradient = policy * (reward - policy @ reward)
    error = steps.std(axis=0) / np.sqrt(len(steps))
    assert (abs(steps.mean(axis=0) - (1 - 1 / n) * gradient) < 4.5 * error).all()
    assert (abs(steps.mean(axis=0) - gradient) > 4.5 * error).any()


def test_its_responses_are_those_of_the_labels():
    """One step on a reward fitted to them, redrawn outside of the loop."""
    method = PolicyGradient(1.5, FittedReward())
    found = apo.solve(BANDIT, method, iterations=1, samples=500, key=KEY)
    key = jax.random.fold_in(KEY, 0)
    wins = np.asarray(method.request.draw(key, BANDIT, BANDIT.log_ref, 500.0).wins)
    logits = np.array(BANDIT.log_ref)
    for x in range(2):
        reward = bradley_terry(wins[x])
        share = (wins[x].sum(axis=0) + wins[x].sum(axis=1)) / (2 * wins[x].sum())
        logits[x] += 1.5 * share * (reward - share @ reward)
    np.testing.assert_allclose(np.exp(found.final_log_policy), softmax(logits), atol=1e-7)


def test_the_error_falls_as_one_over_root_n():
    check_rate(BANDIT, PolicyGradient(1.5), by_hand(BANDIT, [1.5, 1.5]))


def test_side_by_side_and_continued():
    def final(eta):
        return apo.solve(BANDIT, PolicyGradient(eta), iterations=2).final_log_policy

    many = jax.vmap(final)(RATES[:2])
    np.testing.assert_allclose(many, np.stack([final(r) for r in RATES[:2]]), atol=1e-13)
    check_continued(BANDIT, PolicyGradient(RATES), 3)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: PolicyGradient(0.0), "learning_rate"),
        (lambda: PolicyGradient(source=NOTHING), "source"),
        (
            lambda: apo.solve(
                BANDIT,
                PolicyGradient(source=FittedReward(ranker=apo.BestAgainstWorst())),
                iterations=1,
            ),
            "source",
        ),
    ],
)
def test_bad_input(call, argument):
    with pytest.raises(apo.InvalidArgument) as raised:
        call()
    assert raised.value.argument == argument
