import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apo_sim import theory
from apo_sim.errors import InvalidArgument
from apo_sim.problems import Bandit

from .dynamics import Run, random_bandit, random_game, solution

ITERATIONS = 6


def noisy_run(bandit, seed, alpha, beta, noise):
    rng = np.random.default_rng(seed)
    rewards = np.asarray(bandit.reward) + noise * rng.normal(size=(ITERATIONS, 2, 4))
    log_ref = np.asarray(bandit.log_ref)
    path = solution(log_ref, lambda t, _: rewards[t], alpha, beta, ITERATIONS)
    path.log_policy, path.gamma = jnp.asarray(path.log_policy), jnp.asarray(path.gamma)
    return path


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.sampled_from([0.05, 1.0, 100.0]),
    st.sampled_from([0.0, 0.3, 3.0]),
)
def test_both_splits(seed, alpha, beta, noise):
    bandit = random_bandit(seed)
    path = noisy_run(bandit, seed, alpha, beta, noise)
    got = theory.split(bandit, path)
    gaps = [float(bandit.suboptimality(p)) for p in path.log_policy[1:]]
    np.testing.assert_allclose(got.suboptimality, gaps, rtol=1e-10)
    # N4 is an identity, its two parts those of the averaged reward.
    np.testing.assert_allclose(got.optimisation + got.statistics, gaps, atol=1e-9)
    reward, best = np.asarray(bandit.reward), np.asarray(bandit.best_arm)
    probs, rows = np.asarray(bandit.context_probs), np.arange(2)
    for t in range(1, ITERATIONS + 1):
        weights = (1 - alpha ** np.arange(t, 0, -1)) / (1 - alpha)
        average = np.einsum("i,ixk->xk", weights, path.rewards[:t]) / weights.sum()
        policy = np.exp(np.asarray(path.log_policy[t]))
        optimisation = probs @ (average[rows, best] - (policy * average).sum(axis=1))
        assert float(got.optimisation[t - 1]) == pytest.approx(optimisation, rel=1e-7, abs=1e-9)
        exact = theory.exact_policy(bandit, path.gamma[t - 1])
        tv = probs @ np.abs(policy - np.exp(np.asarray(exact))).sum(axis=1) / 2
        assert float(got.paper_statistics[t - 1]) == pytest.approx(2 * tv, abs=1e-12)
        assert float(got.paper_optimisation[t - 1]) == pytest.approx(
            float(bandit.suboptimality(exact)), rel=1e-9
        )
        difference = probs @ ((np.exp(np.asarray(exact)) - policy) * reward).sum(axis=1)
        assert float(got.paper_difference[t - 1]) == pytest.approx(difference, abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.05, 1.0, 100.0]), st.sampled_from([0.0, 3.0]))
def test_bounds_on_the_parts(seed, beta, noise):
    bandit = random_bandit(seed)
    got = theory.split(bandit, path := noisy_run(bandit, seed, 0.5, beta, noise))
    sharp = jax.vmap(
        lambda gamma: (
            bandit.context_probs @ theory.sharp_gap(None, gamma, log_p_star=bandit.log_best_ref)
        )
    )(path.gamma)
    assert np.all(got.optimisation <= sharp * (1 + 1e-9))
    assert np.all(got.paper_difference <= got.paper_statistics + 1e-15)
    assert np.all(got.suboptimality <= got.paper_optimisation + got.paper_statistics + 1e-15)


def test_without_errors_the_statistics_vanish():
    bandit = random_bandit(4)
    exact = theory.split(bandit, noisy_run(bandit, 4, 0.5, 1.0, 0.0))
    assert np.max(np.abs(exact.statistics)) < 1e-14 and np.max(exact.paper_statistics) < 1e-14
    # The control: with errors they do not.
    noisy = theory.split(bandit, noisy_run(bandit, 4, 0.5, 1.0, 1.0))
    assert np.min(np.abs(noisy.statistics)) > 1e-4 and np.min(noisy.paper_statistics) > 1e-4


def test_small_differences_keep_their_digits():
    bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
    path = jnp.stack([bandit.log_ref, theory.exact_policy(bandit, 100.0 + 1e-7)])
    run = Run(path, gamma=jnp.array([100.0]))
    got = theory.split(bandit, run)
    assert float(got.paper_statistics[0]) == pytest.approx(2 * 1e-7 * np.exp(-100), rel=1e-5)


def test_extremes_are_finite():
    bandit = Bandit(jnp.array([[1.0, -1.0]]), jnp.array([[np.log(1e-300), 0.0]]))
    for gamma in [1e-6, 1.0, 1e18]:
        path = jnp.stack([bandit.log_ref, theory.exact_policy(bandit, gamma)])
        run = Run(path, gamma=jnp.array([gamma]))
        assert all(np.all(np.isfinite(part)) for part in jax.tree.leaves(theory.split(bandit, run)))


def test_inside_transformations():
    bandit = random_bandit(0)
    path = noisy_run(bandit, 0, 0.5, 1.0, 1.0)

    @jax.jit
    def optimisation(gamma, log_policy, behaviour, rewards):
        run = Run(log_policy, behaviour, rewards, gamma)
        return theory.split(bandit, run).optimisation

    got = optimisation(path.gamma, path.log_policy, path.behaviour, path.rewards)
    np.testing.assert_allclose(got, theory.split(bandit, path).optimisation, rtol=1e-9)


def test_bad_input():
    bandit = random_bandit(0)
    path = noisy_run(bandit, 0, 0.5, 1.0, 1.0)
    with pytest.raises(InvalidArgument, match="no reward; pass a Bandit"):
        theory.split(random_game(0), path)
    path.log_policy = None
    with pytest.raises(InvalidArgument, match='has no log_policy; run it again with save="path"'):
        theory.split(bandit, path)
