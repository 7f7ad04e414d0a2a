"""The Wright omega function against mpmath, in logarithms."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from apo_sim.geometry.omega import log_omega

POINTS = np.concatenate(
    [np.linspace(-50, 50, 201), np.linspace(0, 4, 81), [-1e300, -1e4, 1e4, 1e300]]
)


def by_mpmath(y):
    """log u where u + log u = y, by Newton's method with digits to spare."""
    with mpmath.workdps(40):
        v = mpmath.mpf(y) if y <= 1 else mpmath.log(y)
        for _ in range(12):
            u = mpmath.exp(v)
            v -= (u + v - y) / (u + 1)
        return float(v)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 4e-16), (jnp.float32, 4e-7)])
def test_values(dtype, tolerance):
    points = POINTS[np.abs(POINTS) < np.finfo(dtype).max].astype(dtype)
    found = log_omega(jnp.asarray(points))
    assert found.dtype == dtype
    expected = [by_mpmath(float(y)) for y in points]
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_derivatives():
    """v' = 1 / (1 + u) and v'' = -u / (1 + u)^3."""
    y = jnp.array([-100.0, -3.0, 0.0, 1.0, 5.0, 1e5])
    u = np.exp(log_omega(y))
    first = jax.vmap(jax.grad(log_omega))(y)
    second = jax.vmap(jax.grad(jax.grad(log_omega)))(y)
    np.testing.assert_allclose(first, 1 / (1 + u), rtol=1e-14)
    np.testing.assert_allclose(second, -u / (1 + u) ** 3, rtol=1e-13, atol=1e-40)


def test_no_mass():
    assert log_omega(jnp.array(-jnp.inf)) == -jnp.inf
