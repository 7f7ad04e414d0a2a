"""Claims about the assumptions and about general preferences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apo_sim import SPPO, Constant, families, run, theory
from apo_sim.claims import ab1, n10, n12
from apo_sim.claims.a42 import needed_bound
from apo_sim.claims.a43 import visited_bounds
from apo_sim.problems import Game


def test_realizability_needs_twice_the_largest_reward_at_most():
    reward, centre = jnp.array([1.0, -1.0]), jnp.array([-30.0, 0.0])
    assert float(needed_bound(reward, centre, jnp.array(10.0))) == pytest.approx(2.0, abs=1e-6)


def test_visited_bounds_agree_with_the_theory():
    key = jax.random.key(3)
    bounds = visited_bounds(key[None], 0.6, None, 15)
    bandit = families.uniform_bandit(jax.random.split(key)[0], 1, 5)
    solution = run(bandit, momentum=Constant(0.6), beta=1.0, iterations=15, save="path")
    met = theory.assumptions(bandit, solution, 1.0)
    assert float(bounds.all_pairs[0, -1]) == pytest.approx(float(met.reward_bound_all_pairs))
    np.testing.assert_allclose(bounds.consecutive[0], met.reward_bound_by_update)


def test_adversary_covers_games_under_assumption_b1():
    rng = np.random.default_rng(0)
    for dominance in (0.01, 0.2, 0.5):
        matrix = n10.dominated(3 * rng.normal(size=(4, 4)), 3 * rng.normal(size=4), dominance)
        game = Game(matrix[None], families.uniform_reference(1, 5))  # checks antisymmetry
        assert int(game.best_arm[0]) == 0
        assert float(game.dominance[0]) >= dominance - 1e-12


def test_price_of_dominance_is_attained_on_the_whole_range():
    gap = np.array([0.01, 0.5, 2.0])
    for g, bound in zip(gap, ab1.largest_price(gap, 1 / (1 + np.exp(-2.0)), False), strict=True):
        lowest = [1.0, 1.0 - g, -1.0]
        assert float(ab1._price(jnp.array(lowest))) == pytest.approx(bound)


def test_least_squares_finds_the_scaled_win_rate():
    preference = np.array([[0.5, 0.9, 0.3], [0.1, 0.5, 0.6], [0.7, 0.4, 0.5]])
    preference = np.pad(preference, ((0, 2), (0, 2)), constant_values=0.5)
    log_ref = np.log(np.full(5, 0.2))
    path = n12.ipo_path(preference, log_ref, tau=0.5, beta=3.0, alpha=0.0)
    game = Game(jnp.asarray(preference)[None], jnp.asarray(log_ref)[None])
    solution = run(game, SPPO(), beta=0.75, iterations=n12.ITERATIONS, save="path")
    assert solution.log_policy is not None
    np.testing.assert_allclose(path, solution.log_policy[:, 0], atol=1e-10)
