"""PPO: the clipped objective in loops, Adam by hand, the penalty, and where the clip holds."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim.methods.policy_gradient import PolicyGradient
from apo_sim.methods.ppo import PPO
from apo_sim.methods.reward_sources import FittedReward
from apo_sim.preferences import FromReference

sys.path.insert(0, str(Path(__file__).parent))
from rewards_by_hand import a_bandit, check_continued, check_rate, softmax

BANDIT = a_bandit()
LOG_REF = np.asarray(BANDIT.log_ref)
KEY = jax.random.key(12)
OFTEN = PPO(clip=0.1, epochs=3, kl_coefficient=0.5, optimizer=apo.AdamW(0.1))
NUMBER: Any = 1.5
NOTHING: Any = None


def slope_by_hand(logits, old, drawn, advantage, clip):
    """Of the mean of min(rho A, clip(rho) A) over responses, one arm at a time."""
    policy, slope = softmax(logits), np.zeros_like(logits)
    for x, y in np.ndindex(*logits.shape):
        rho = policy[x, y] / old[x, y]
        one, other = rho * advantage[x, y], np.clip(rho, 1 - clip, 1 + clip) * advantage[x, y]
        if one <= other:  # the minimum moves with rho; else it is flat
            jacobian = rho * (np.eye(len(policy[x]))[y] - policy[x])
            slope[x] += drawn[x, y] / drawn.sum() * advantage[x, y] * jacobian
    return slope


def by_hand(draws, rate, clip=0.2, epochs=4, price=0.05, adam=True):
    """Every iteration: penalty, mean, root mean square; every epoch: one step."""
    logits, first, second, count = np.array(LOG_REF), 0.0, 0.0, 0
    for draw in draws:
        old = softmax(logits)
        drawn = draw(old)
        reward = np.asarray(BANDIT.reward) - price * (np.log(old) - LOG_REF)
        advantage = np.zeros_like(reward)
        for x in range(len(reward)):
            if drawn[x].sum() > 0:
                advantage[x] = reward[x] - drawn[x] @ reward[x] / drawn[x].sum()
        variance = (drawn * advantage**2).sum() / drawn.sum()
        advantage = advantage / np.sqrt(variance + 1e-8)
        for _ in range(epochs):
            slope = slope_by_hand(logits, old, drawn, advantage, clip)
            if adam:
                count += 1
                first = 0.9 * first + 0.1 * slope
                second = 0.999 * second + 0.001 * slope**2
                unbiased = first / (1 - 0.9**count), second / (1 - 0.999**count)
                logits = logits + rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
            else:
                logits = logits + rate * slope
    return softmax(logits)


def law(policy):
    return np.asarray(BANDIT.context_probs)[:, None] * policy


def test_exact_steps_by_hand():
    """At steps so long that ratios are clipped."""
    found = apo.solve(BANDIT, PPO(optimizer=apo.AdamW(0.1)), iterations=3)
    expected = by_hand([law] * 3, 0.1)
    np.testing.assert_allclose(np.exp(found.final_log_policy), expected, atol=1e-9)
    free = by_hand([law] * 3, 0.1, clip=50.0)
    assert abs(free - expected).max() > 1e-3


def test_sampled_steps_by_hand():
    """With another clip, number of epochs and price."""
    found = apo.solve(BANDIT, OFTEN, iterations=4, samples=20, key=KEY)
    draw = jax.jit(OFTEN.request.draw)

    def redraw(t):
        key = jax.random.fold_in(KEY, t)
        return lambda old: np.asarray(draw(key, BANDIT, jnp.log(old), 20.0).drawn)

    expected = by_hand([redraw(t) for t in range(4)], 0.1, 0.1, 3, 0.5)
    np.testing.assert_allclose(np.exp(found.final_log_policy), expected, atol=1e-7)


def test_one_unclipped_step_is_the_policy_gradient():
    """Of the reward in units of its standard deviation."""
    bandit = a_bandit(contexts=1)
    policy, reward = np.exp(np.asarray(bandit.log_ref[0])), np.asarray(bandit.reward[0])
    deviation = np.sqrt(policy @ (reward - policy @ reward) ** 2 + 1e-8)
    ppo = apo.solve(bandit, PPO(epochs=1, optimizer=apo.SGD(0.7)), iterations=1)
    gradient = apo.solve(bandit, PolicyGradient(float(0.7 / deviation)), iterations=1)
    np.testing.assert_allclose(ppo.final_log_policy, gradient.final_log_policy, atol=1e-13)


def test_epochs_end_where_every_ratio_is_clipped():
    """The lower clip of the other arm is the last to hold: 0.75 of 0.7."""
    bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.3, 0.7]])))
    method = PPO(clip=0.25, epochs=300, optimizer=apo.SGD(0.02))
    ratio = jnp.exp(apo.solve(bandit, method, iterations=1).final_log_policy - bandit.log_ref)
    assert 0.745 < float(ratio[0, 1]) < 0.75


def test_the_penalty_balances_at_the_tilted_reference():
    """pi_ref exp(r / kl_coefficient) is where it stays."""
    method = PPO(kl_coefficient=0.4, optimizer=apo.SGD(0.5))
    state = method.init(BANDIT, None)
    balanced = jax.nn.log_softmax(BANDIT.log_ref + BANDIT.reward / 0.4, axis=1)
    state = type(state)(state.source, balanced, state.optimizer)
    data = method.request.exact(BANDIT, balanced)

    @jax.jit
    def step(state, data):
        return method.step(BANDIT, state, data, jnp.array(0))[0].log_policy

    np.testing.assert_allclose(step(state, data), balanced, atol=1e-10)


def test_arms_too_rare_for_a_float_do_no_harm():
    """Weight decay takes a bad one up by more than the largest float, and no clip holds it."""
    log_ref = jnp.array([[-800.0, -0.5, np.log1p(-np.exp(-0.5))]])
    bandit = apo.Bandit(jnp.array([[-1.0, 0.0, 1.0]]), log_ref)
    method = PPO(optimizer=apo.AdamW(1.0, weight_decay=0.9))
    found = apo.solve(bandit, method, iterations=2)
    assert np.isfinite(np.asarray(found.final_log_policy)).all()
    assert float(found.final_log_policy[0, 0]) > -20


def test_the_error_falls_as_one_over_root_n():
    target = by_hand([law] * 2, 0.5, adam=False)
    check_rate(BANDIT, PPO(optimizer=apo.SGD(0.5)), target)


def test_on_a_reward_model_fitted_once():
    method = PPO(FittedReward(refit=False))
    found = apo.solve(BANDIT, method, iterations=40, samples=500, key=KEY)
    assert float(found.suboptimality[-1]) < 0.3 * float(found.suboptimality[0])


def test_side_by_side_and_continued():
    def final(clip, price, rate):
        method = PPO(clip=clip, kl_coefficient=price, optimizer=apo.AdamW(rate))
        return apo.solve(BANDIT, method, iterations=3).final_log_policy

    numbers = jnp.array([[0.2, 0.1], [0.05, 0.5], [0.05, 0.2]])
    one_by_one = [final(*column) for column in numbers.T]
    np.testing.assert_allclose(jax.vmap(final)(*numbers), np.stack(one_by_one), atol=1e-12)
    check_continued(BANDIT, OFTEN, 3)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: PPO(clip=0.0), "clip"),
        (lambda: PPO(clip=jnp.ones(2)), "clip"),
        (lambda: PPO(epochs=NUMBER), "epochs"),
        (lambda: PPO(epochs=0), "epochs"),
        (lambda: PPO(kl_coefficient=-0.1), "kl_coefficient"),
        (lambda: PPO(optimizer=NOTHING), "optimizer"),
        (lambda: PPO(NOTHING), "source"),
        (
            lambda: apo.solve(
                BANDIT,
                PPO(FittedReward(ranker=apo.Pairwise(FromReference()))),
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
