"""Keys made without a loop: the random numbers of `jax.random`, bit by bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apo_sim._threefry import unrolled

NUMBERS = (0, 1, 5, 2**31 - 1)


@given(seed=st.integers(0, 2**32 - 1))
def test_numbers_are_those_of_jax(seed):
    key = jax.random.key(seed)
    for shape in ((), (3, 4)):
        for dtype in (jnp.float32, jnp.float64):
            found = jax.random.uniform(unrolled(key), shape, dtype)
            np.testing.assert_array_equal(found, jax.random.uniform(key, shape, dtype))


@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_bits_of_many_keys_at_once(width):
    keys = jax.random.split(jax.random.key(1), 3)
    bits = jax.vmap(lambda key: jax.random.bits(key, (5,), f"uint{width}"))
    np.testing.assert_array_equal(jax.jit(bits)(unrolled(keys)), bits(keys))


def test_keys_made_of_keys():
    key = jax.random.key(2)

    def made(key):
        folded = jax.vmap(lambda number: jax.random.fold_in(key, number))(jnp.array(NUMBERS))
        return [jax.random.key_data(part) for part in (folded, jax.random.split(key, (2, 3)))]

    for found, expected in zip(made(unrolled(key)), made(key), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_seed_gives_the_same_key():
    impl = jax.random.key_impl(unrolled(jax.random.key(0)))
    for seed in NUMBERS:
        found, expected = jax.random.key(seed, impl=impl), jax.random.key(seed)
        np.testing.assert_array_equal(jax.random.key_data(found), jax.random.key_data(expected))


def test_other_generators_are_left_alone():
    key = jax.random.key(0, impl="rbg")
    assert unrolled(key) is key
    own = unrolled(jax.random.key(0))
    assert unrolled(own) is own


def test_keys_are_left_alone_where_numbers_are_made_in_another_way():
    key = jax.random.key(0)
    with jax.threefry_partitionable(False):
        assert unrolled(key) is key
