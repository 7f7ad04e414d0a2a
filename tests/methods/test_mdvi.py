"""Mirror descent value iteration: the regularised greedy step, and the averages that it makes."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import apo_sim as apo
from apo_sim.methods.mdvi import MDVI
from apo_sim.methods.npg import NPG

sys.path.insert(0, str(Path(__file__).parent))
from rewards_by_hand import a_bandit, check_continued, softmax

BANDIT = a_bandit()
LOG_REF = np.asarray(BANDIT.log_ref)
KEY = jax.random.key(10)
NOTHING: Any = None
PATH: dict[str, Any] = {"iterations": 6, "samples": 4, "key": KEY, "save": "path"}


def test_it_is_the_greedy_step_of_the_regularised_problem():
    """argmax <q, pi> - lambda KL(pi || pi_0) + tau H(pi), by a solver."""
    price, entropy = 0.7, 0.4
    found = apo.solve(BANDIT, MDVI(price, entropy), iterations=1)
    for x in range(2):
        q, old = np.asarray(BANDIT.reward[x]), LOG_REF[x]

        def loss(logits, q=q, old=old):
            policy = softmax(logits)
            log = np.log(policy)
            return -(policy @ q - price * policy @ (log - old) - entropy * policy @ log)

        best = minimize(loss, old, method="BFGS", options={"gtol": 1e-9, "xrtol": 1e-12})
        np.testing.assert_allclose(np.exp(found.final_log_policy[x]), softmax(best.x), atol=1e-7)


def test_without_entropy_it_is_dual_averaging():
    """MD-VI(lambda, 0) = DA-VI(lambda, 0), on rewards of four responses an iteration."""
    found = apo.solve(BANDIT, MDVI(0.7), **PATH)
    q = np.asarray(found.path.rewards)
    assert (q == 0).any() and len(np.unique(q.round(6))) > 10
    for t in range(7):
        expected = softmax(LOG_REF + q[:t].sum(axis=0) / 0.7)
        np.testing.assert_allclose(np.exp(found.path.log_policy[t]), expected, atol=1e-13)


def test_and_the_natural_policy_gradient_of_one_over_lambda():
    npg = apo.solve(BANDIT, NPG(1 / 0.7), **PATH)
    mdvi = apo.solve(BANDIT, MDVI(0.7), **PATH)
    np.testing.assert_allclose(mdvi.path.log_policy, npg.path.log_policy, atol=1e-13)


def test_entropy_forgets_geometrically():
    price, entropy = 0.7, 0.4
    found = apo.solve(BANDIT, MDVI(price, entropy), **PATH)
    q, kept = np.asarray(found.path.rewards), price / (price + entropy)
    for t in range(7):
        age = np.arange(t)[::-1, None, None]
        average = (1 - kept) * (kept**age * q[:t]).sum(axis=0)
        expected = softmax(kept**t * LOG_REF + average / entropy)
        np.testing.assert_allclose(np.exp(found.path.log_policy[t]), expected, atol=1e-13)


def test_with_entropy_it_stays_soft():
    found = apo.solve(BANDIT, MDVI(0.1, 0.4), iterations=60)
    limit = softmax(np.asarray(BANDIT.reward) / 0.4)
    np.testing.assert_allclose(np.exp(found.final_log_policy), limit, atol=1e-12)


def test_side_by_side_and_continued():
    prices, entropies = jnp.array([0.5, 2.0]), jnp.array([0.0, 0.3])
    final = lambda *numbers: apo.solve(BANDIT, MDVI(*numbers), iterations=2).final_log_policy  # noqa: E731
    one_by_one = [final(*numbers) for numbers in zip(prices, entropies, strict=True)]
    np.testing.assert_allclose(jax.vmap(final)(prices, entropies), np.stack(one_by_one), atol=1e-13)
    check_continued(BANDIT, MDVI(0.5, 0.3), 3, half=3, save="path")


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: MDVI(0.0), "temperature"),
        (lambda: MDVI(jnp.ones(2)), "temperature"),
        (lambda: MDVI(entropy=-0.1), "entropy"),
        (lambda: MDVI(entropy=jnp.ones(2)), "entropy"),
        (lambda: MDVI(source=NOTHING), "source"),
    ],
)
def test_bad_input(call, argument):
    with pytest.raises(apo.InvalidArgument) as raised:
        call()
    assert raised.value.argument == argument
