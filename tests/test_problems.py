"""What problems answer, against sums written out in NumPy."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

import apo_sim as apo
from apo_sim import problems, testing

# They take lists and NumPy arrays too, which their fields' types, of what they hold, do not say.
Bandit: Any = apo.Bandit
Game: Any = apo.Game

CONTEXTS, ARMS = 2, 4


@given(testing.bandits(CONTEXTS, ARMS), testing.policies(CONTEXTS, ARMS))
def test_bandit_against_sums(bandit, log_policy):
    reward, policy = np.asarray(bandit.reward), np.exp(np.asarray(log_policy))
    probs, best = np.asarray(bandit.context_probs), np.asarray(reward).argmax(axis=1)
    np.testing.assert_array_equal(bandit.best_arm, best)
    preference = 1 / (1 + np.exp(reward[:, None, :] - reward[:, :, None]))
    np.testing.assert_allclose(bandit.preference, preference, atol=1e-14)
    win_rate = np.einsum("xij,xj->xi", preference, policy)
    np.testing.assert_allclose(bandit.win_rate(log_policy), win_rate, atol=1e-14)
    gap = probs @ (reward.max(axis=1) - (policy * reward).sum(axis=1))
    np.testing.assert_allclose(bandit.suboptimality(log_policy), gap, atol=1e-14)
    in_order = np.sort(reward, axis=1)
    np.testing.assert_allclose(bandit.gap, in_order[:, -1] - in_order[:, -2], atol=1e-15)
    log_p = np.asarray(bandit.log_ref)[np.arange(CONTEXTS), best]
    np.testing.assert_array_equal(bandit.log_best_ref, log_p)
    np.testing.assert_array_equal(bandit.scores(log_policy), reward)


@given(testing.games(CONTEXTS, ARMS), testing.policies(CONTEXTS, ARMS))
def test_game_against_sums(game, log_policy):
    preference, policy = np.asarray(game.preference), np.exp(np.asarray(log_policy))
    win_rate = np.einsum("xij,xj->xi", preference, policy)
    np.testing.assert_allclose(game.win_rate(log_policy), win_rate, atol=1e-14)
    np.testing.assert_allclose(game.scores(log_policy), win_rate, atol=1e-14)
    exploitability = np.asarray(game.context_probs) @ (win_rate.max(axis=1) - 0.5)
    np.testing.assert_allclose(game.suboptimality(log_policy), exploitability, atol=1e-14)
    assert float(game.suboptimality(log_policy)) >= -1e-14
    for x, best in enumerate(np.asarray(game.best_arm)):
        others = np.arange(ARMS) != best
        worst = (preference[x, best] - preference[x, others]).min()
        np.testing.assert_allclose(game.dominance[x], worst, atol=1e-15)
        worst_of = [np.delete(preference[x, i], i).min() for i in range(ARMS)]
        assert worst_of[best] == max(worst_of)


@given(testing.bandits(CONTEXTS, ARMS), testing.policies(CONTEXTS, ARMS))
def test_total_variation_is_half_the_distance_to_the_optimal_policy(bandit, log_policy):
    policy = np.exp(np.asarray(log_policy))
    optimal = np.arange(ARMS) == np.asarray(bandit.best_arm)[:, None]
    expected = 0.5 * np.abs(policy - optimal).sum(axis=1)
    np.testing.assert_allclose(bandit.mass_off_best(log_policy), expected, atol=1e-14)
    tv = np.asarray(bandit.context_probs) @ expected
    np.testing.assert_allclose(bandit.total_variation(log_policy), tv, atol=1e-14)


@given(testing.games(CONTEXTS, ARMS, min_dominance=0.1))
def test_a_dominant_arm_is_the_best_arm(game):
    np.testing.assert_array_equal(game.best_arm, 0)
    assert np.all(game.dominance >= 0.1 - 1e-12)


def test_a_bandit_and_its_game_agree():
    reward = np.array([[0.3, -0.2, 0.9], [0.1, 0.8, 0.2]])
    log_ref = jnp.log(jnp.full((2, 3), 1 / 3))
    bandit = Bandit(reward, log_ref)
    game = Game(bandit.preference, log_ref)
    np.testing.assert_array_equal(bandit.best_arm, game.best_arm)
    np.testing.assert_array_equal(bandit.dominance, game.dominance)
    np.testing.assert_allclose(bandit.win_rate(log_ref), game.win_rate(log_ref), atol=1e-15)


def test_win_rate_of_many_arms_does_not_keep_all_pairs(monkeypatch):
    rng = np.random.default_rng(0)
    log_policy = jax.nn.log_softmax(jnp.asarray(rng.normal(size=(2, 37))))
    bandit = Bandit(rng.uniform(-1, 1, (2, 37)), log_policy)
    whole = bandit.win_rate(log_policy)
    monkeypatch.setattr(problems, "_PAIRS_AT_ONCE", 200)
    np.testing.assert_allclose(bandit.win_rate(log_policy), whole, atol=1e-14)


def test_many_contexts_and_many_arms():
    rng = np.random.default_rng(0)
    for shape in ((10_000, 2), (1, 10_000)):
        log_ref = np.full(shape, -np.log(shape[1]))
        bandit = Bandit(rng.uniform(-1, 1, shape), log_ref)
        solution = apo.run(bandit, beta=0.01, iterations=2)
        assert float(solution.suboptimality[-1]) < float(bandit.suboptimality(bandit.log_ref))


def test_mass_off_best_keeps_its_digits():
    """One minus the mass on the best arm would be 0 here."""
    bandit = Bandit([[1.0, 0.0]], np.log([[0.5, 0.5]]))
    log_policy = jax.nn.log_softmax(jnp.array([[100.0, 0.0]]))
    np.testing.assert_allclose(bandit.mass_off_best(log_policy), np.exp(-100.0), rtol=1e-12)


def test_ties_give_the_first_arm_and_no_gap():
    bandit = Bandit([[0.0, 1.0, 1.0]], np.log(np.full((1, 3), 1 / 3)))
    assert bandit.best_arm.tolist() == [1]
    assert bandit.gap.tolist() == [0.0]
    assert bandit.dominance.tolist() == [0.0]


def test_contexts_are_weighed():
    bandit = Bandit([[1.0, 0.0], [0.0, 0.5]], np.log(np.full((2, 2), 0.5)), [0.25, 0.75])
    np.testing.assert_allclose(bandit.suboptimality(bandit.log_ref), 0.25 * 0.5 + 0.75 * 0.25)
    uniform = dataclasses.replace(bandit, context_probs=None)
    np.testing.assert_array_equal(uniform.context_probs, [0.5, 0.5])


@pytest.mark.parametrize("kind", ["bandit", "game"])
def test_a_problem_has_one_precision(kind):
    log_ref = np.log(np.full((1, 2), 0.5)).astype(np.float32)
    single, double = np.zeros((1, 2), np.float32), np.zeros((1, 2))
    if kind == "game":
        single, double = np.full((1, 2, 2), 0.5, np.float32), np.full((1, 2, 2), 0.5)
    make = Bandit if kind == "bandit" else Game
    for values, expected in ((single, np.float32), (double, np.float64)):
        problem = make(values, log_ref, [1.0])
        assert {leaf.dtype for leaf in jax.tree.leaves(problem)} == {np.dtype(expected)}


@pytest.mark.parametrize("integers", [[[1, 0]], np.array([[1, 0]]), jnp.array([[1, 0]])])
def test_integers_and_lists_are_numbers(integers):
    bandit = Bandit(integers, np.log([[0.5, 0.5]]))
    assert bandit.reward.dtype == np.float64


def test_problems_may_be_made_and_used_inside_transformations():
    def gap(reward, logits):
        bandit = Bandit(reward, jax.nn.log_softmax(logits, axis=1))
        return bandit.suboptimality(bandit.log_ref)

    rng = np.random.default_rng(0)
    rewards, logits = rng.uniform(-1, 1, (5, 2, 4)), rng.normal(size=(5, 2, 4))
    batched = jax.jit(jax.vmap(gap))(rewards, logits)
    np.testing.assert_allclose(batched, [gap(*one) for one in zip(rewards, logits, strict=True)])
    slope = jax.grad(lambda r: gap(r, logits[0]))(rewards[0])
    assert np.all(np.isfinite(slope)) and np.abs(slope).max() > 0

    def exploitability(skew):
        game = Game(0.5 + skew - jnp.swapaxes(skew, 1, 2), np.log(np.full((1, 3), 1 / 3)))
        return game.suboptimality(game.log_ref)

    assert jax.vmap(exploitability)(jnp.zeros((2, 1, 3, 3))).tolist() == [0.0, 0.0]
