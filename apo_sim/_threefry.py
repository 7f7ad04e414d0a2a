"""Keys whose random numbers are those of `jax.random`, made without a loop.

On a processor JAX rolls the rounds of Threefry up into a loop. That compiles sooner, but keeps the
compiler from joining the rounds with what is done to the numbers, and costs most where few numbers
are wanted at a time.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.random import define_prng_impl
from jaxtyping import Array, Key, UInt32

_THREEFRY = "threefry2x32"
# By how many bits the second word is turned in each round.
_TURNS = ((13, 15, 26, 6), (17, 29, 16, 24))
# What the third word of a key is made of.
_PARITY = 0x1BD11BDA

Pair = UInt32[Array, "2"]
Words = UInt32[Array, "*shape"]


def unrolled(keys: Key[Array, "*shape"]) -> Key[Array, "*shape"]:
    """The same keys, whose random numbers are the same and are made without a loop.

    Keys of another generator are returned as they are, as all keys are where
    `jax_threefry_partitionable` is off.

    Source: Salmon, Moraes, Dror and Shaw (2011), in the arrangement of `jax.random`.

    Example:
        >>> key = jax.random.key(0)
        >>> bool(jax.random.uniform(key) == jax.random.uniform(unrolled(key)))
        True
    """
    numbered: bool = jax.config.jax_threefry_partitionable  # pyright: ignore[reportAttributeAccessIssue]
    if jax.random.key_impl(keys) != _THREEFRY or not numbered:
        return keys
    return jax.random.wrap_key_data(jax.random.key_data(keys), impl=_UNROLLED)


def _scramble(key: Pair, first: Words, second: Words) -> tuple[Words, Words]:
    """Twenty rounds."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(_PARITY))
    first, second = first + schedule[0], second + schedule[1]
    for injection in range(1, 6):
        for turn in _TURNS[(injection - 1) % 2]:
            first = first + second
            second = first ^ (second << jnp.uint32(turn) | second >> jnp.uint32(32 - turn))
        first = first + schedule[injection % 3]
        second = second + schedule[(injection + 1) % 3] + jnp.uint32(injection)
    return first, second


def _numbered(key: Pair, shape: tuple[int, ...]) -> tuple[Words, Words]:
    """Two words for every element, scrambled from its number."""
    number = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    return _scramble(key, jnp.zeros_like(number), number)


def _random_bits(key: Pair, width: int, shape: tuple[int, ...]) -> Array:
    first, second = _numbered(key, shape)
    if width == 64:
        return first.astype(jnp.uint64) << jnp.uint64(32) | second.astype(jnp.uint64)
    return (first ^ second).astype(f"uint{width}")


def _split(key: Pair, shape: tuple[int, ...]) -> Array:
    return jnp.stack(_numbered(key, shape), axis=-1)


def _fold_in(key: Pair, number: Any) -> Pair:
    number = jnp.asarray(number, jnp.uint32)
    return jnp.stack(_scramble(key, jnp.zeros_like(number), number))


def _seed(seed: Array) -> Pair:
    return jax.random.key_data(jax.random.key(seed, impl=_THREEFRY))


_UNROLLED = define_prng_impl(
    key_shape=(2,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="threefry2x32_unrolled",
    tag="unrolled",
)
