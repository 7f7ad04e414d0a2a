"""The squared distance: projections, arms that vanish, and what is remembered of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apo_sim.geometry import Euclidean

LAZY, AGILE = Euclidean(), Euclidean(lazy=False)
EVEN = jnp.log(jnp.array([0.5, 0.5]))


@given(st.integers(0, 2**32 - 1))
def test_projections_are_the_nearest_points(seed):
    """No other policy is nearer, so <z - p, other - p> is never above zero."""
    rng = np.random.default_rng(seed)
    dual = jnp.asarray(rng.normal(size=(20, 5)) * 10.0 ** rng.uniform(-3, 3, (20, 1)))
    policy = np.exp(LAZY.policy(dual))
    np.testing.assert_allclose(policy.sum(axis=1), 1.0, rtol=0, atol=1e-14)
    others = rng.dirichlet(np.full(5, 0.3), (20, 50))
    away = np.asarray(dual) - policy
    lead = np.einsum("xk,xok->xo", away, others - policy[:, None])
    assert lead.max() <= 1e-12 * np.abs(dual).max()
    corners = away - np.sum(away * policy, axis=1, keepdims=True)
    assert corners.max() <= 1e-12 * np.abs(dual).max()


def test_ties_and_hard_cases():
    for dual, expected in (
        ([0.0, 0.0, 0.0, 0.0], [0.25] * 4),
        ([1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]),
        ([1.0, 1.0, 0.5, -1e300], [0.5, 0.5, 0.0, 0.0]),
        ([1e6, 1e6 - 0.5, -1e6, 1e6 - 1.0], [0.75, 0.25, 0.0, 0.0]),
    ):
        np.testing.assert_allclose(
            np.exp(LAZY.policy(jnp.array(dual))), expected, rtol=0, atol=1e-15
        )


def test_the_lazy_one_remembers_and_the_agile_one_does_not():
    there, back = jnp.array([[3.0, 0.0]]), jnp.array([[0.0, 3.0]])
    paths = {}
    for geometry in (LAZY, AGILE):
        dual = geometry.normalise(geometry.step(geometry.dual(EVEN[None]), there, 1.0))[0]
        dual = geometry.normalise(geometry.step(dual, back, 1.0))[0]
        paths[geometry.lazy] = np.exp(geometry.log_policy(dual))
    np.testing.assert_allclose(paths[True], [[0.5, 0.5]], rtol=0, atol=1e-15)
    np.testing.assert_allclose(paths[False], [[0.0, 1.0]], rtol=0, atol=1e-15)


def test_the_agile_one_starts_from_the_policy_wherever_momentum_has_gone():
    beyond = jnp.array([[1.5, -0.5]])
    np.testing.assert_array_equal(AGILE.step(beyond, jnp.zeros((1, 2)), 1.0), [[1.0, 0.0]])
    np.testing.assert_array_equal(LAZY.step(beyond, jnp.zeros((1, 2)), 1.0), beyond)


@pytest.mark.parametrize("geometry", [LAZY, AGILE], ids=["lazy", "agile"])
def test_lost_arms_have_no_logarithm_and_no_nan(geometry):
    def of_log(reward):
        policy = geometry.prox(EVEN, reward, 1.0)
        return jnp.sum(jnp.where(policy > -jnp.inf, policy, 0.0))

    reward = jnp.array([5.0, 0.0])
    assert geometry.prox(EVEN, reward, 1.0).tolist() == [0.0, -jnp.inf]
    np.testing.assert_array_equal(jax.jit(jax.grad(of_log))(reward), [0.0, 0.0])
    np.testing.assert_array_equal(jax.hessian(of_log)(reward), np.zeros((2, 2)))


def test_an_arm_is_lost_in_finite_time():
    """B3: at a pull of 1 from the uniform policy, and not before."""
    assert LAZY.prox(EVEN, jnp.array([1.0, 0.0]), 1.0)[1] == -jnp.inf
    assert LAZY.prox(EVEN, jnp.array([1.0 - 1e-12, 0.0]), 1.0)[1] > -30.0


def test_no_mass_at_all():
    np.testing.assert_allclose(LAZY.normaliser(jnp.array([0.3, 0.1]), 0.0), 0.3, rtol=1e-15)
