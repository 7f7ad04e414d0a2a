"""Tsallis and Burg: cases that have a closed form, and their limits."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apo_sim.geometry import KL, Burg, Tsallis

PULLS = np.array([0.1, 1.0, 100.0])


@functools.cache
def _compiled(geometry):
    return jax.jit(geometry.prox)


def step(geometry, pull, arms=2):
    """From the uniform policy, with one arm that is better than all others."""
    even = jnp.full(arms, -jnp.log(float(arms)))
    reward = jnp.zeros(arms).at[0].set(pull)
    return np.exp(_compiled(geometry)(even, reward, 1.0))


@pytest.mark.parametrize("pull", PULLS)
def test_burgs_step_between_two_arms_is_a_quadratic(pull):
    """1/p_2 - 1/p_1 = pull and p_1 + p_2 = 1."""
    better = 0.5 + 0.5 * (np.sqrt(4 + pull**2) - 2) / pull
    np.testing.assert_allclose(step(Burg(), pull), [better, 1 - better], rtol=1e-13)


@pytest.mark.parametrize("pull", PULLS)
@pytest.mark.parametrize("q", [0.2, 0.5, 0.9])
def test_tsallis_step_is_flat_in_its_coordinates(q, pull):
    """(p_1^(q-1) - p_2^(q-1)) / (q - 1) = pull, whatever the other arms are."""
    policy = step(Tsallis(q), pull, arms=6)
    slopes = (policy ** (q - 1) - 1) / (q - 1)
    np.testing.assert_allclose(slopes[0] - slopes[1:], pull, rtol=1e-12)


def test_tsallis_lies_between_burg_and_kl():
    for pull in PULLS:
        assert step(Burg(), pull)[1] > step(Tsallis(0.5), pull)[1] > step(KL(), pull)[1]
        np.testing.assert_allclose(step(Tsallis(1e-9), pull), step(Burg(), pull), rtol=1e-6)
        np.testing.assert_allclose(step(Tsallis(1 - 1e-9), pull), step(KL(), pull), rtol=1e-5)


@pytest.mark.parametrize(("q", "power"), [(0.0, 1.0), (0.25, 4 / 3), (0.5, 2.0), (0.75, 4.0)])
def test_lost_arms_decay_as_a_power_of_the_pull(q, power):
    """B3: of the order of -1 / (1 - q)."""
    geometry = Tsallis(q) if q else Burg()
    near, far = (step(geometry, pull)[1] for pull in (1e5, 1e7))
    np.testing.assert_allclose(np.log(near / far) / np.log(100.0), power, rtol=1e-3)


def test_orders_are_part_of_the_program():
    given: Any = np.float32(0.5)
    assert Tsallis(given) == Tsallis(0.5)
    assert isinstance(Tsallis(given).q, float)
