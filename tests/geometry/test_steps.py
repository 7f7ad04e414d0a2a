"""The proximal step of every geometry: against bisection, and what it must do by its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_policies import (
    ARMS,
    EVERY,
    GENERATORS,
    KINDS,
    LEGENDRE,
    LINKS,
    ROWS,
    policies,
    prox,
    rewards,
    scores,
    total_variation,
)
from hypothesis import given
from hypothesis import strategies as st
from slow_steps import solve

SEEDS = st.integers(0, 2**32 - 1)


def cases(seed, rare=False):
    rng = np.random.default_rng(seed)
    log_ref = policies(rng, rare=rare)
    return policies(rng, rare=rare), rewards(rng), 10.0 ** rng.uniform(-6, 6, ROWS), log_ref


def by_bisection(name, log_centre, reward, beta, log_ref):
    return np.asarray(solve(EVERY[name], log_centre, reward, beta, log_ref), float)


@pytest.mark.parametrize("rare", [False, True], ids=["usual", "rare"])
@pytest.mark.parametrize("name", EVERY)
def test_steps_are_those_of_bisection(name, rare):
    """With arms of a probability of 1e-300, and beta from 1e-6 to 1e6.

    A pull of 1e6 is rounded in its tenth digit after the point.
    """
    given = cases(0, rare)
    found, expected = prox(name)(*given), by_bisection(name, *given)
    assert total_variation(found, expected).max() < 1e-10
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, rtol=0, atol=1e-13)


@pytest.mark.parametrize("rare", [False, True], ids=["usual", "rare"])
@pytest.mark.parametrize("name", sorted(set(LEGENDRE) - {"chi square and kl"}))
def test_rare_arms_are_right_in_their_logarithms(name, rare):
    given = cases(1, rare)
    np.testing.assert_allclose(prox(name)(*given), by_bisection(name, *given), rtol=1e-9, atol=1e-9)


def test_rare_arms_are_right_in_their_logarithms_near_the_reference():
    """Far from it, coordinates are so large that they hold the mass of rare arms in no digit."""
    rng = np.random.default_rng(2)
    log_centre, reward, beta, _ = cases(2)
    beta = np.maximum(beta, 1.0)
    log_ref = np.log(rng.dirichlet(np.full(ARMS, 20.0), ROWS))
    given = (log_centre, reward, beta, log_ref)
    expected = by_bisection("chi square and kl", *given)
    np.testing.assert_allclose(prox("chi square and kl")(*given), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_many_arms(name):
    rng = np.random.default_rng(3)
    log_centre, log_ref = (policies(rng, rows=1, arms=1000) for _ in range(2))
    reward, beta = rewards(rng, rows=1, arms=1000), 0.01
    step = jax.jit(EVERY[name].at(jnp.asarray(log_ref)).prox)
    found = step(jnp.asarray(log_centre), jnp.asarray(reward), beta)
    expected = by_bisection(name, log_centre, reward, beta, log_ref)
    assert total_variation(np.asarray(found), expected).max() < 1e-12


@given(SEEDS)
def test_nothing_to_gain_is_nowhere_to_go(seed):
    log_centre, reward, beta, log_ref = cases(seed)
    for name in EVERY:
        still = prox(name)(log_centre, 0.0 * reward, beta, log_ref)
        assert total_variation(still, log_centre).max() < 1e-13, name


@given(SEEDS)
def test_the_step_by_the_score_of_a_policy_leads_to_it(seed):
    """So the dual coordinates and the policy are each other's inverse, for a generator."""
    rng = np.random.default_rng(seed)
    log_policy, log_centre, log_ref = (policies(rng, (0.1, 1.0)) for _ in range(3))
    beta = 10.0 ** rng.uniform(-3, 3, ROWS)
    for name in EVERY:
        reward = beta[:, None] * scores(name)(log_policy, log_centre, log_ref)
        reached = prox(name)(log_centre, reward, beta, log_ref)
        assert total_variation(reached, log_policy).max() < 1e-12, name


@given(SEEDS)
def test_a_constant_in_the_reward_changes_nothing(seed):
    log_centre, reward, _, log_ref = cases(seed)
    beta = 10.0 ** np.random.default_rng(seed).uniform(-2, 2, ROWS)
    for name in EVERY:
        plain = prox(name)(log_centre, reward, beta, log_ref)
        lifted = prox(name)(log_centre, reward + 8.0, beta, log_ref)
        assert total_variation(lifted, plain).max() < 1e-11, name


@given(SEEDS)
def test_steps_of_a_generator_add_up(seed):
    """B1's reason: where no arm is lost, two steps are one whose pull is the sum of theirs."""
    log_centre, reward, _, log_ref = cases(seed)
    rng = np.random.default_rng(seed)
    first, second = (10.0 ** rng.uniform(-1, 2, ROWS) for _ in range(2))
    for name in set(GENERATORS) & set(LEGENDRE):
        half_way = prox(name)(log_centre, reward, first, log_ref)
        after = prox(name)(half_way, reward, second, log_ref)
        at_once = prox(name)(log_centre, reward, 1.0 / (1.0 / first + 1.0 / second), log_ref)
        assert total_variation(after, at_once).max() < 1e-11, name


@given(SEEDS)
def test_better_arms_gain_by_the_larger_factor(seed):
    log_centre, reward, beta, log_ref = cases(seed)
    for name in LINKS:
        log_ratio = prox(name)(log_centre, reward, beta, log_ref) - log_centre
        ascending = np.take_along_axis(log_ratio, np.argsort(reward, axis=1), axis=1)
        assert np.all(np.diff(ascending, axis=1) >= -1e-11), name
