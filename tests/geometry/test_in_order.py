"""Sums over arms that do not depend on what stands beside them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from apo_sim.geometry._in_order import log_sum_exp


@pytest.mark.parametrize("arms", [1, 2, 3, 7, 30])
def test_it_is_log_sum_exp_along_any_axis(arms):
    values = np.random.default_rng(arms).normal(scale=30.0, size=(4, arms, 3))
    for axis in (1, -2):
        found = log_sum_exp(jnp.asarray(values), axis)
        expected: Any = logsumexp(values, axis=axis)
        np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_of_nothing_and_of_what_underflows():
    nothing = jnp.full((2, 3), -jnp.inf)
    assert log_sum_exp(nothing, 1).tolist() == [-jnp.inf] * 2
    assert float(log_sum_exp(jnp.array([-2000.0, -2000.0]), 0)) == pytest.approx(
        np.log(2.0) - 2000.0, rel=1e-15
    )


def test_its_derivative_is_softmax():
    values = jnp.array([0.3, -1.0, 2.0])
    slope: Any = jax.grad(lambda z: log_sum_exp(z, 0))(values)
    np.testing.assert_allclose(slope, jax.nn.softmax(values), rtol=1e-14)


def test_neighbours_do_not_change_a_bit():
    values = jnp.asarray(np.random.default_rng(0).normal(size=(30, 40)))
    whole = jax.jit(lambda z: log_sum_exp(z, 0))(values)
    for width in (1, 3, 9):
        alone = jax.jit(lambda z: log_sum_exp(z, 0))(values[:, :width])
        np.testing.assert_array_equal(alone, whole[:width])
