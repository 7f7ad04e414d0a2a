"""What every family promises, for many keys at once, and that it is a pure function of the key."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apo_sim import families, theory
from apo_sim.problems import Bandit

KEYS = jax.random.split(jax.random.key(0), 32)
CONTEXTS, ARMS = 2, 5
LOG_REF = families.uniform_reference(CONTEXTS, ARMS)

REFERENCES = {
    "dirichlet, nearly deterministic": lambda key: families.dirichlet_reference(
        key, CONTEXTS, ARMS, concentration=1e-3
    ),
    "zipf": lambda key: families.zipf_reference(key, CONTEXTS, ARMS, exponent=2.0),
    "best arm": lambda key: families.best_arm_reference(
        key, jnp.array([1, 4]), ARMS, log_p_star=jnp.array([-1e5, -0.01])
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


@functools.cache
def drawn(name):
    """One draw for every key, compiled once for all tests."""
    return jax.jit(jax.vmap((REFERENCES | PROBLEMS)[name]))(KEYS)


def logit(preference):
    return np.log(preference) - np.log1p(-preference)


def farthest_from_bradley_terry(preference):
    """Rewards would make the logits of P additive: P_ij + P_jk = P_ik; by how much they do not."""
    score = logit(np.asarray(preference, float))
    around = score[..., :, :, None] + score[..., None, :, :] - score[..., :, None, :]
    return np.abs(around).max(axis=(-1, -2, -3))


@pytest.mark.parametrize("name", REFERENCES)
def test_references_are_normalised(name):
    log_ref = np.asarray(drawn(name))
    assert log_ref.shape == (len(KEYS), CONTEXTS, ARMS)
    assert np.all(np.isfinite(log_ref))
    np.testing.assert_allclose(np.logaddexp.reduce(log_ref, axis=2), 0.0, atol=1e-12)


def test_a_draw_depends_on_its_key_alone():
    once = PROBLEMS["uniform"](KEYS[3])  # neither in a batch nor compiled as a whole
    batched = jax.tree.map(lambda leaf: leaf[3], drawn("uniform"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), once, batched)


@pytest.mark.parametrize("name", REFERENCES | PROBLEMS)
def test_keys_give_different_draws(name):
    leaf = np.asarray(jax.tree.leaves(drawn(name))[0])
    assert np.all(np.any(leaf[1:] != leaf[:-1], axis=(1, 2) if leaf.ndim == 3 else (1, 2, 3)))


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_pass_the_checks_of_values(name):
    """Which nothing made in a batch has met."""
    problems = drawn(name)
    for i in range(4):
        type(problems)(*(leaf[i] for leaf in jax.tree.leaves(problems)))


def test_uniform_reference():
    np.testing.assert_allclose(np.exp(LOG_REF), 1 / ARMS)


def test_zipf_ranks_are_in_random_order():
    log_ref = np.asarray(drawn("zipf"))
    mass = 1 / np.arange(1, ARMS + 1) ** 2.0
    np.testing.assert_allclose(np.sort(np.exp(log_ref)), np.sort(mass / mass.sum()) + 0 * log_ref)
    assert len(np.unique(log_ref.argmax(axis=2))) == ARMS


def test_dirichlet_concentration():
    mass = np.exp(np.asarray(drawn("dirichlet, nearly deterministic")))
    assert np.median(mass.max(axis=2)) > 0.99
    spread = np.exp(jax.jit(lambda: families.dirichlet_reference(KEYS[0], 400, ARMS, 2.0))())
    np.testing.assert_allclose(spread.mean(axis=0), 1 / ARMS, atol=0.03)
    # The variance of one coordinate of a symmetric Dirichlet distribution.
    variance = (1 / ARMS) * (1 - 1 / ARMS) / (2.0 * ARMS + 1)
    np.testing.assert_allclose(spread.var(axis=0), variance, rtol=0.35)


def test_best_arm_reference_has_the_mass_asked_for():
    log_ref = np.asarray(drawn("best arm"))
    np.testing.assert_array_equal(log_ref[:, 0, 1], -1e5)
    np.testing.assert_array_equal(log_ref[:, 1, 4], -0.01)


def test_rewards_stay_in_range():
    for name in ("uniform", "gap", "tied", "linear"):
        reward = np.asarray(drawn(name).reward)
        assert reward.min() >= -1 and reward.max() <= 1


def test_gap_bandit_has_the_gap_asked_for():
    gap = np.asarray(jax.vmap(lambda bandit: bandit.gap)(drawn("gap")))
    np.testing.assert_allclose(gap, [[0.25, 2.0]] * len(KEYS), atol=1e-15)
    best = np.asarray(drawn("gap").reward).argmax(axis=2)
    assert len(np.unique(best)) == ARMS


def test_tied_bandit_ties_at_the_top_as_well():
    reward = np.asarray(drawn("tied").reward)
    assert set(np.unique(reward)) == {-1.0, 1.0}
    assert np.any((reward == 1.0).sum(axis=2) > 1)


def test_linear_bandit_is_linear_in_its_features():
    features = np.random.default_rng(0).normal(size=(CONTEXTS, 20, 2))
    reward = jax.jit(lambda: families.linear_bandit(KEYS[1], features).reward)()
    reward, flat = np.asarray(reward).ravel(), features.reshape(-1, 2)
    theta = np.linalg.lstsq(flat, reward, rcond=None)[0]
    np.testing.assert_allclose(flat @ theta, reward, atol=1e-12)
    assert np.abs(reward).max() == 1.0


def test_features_of_nothing_give_no_reward():
    reward = jax.jit(lambda: families.linear_bandit(KEYS[0], np.zeros((1, 2, 3))).reward)()
    np.testing.assert_array_equal(reward, 0.0)


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
    games = drawn("dominant")
    dominance = np.asarray(jax.vmap(lambda game: game.dominance)(games))
    assert np.all(dominance >= 0.2 - 1e-12)
    assert np.all(farthest_from_bradley_terry(games.preference) > 0.05)
    assert len(np.unique(jax.vmap(lambda game: game.best_arm)(games))) == ARMS
    # Cycles below the dominant arm: no order of the arms explains all wins.
    wins = np.sort((np.asarray(games.preference) > 0.5).sum(axis=3), axis=2)
    assert np.any(wins != np.arange(ARMS))


def test_transitive_game_has_an_order_and_no_reward_behind_it():
    preference = np.asarray(drawn("transitive").preference)
    wins = np.sort((preference > 0.5).sum(axis=3), axis=2)
    np.testing.assert_array_equal(wins, np.broadcast_to(np.arange(ARMS), wins.shape))
    off = ~np.eye(ARMS, dtype=bool)
    assert np.abs(preference - 0.5)[..., off].min() >= 0.05 - 1e-12
    assert np.all(farthest_from_bradley_terry(preference) > 0.05)
    best = (preference > 0.5).sum(axis=3).argmax(axis=2)
    assert len(np.unique(best)) == ARMS


def test_random_game_is_antisymmetric_within_its_spread():
    preference = np.asarray(drawn("random").preference)
    np.testing.assert_allclose(preference + np.swapaxes(preference, 2, 3), 1.0, atol=1e-15)
    assert 0.25 < np.abs(preference - 0.5).max() <= 0.3


def test_rock_paper_scissors_has_the_uniform_equilibrium():
    game = families.rock_paper_scissors(0.9)
    assert abs(float(game.suboptimality(game.log_ref))) < 1e-15
    assert float(game.dominance[0]) < 0
    skewed = families.rock_paper_scissors(1.0, np.log([[0.8, 0.1, 0.1]] * 2))
    assert skewed.num_contexts == 2
    np.testing.assert_allclose(skewed.suboptimality(skewed.log_ref), 0.35)


@pytest.mark.parametrize(
    "family",
    [
        families.uniform_bandit,
        functools.partial(families.gap_bandit, gap=0.1),
        families.tied_bandit,
        families.dominant_game,
        families.transitive_game,
        families.random_game,
    ],
)
def test_sizes_and_precision_come_from_the_reference(family):
    log_ref = jax.ShapeDtypeStruct((3, 7), np.float32)
    problem = jax.eval_shape(lambda log_ref: family(KEYS[0], log_ref=log_ref), log_ref)
    assert problem.log_ref.shape == (3, 7)
    assert {leaf.dtype for leaf in jax.tree.leaves(problem)} == {np.dtype(np.float32)}
    default = jax.eval_shape(lambda: family(KEYS[0]))
    assert default.log_ref.shape == (1, 10)


def test_numbers_may_be_traced():
    def reached(level):
        gap = families.gap_bandit(KEYS[0], level, 1, 3).gap[0]
        dominance = families.dominant_game(KEYS[0], 1, 3, level).dominance[0]
        return gap, dominance, families.two_level_bandit(level).log_best_ref[0]

    levels = jnp.array([0.1, 0.4])
    gap, dominance, log_p = jax.jit(jax.vmap(reached))(levels)
    np.testing.assert_allclose(gap, levels, atol=1e-15)
    assert np.all(dominance >= levels - 1e-12)
    np.testing.assert_allclose(log_p, np.log(levels))


def test_large_families():
    many_arms = jax.jit(lambda: families.gap_bandit(KEYS[0], 0.1, 1, 10_000).gap)()
    np.testing.assert_allclose(many_arms, 0.1, atol=1e-12)
    many_contexts = families.uniform_bandit(KEYS[0], 10_000, 2)
    assert isinstance(many_contexts, Bandit) and many_contexts.reward.shape == (10_000, 2)
