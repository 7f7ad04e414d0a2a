"""The natural policy gradient: mirror descent, exact iterative DPO, and what samples do to it."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim.methods.npg import NPG
from apo_sim.methods.reward_sources import FittedReward

sys.path.insert(0, str(Path(__file__).parent))
from rewards_by_hand import a_bandit, check_continued, check_rate

BANDIT = a_bandit()
RATES = jnp.array([0.5, 2.0, 0.3, 1.1, 0.8])


def by_hand(bandit, rates):
    """Products of probabilities and exponentials, arm by arm."""
    policy = np.exp(np.asarray(bandit.log_ref))
    for eta in rates:
        for x in range(len(policy)):
            mean = sum(policy[x] * np.asarray(bandit.reward[x]))
            weights = policy[x] * np.exp(eta * (np.asarray(bandit.reward[x]) - mean))
            policy[x] = weights / sum(weights)
    return policy


def test_against_products_of_exponentials():
    found = apo.solve(BANDIT, NPG(RATES), iterations=5, save="path")
    np.testing.assert_allclose(jnp.exp(found.final_log_policy), by_hand(BANDIT, RATES), rtol=1e-12)


@pytest.mark.parametrize("rare", [False, True])
def test_it_is_exact_iterative_dpo(rare):
    """With beta = 1 / eta, also where the best arm has a probability too small for a float."""
    bandit = a_bandit(3)
    if rare:
        logits = jnp.array([[-800.0, -0.7, -0.5, -0.9], [-1.0, -2.0, -0.5, -1.5]])
        log_ref = jax.nn.log_softmax(logits, axis=1)
        bandit = apo.Bandit(bandit.reward.at[0, 0].set(0.95), log_ref, bandit.context_probs)
    npg = apo.solve(bandit, NPG(RATES), iterations=5, save="path")
    dpo = apo.run(bandit, beta=1.0 / RATES, iterations=5, save="path")
    np.testing.assert_allclose(npg.path.log_policy, dpo.path.log_policy, rtol=1e-13, atol=1e-13)


def test_samples_of_the_reward_itself_are_soon_enough():
    """Its noise is which arms were drawn: none once all were, and no step from one response."""
    settings: dict[str, Any] = {"iterations": 2, "key": jax.random.key(0)}
    exact = apo.solve(BANDIT, NPG(0.7), iterations=2)
    found = apo.solve(BANDIT, NPG(0.7), samples=1e4, **settings)
    np.testing.assert_allclose(found.final_log_policy, exact.final_log_policy, atol=1e-13)
    still = apo.solve(BANDIT, NPG(0.7), samples=1, **settings)
    np.testing.assert_allclose(still.final_log_policy, BANDIT.log_ref, atol=1e-13)


def test_the_error_of_a_fitted_reward_falls_as_one_over_root_n():
    target = by_hand(BANDIT, [0.7, 0.7])
    check_rate(BANDIT, NPG(0.7, FittedReward()), target)


def test_a_continued_run_is_the_same_to_the_last_bit():
    """On a fitted reward too: refitted in the test of `Accelerated`, once in that of `RLHF`."""
    check_continued(BANDIT, NPG(RATES), 30)


def test_side_by_side():
    keys = jax.random.split(jax.random.key(3), 2)

    def final(eta, key):
        solution = apo.solve(BANDIT, NPG(eta), iterations=2, samples=20, key=key)
        return solution.final_log_policy

    many = jax.vmap(final)(RATES[:2], keys)
    for k in range(2):
        np.testing.assert_allclose(many[k], final(RATES[k], keys[k]), atol=1e-13)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: NPG(0.0), "learning_rate"),
        (lambda: NPG(jnp.array([1.0, jnp.nan])), "learning_rate"),
        (lambda: NPG(jnp.ones((2, 2))), "learning_rate"),
        (lambda: apo.solve(BANDIT, NPG(RATES), iterations=6), "learning_rate"),
        (lambda: apo.solve(BANDIT, NPG(), iterations=2, samples=5), "key"),
    ],
)
def test_bad_input(call, argument):
    with pytest.raises(apo.InvalidArgument) as raised:
        call()
    assert raised.value.argument == argument
