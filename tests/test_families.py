"""What every family promises, for many keys at once, and that it is a pure function of the key."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apo_sim import families, theory
from apo_sim.problems import Bandit, Game

KEYS = jax.random.split(jax.random.key(0), 32)
CONTEXTS, ARMS = 2, 5
LOG_REF = families.uniform_reference(CONTEXTS, ARMS)

REFERENCES = {
    "dirichlet": lambda key: families.dirichlet_reference(key, CONTEXTS, ARMS),
    "dirichlet, nearly deterministic": lambda key: families.dirichlet_reference(
        key, CONTEXTS, ARMS, concentration=1e-3
    ),
    "zipf": lambda key: families.zipf_reference(key, CONTEXTS, ARMS, exponent=2.0),
    "best arm": lambda key: families.best_arm_reference(
        key, jnp.array([1, 4]), ARMS, jnp.array([1e-300, 0.99])
    ),
}
PROBLEMS = {
    "uniform": lambda key: families.uniform_bandit(key, CONTEXTS, ARMS),
    "gap": lambda key: families.gap_bandit(key, jnp.array([0.25, 2.0]), CONTEXTS, ARMS),
    "tied": lambda key: families.tied_bandit(key, 2, CONTEXTS, ARMS),
    "linear": lambda key: families.linear_bandit(
        key, families.random_features(jax.random.fold_in(key, 1), CONTEXTS, ARMS, 2)
    ),
    "dominant": lambda key: families.dominant_game(key, CONTEXTS, ARMS, dominance=0.2),
    "transitive": lambda key: families.transitive_game(key, CONTEXTS, ARMS, margin=0.05),
    "random": lambda key: families.random_game(key, CONTEXTS, ARMS, spread=0.3),
}
DRAWN = {name: jax.jit(jax.vmap(draw))(KEYS) for name, draw in (REFERENCES | PROBLEMS).items()}


def logit(preference):
    return np.log(preference) - np.log1p(-preference)


def farthest_from_bradley_terry(preference):
    """Rewards would make the logits of P additive: P_ij + P_jk = P_ik; by how much they do not."""
    score = logit(np.asarray(preference, float))
    around = score[..., :, :, None] + score[..., None, :, :] - score[..., :, None, :]
    return np.abs(around).max(axis=(-1, -2, -3))


@pytest.mark.parametrize("name", REFERENCES)
def test_references_are_normalised(name):
    log_ref = np.asarray(DRAWN[name])
    assert log_ref.shape == (len(KEYS), CONTEXTS, ARMS)
    assert np.all(np.isfinite(log_ref))
    np.testing.assert_allclose(np.logaddexp.reduce(log_ref, axis=2), 0.0, atol=1e-12)


@pytest.mark.parametrize("name", REFERENCES | PROBLEMS)
def test_families_are_pure_functions_of_their_key(name):
    draw = (REFERENCES | PROBLEMS)[name]
    once = draw(KEYS[3])  # not compiled as a whole, not in a batch; and checked by value
    batched = jax.tree.map(lambda leaf: leaf[3], DRAWN[name])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), once, batched)
    for leaf in jax.tree.leaves(DRAWN[name])[:1]:
        assert len(np.unique(np.asarray(leaf), axis=0)) == len(KEYS)


def test_uniform_reference():
    np.testing.assert_allclose(np.exp(LOG_REF), 1 / ARMS)


def test_zipf_ranks_are_in_random_order():
    log_ref = np.asarray(DRAWN["zipf"])
    mass = 1 / np.arange(1, ARMS + 1) ** 2.0
    np.testing.assert_allclose(np.sort(np.exp(log_ref)), np.sort(mass / mass.sum()) + 0 * log_ref)
    assert len(np.unique(log_ref.argmax(axis=2))) == ARMS


def test_dirichlet_concentration():
    mass = np.exp(np.asarray(DRAWN["dirichlet, nearly deterministic"]))
    assert np.median(mass.max(axis=2)) > 0.99
    spread = np.exp(np.asarray(families.dirichlet_reference(KEYS[0], 400, ARMS, 2.0)))
    np.testing.assert_allclose(spread.mean(axis=0), 1 / ARMS, atol=0.03)
    # The variance of one coordinate of a symmetric Dirichlet distribution.
    variance = (1 / ARMS) * (1 - 1 / ARMS) / (2.0 * ARMS + 1)
    np.testing.assert_allclose(spread.var(axis=0), variance, rtol=0.35)


def test_best_arm_reference_has_the_mass_asked_for():
    log_ref = np.asarray(DRAWN["best arm"])
    np.testing.assert_allclose(log_ref[:, 0, 1], np.log(1e-300), rtol=1e-14)
    np.testing.assert_allclose(log_ref[:, 1, 4], np.log(0.99), rtol=1e-14)
    far = families.best_arm_reference(KEYS[0], jnp.array([0]), 3, log_p_star=-1e5)
    assert float(far[0, 0]) == -1e5 and abs(np.exp(far[0, 1:]).sum() - 1) < 1e-12


def test_rewards_stay_in_range():
    for name in ("uniform", "gap", "tied", "linear"):
        reward = np.asarray(DRAWN[name].reward)
        assert reward.min() >= -1 and reward.max() <= 1


def test_gap_bandit_has_the_gap_asked_for():
    gap = np.asarray(jax.vmap(lambda bandit: bandit.gap)(DRAWN["gap"]))
    np.testing.assert_allclose(gap, [[0.25, 2.0]] * len(KEYS), atol=1e-15)
    best = np.asarray(DRAWN["gap"].reward).argmax(axis=2)
    assert len(np.unique(best)) == ARMS


def test_tied_bandit_ties_at_the_top_as_well():
    reward = np.asarray(DRAWN["tied"].reward)
    assert set(np.unique(reward)) == {-1.0, 1.0}
    assert np.any((reward == 1.0).sum(axis=2) > 1)


def test_linear_bandit_is_linear_in_its_features():
    features = families.random_features(KEYS[0], 3, 20, 2)
    reward = np.asarray(families.linear_bandit(KEYS[1], features).reward).ravel()
    flat = np.asarray(features).reshape(-1, 2)
    theta = np.linalg.lstsq(flat, reward, rcond=None)[0]
    np.testing.assert_allclose(flat @ theta, reward, atol=1e-12)
    assert np.abs(reward).max() == 1.0
    nothing = families.linear_bandit(KEYS[0], np.zeros((1, 2, 3)))
    np.testing.assert_array_equal(nothing.reward, 0.0)


def test_two_level_bandit_attains_the_sharp_bounds():
    gamma, p = 3.0, jnp.array([1e-6, 0.3, 0.99])
    gap = theory.worst_case_gap(p, gamma)
    bandit = families.two_level_bandit(p, gap, arms=4, contexts=3)
    policy = theory.exact_policy(bandit, gamma)
    reached = jax.vmap(lambda policy, regret: policy @ regret)(
        jnp.exp(policy), gap[:, None] * (jnp.arange(4) > 0)
    )
    np.testing.assert_allclose(reached, theory.sharp_gap(p, gamma), rtol=1e-10)
    tv = bandit.mass_off_best(policy)
    np.testing.assert_allclose(tv, theory.sharp_tv(p, gap, gamma), rtol=1e-10)
    small = families.two_level_bandit(log_p_star=-2000.0, gap=0.5)
    np.testing.assert_allclose(small.log_best_ref, -2000.0)


def test_dominant_game_dominates_and_has_no_reward_behind_it():
    games = DRAWN["dominant"]
    dominance = np.asarray(jax.vmap(lambda game: game.dominance)(games))
    assert np.all(dominance >= 0.2 - 1e-12)
    assert np.all(farthest_from_bradley_terry(games.preference) > 0.05)
    assert len(np.unique(jax.vmap(lambda game: game.best_arm)(games))) == ARMS
    # Cycles below the dominant arm: no order of the arms explains all wins.
    wins = np.sort((np.asarray(games.preference) > 0.5).sum(axis=3), axis=2)
    assert np.any(wins != np.arange(ARMS))


def test_transitive_game_has_an_order_and_no_reward_behind_it():
    preference = np.asarray(DRAWN["transitive"].preference)
    wins = np.sort((preference > 0.5).sum(axis=3), axis=2)
    np.testing.assert_array_equal(wins, np.broadcast_to(np.arange(ARMS), wins.shape))
    off = ~np.eye(ARMS, dtype=bool)
    assert np.abs(preference - 0.5)[..., off].min() >= 0.05 - 1e-12
    assert np.all(farthest_from_bradley_terry(preference) > 0.05)
    best = (preference > 0.5).sum(axis=3).argmax(axis=2)
    assert len(np.unique(best)) == ARMS


def test_random_game_is_antisymmetric_within_its_spread():
    preference = np.asarray(DRAWN["random"].preference)
    np.testing.assert_allclose(preference + np.swapaxes(preference, 2, 3), 1.0, atol=1e-15)
    assert 0.25 < np.abs(preference - 0.5).max() <= 0.3


def test_rock_paper_scissors_has_the_uniform_equilibrium():
    game = families.rock_paper_scissors(0.9)
    assert abs(float(game.suboptimality(game.log_ref))) < 1e-15
    assert float(game.dominance[0]) < 0
    skewed = families.rock_paper_scissors(1.0, np.log([[0.8, 0.1, 0.1]] * 2))
    assert skewed.num_contexts == 2
    np.testing.assert_allclose(skewed.suboptimality(skewed.log_ref), 0.35)


def test_sizes_come_from_the_reference():
    log_ref = families.zipf_reference(KEYS[0], 3, 7).astype(np.float32)
    for problem in (
        families.uniform_bandit(KEYS[0], log_ref=log_ref),
        families.gap_bandit(KEYS[0], 0.1, log_ref=log_ref),
        families.tied_bandit(KEYS[0], log_ref=log_ref),
        families.dominant_game(KEYS[0], log_ref=log_ref),
        families.transitive_game(KEYS[0], log_ref=log_ref),
        families.random_game(KEYS[0], log_ref=log_ref),
    ):
        assert (problem.num_contexts, problem.num_arms) == (3, 7)
        assert {leaf.dtype for leaf in jax.tree.leaves(problem)} == {np.dtype(np.float32)}
        np.testing.assert_array_equal(problem.log_ref, log_ref)
    default = families.uniform_bandit(KEYS[0])
    assert (default.num_contexts, default.num_arms) == (1, 10)


def test_numbers_may_be_traced():
    levels = jnp.array([0.1, 0.4])
    gap = jax.vmap(lambda gap: families.gap_bandit(KEYS[0], gap, 1, 3).gap[0])(levels)
    np.testing.assert_allclose(gap, levels, atol=1e-15)
    dominance = jax.vmap(lambda least: families.dominant_game(KEYS[0], 1, 3, least).dominance[0])(
        levels
    )
    assert np.all(dominance >= levels - 1e-12)
    log_p = jax.vmap(lambda p: families.two_level_bandit(p).log_best_ref[0])(levels)
    np.testing.assert_allclose(log_p, np.log(levels))


def test_large_families():
    many_arms = families.gap_bandit(KEYS[0], 0.1, 1, 10_000)
    np.testing.assert_allclose(many_arms.gap, 0.1, atol=1e-12)
    many_contexts = families.uniform_bandit(KEYS[0], 10_000, 2)
    assert isinstance(many_contexts, Bandit) and many_contexts.reward.shape == (10_000, 2)


def test_references_may_follow_the_rewards():
    bandit = families.uniform_bandit(KEYS[0], CONTEXTS, ARMS)
    log_ref = families.best_arm_reference(KEYS[1], bandit.best_arm, ARMS, 1e-6)
    hard = dataclasses.replace(bandit, log_ref=log_ref)
    np.testing.assert_allclose(hard.log_best_ref, np.log(1e-6))
    assert isinstance(dataclasses.replace(families.random_game(KEYS[0], 1, 3)), Game)
