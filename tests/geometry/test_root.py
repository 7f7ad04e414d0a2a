"""The solver of the normaliser, on functions that Newton's method alone does not survive."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apo_sim.geometry.root import increasing_root

EXACT = jnp.array(0.0)


def root(function, low, start, high, dtype=float):
    low, start, high = (jnp.asarray(end, dtype) for end in (low, start, high))
    return np.asarray(jax.jit(lambda *ends: increasing_root(function, *ends))(low, start, high))


@pytest.mark.parametrize("start", [-30.0, 0.0, 1.3, 30.0])
def test_a_function_whose_tangents_lead_away(start):
    found = root(
        lambda x: (jnp.arctan(x - 1.0), 1 / (1 + (x - 1.0) ** 2), EXACT), -40.0, start, 40.0
    )
    np.testing.assert_allclose(found, 1.0, rtol=0, atol=1e-14)


def test_brackets_of_any_size_and_every_element_for_itself():
    target = np.array([-1e300, -1e12, -3.0, -1e-9, 0.0, 1e-9, 7.0, 1e12])
    ends = -1e301 * np.ones(8), 1e13 * np.ones(8)

    def step(x):
        return jnp.sign(x - target), jnp.zeros(8), EXACT

    # Of a step, no more is known than its sign: all is left to bisection.
    found = root(step, ends[0], ends[1], ends[1])
    np.testing.assert_allclose(found, target, rtol=1e-14, atol=1e-13)


def test_a_root_at_an_end():
    for end in (0.0, 2.0):
        found = root(lambda x, end=end: (x - end, jnp.ones_like(x), EXACT), 0.0, 1.0, 2.0)
        np.testing.assert_allclose(found, end, rtol=0, atol=1e-14)


def test_values_beyond_the_floats_are_bisected():
    found = root(lambda x: (jnp.exp(x**3) - 2.0, 3 * x**2 * jnp.exp(x**3), EXACT), 0.0, 80.0, 100.0)
    np.testing.assert_allclose(found, np.log(2.0) ** (1 / 3), rtol=1e-14)


def test_it_stops_where_the_value_is_uncertain():
    looked = []

    def function(x):
        jax.debug.callback(looked.append, x)
        return x + 1e-9 * jnp.cos(1e12 * x), jnp.ones_like(x), jnp.array(2e-9)

    assert abs(root(function, -1.0, 1.0, 1.0)) < 4e-9
    jax.effects_barrier()
    assert len(looked) <= 4
