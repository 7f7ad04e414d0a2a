"""The exact proximal step on games, where the logistic loss has no closed form."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit

import apo_sim as apo
from apo_sim.proximal import EXACT_REWARD_BOUND, exact_rewards


@jax.jit
def step(game, bound):
    return exact_rewards(apo.DPO(), game, game.log_ref, bound)


def solve(preference, log_policy, bound=EXACT_REWARD_BOUND):
    game = apo.Game(jnp.asarray(preference)[None], jnp.asarray(log_policy)[None])
    rewards, residual = step(game, jnp.array(bound))
    assert float(residual) < 1e-6
    return np.asarray(rewards[0])


def random_preference(rng, arms):
    above = np.triu(rng.beta(0.3, 0.3, (arms, arms)), 1)
    return above + np.tril(1 - above.T, -1) + 0.5 * np.eye(arms)


@pytest.mark.parametrize("arms", [2, 3, 6, 15])
def test_agrees_with_a_root_finder(arms):
    rng = np.random.default_rng(arms)
    for _ in range(10):
        preference, policy = random_preference(rng, arms), rng.dirichlet(np.ones(arms))
        r = solve(preference, np.log(policy))

        def imbalance(x, preference=preference, policy=policy):
            full = np.append(x, 0.0)
            return ((expit(full[:, None] - full) - preference) @ policy)[:-1]

        best = optimize.root(imbalance, r[:-1] - r[-1] + 0.1, tol=1e-14)
        assert np.abs(best.fun).max() < 1e-12
        np.testing.assert_allclose(r[:-1] - r[-1], best.x, atol=1e-8)


def test_bradley_terry_game_returns_its_reward():
    reward = np.array([1.0, 0.2, -0.4, -3.0])
    r = solve(expit(reward[:, None] - reward), np.log([0.7, 0.1, 0.1, 0.1]))
    np.testing.assert_allclose(r - r[0], reward - reward[0], atol=1e-10)


@pytest.mark.parametrize("log_rare", [-460.0, -2000.0])
def test_arms_of_vanishing_probability(log_rare):
    # The two common arms settle between themselves; each rare arm then solves its own equation.
    rng = np.random.default_rng(1)
    preference = random_preference(rng, 4)
    log_policy = np.array([np.log(0.4), np.log(0.6), log_rare, log_rare - 3.0])
    r = solve(preference, log_policy)
    common = mpmath.log(preference[0, 1] / preference[1, 0])
    np.testing.assert_allclose(r[0] - r[1], float(common), atol=1e-9)
    for rare in (2, 3):
        own = mpmath.findroot(
            lambda x, rare=rare: sum(
                p * (1 / (1 + mpmath.exp(level - x)) - preference[rare, j])
                for j, (p, level) in enumerate(((0.4, common), (0.6, 0)))
            ),
            0,
        )
        np.testing.assert_allclose(r[rare] - r[1], float(own), atol=1e-9)


def test_certain_wins_go_to_the_walls():
    # A total order without noise: ends at the walls, forces in balance in between.
    arms = 5
    preference = np.triu(np.ones((arms, arms)), 1) + 0.5 * np.eye(arms)
    policy = np.array([0.1, 0.3, 0.2, 0.25, 0.15])
    r = solve(preference, np.log(policy))
    assert r.max() - r.min() == pytest.approx(2 * EXACT_REWARD_BOUND)
    mpmath.mp.dps = 60
    for i in range(1, arms - 1):
        sigmoid = [1 / (1 + mpmath.exp(mpmath.mpf(float(r[j])) - float(r[i]))) for j in range(arms)]
        up = sum(policy[j] * (1 - sigmoid[j]) for j in range(i + 1, arms))
        down = sum(policy[j] * sigmoid[j] for j in range(i))
        assert abs(float(mpmath.log(up / down))) < 1e-6


def test_certain_cycle_is_even():
    preference = np.array([[0.5, 1, 0], [0, 0.5, 1], [1, 0, 0.5]])
    np.testing.assert_allclose(solve(preference, np.log(np.full(3, 1 / 3))), 0, atol=1e-9)


def test_bound_is_met():
    preference = np.array([[0.5, 1.0], [0.0, 0.5]])
    r = solve(preference, np.log([0.5, 0.5]), bound=1.5)
    assert r[0] - r[1] == pytest.approx(3.0)


def test_a_loss_may_be_infinite_far_from_equal_scores():
    """-p log(1 + d) - (1 - p) log(1 - d) is least at d = 2 p - 1."""
    bandit = apo.Bandit(jnp.array([[1.5, 0.0]]), jnp.log(jnp.array([[0.3, 0.7]])))

    def barrier(won, lost, extra):
        return -jnp.log(1.0 + won - lost)

    rewards = apo.run(bandit, barrier, beta=1.0, iterations=1, save="path").rewards
    p = 1.0 / (1.0 + np.exp(-1.5))
    np.testing.assert_allclose(rewards[0, 0, 0] - rewards[0, 0, 1], 2.0 * p - 1.0, atol=1e-9)
