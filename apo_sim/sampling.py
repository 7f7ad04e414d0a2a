"""Counts from their exact binomial and multinomial laws, at a cost that does not depend on them.

A count is a floating-point number: in double precision every integer up to 2^53 is exact.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from apo_sim.branches import if_any, in_one_row

# Up to this mean a binomial is drawn by inversion, above it by rejection.
_SMALL_MEAN = 60.0
# Inversion looks at this many outcomes at a time, and at no more than the limit: a mean of 60 is
# exceeded by 196 with a probability below 1e-60.
_BLOCK = 8
_LIMIT = 256
# Random keys set aside for the attempts of one cell, of which most succeed.
_ATTEMPTS = 2**16
# So few cells make one row.
_ONE_ROW = 32
# Bytes that one array of the cells of a block may have, to stay in the cache, and its most lanes.
_CACHE = 2**17
_MOST_LANES = 256

Counts = Float[Array, "*shape"]
# Two uniform numbers for every element, those of an attempt: shape (2, *shape).
Pair = Callable[[Int[Array, ""]], Float[Array, "two *shape"]]


def multinomial(
    key: Key[Array, ""], total: Float[Array, ""], probs: Float[Array, " cells"]
) -> Float[Array, " cells"]:
    """Throw `total` balls into cells.

    The cells are laid out in about as many rows as columns. Each row gets its share of the balls,
    and hands them on from cell to cell: what a cell takes is binomial, given what those before it
    have left. All rows do so at once.

    Args:
        key: a `jax.random.key`.
        total: the number of balls, a whole number up to 2^53.
        probs: probabilities of the cells, up to a common factor; not all zero.

    Returns:
        How many balls each cell got. The result is a function of the key and of the arguments
        alone, the same inside `jax.vmap` as outside.

    Example:
        >>> counts = multinomial(jax.random.key(0), jnp.array(100.0), jnp.array([0.7, 0.3, 0.0]))
        >>> float(counts.sum()), float(counts[2])
        (100.0, 0.0)
    """
    total = total.astype(probs.dtype)
    return _side_by_side(key[None], total[None], probs[None])[0]


def _in_blocks(keys: Array, totals: Array, probs: Array) -> Array:
    """The counts of every lane, so many lanes at a time that they stay in the cache."""
    lanes, cells = probs.shape
    block = min(max(_CACHE // (probs.dtype.itemsize * cells), 1), _MOST_LANES, lanes)
    blocks = -(-lanes // block)
    # The last lane is repeated to fill up its block.
    place = jnp.minimum(jnp.arange(blocks * block), lanes - 1).reshape(blocks, block)
    found = jax.lax.map(lambda at: _throw(keys[at], totals[at], probs[at]), place)
    return found.reshape(-1, cells)[:lanes]


# Under jax.vmap all lanes make one row, however they are nested: a loop over some of them then
# ends when all are done, and nothing has to be kept apart for those that were done before.
_side_by_side = jax.custom_batching.custom_vmap(_in_blocks)


@_side_by_side.def_vmap
def _join(axis_size: int, in_batched: Any, *arrays: Array) -> tuple[Array, bool]:
    found = _side_by_side(*in_one_row(axis_size, in_batched, arrays))
    return found.reshape(axis_size, -1, found.shape[-1]), True


def _throw(keys: Array, totals: Array, probs: Array) -> Array:
    """Lanes first: one share for each row, then all rows at once."""
    lanes, cells = probs.shape
    rows = 1 if cells <= _ONE_ROW else math.isqrt(cells - 1) + 1
    columns = -(-cells // rows)
    weights = jnp.pad(probs, [(0, 0), (0, rows * columns - cells)]).reshape(lanes, rows, columns)
    of_rows, of_cells = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
    shares = totals[:, None] if rows == 1 else _throw(of_rows, totals, weights.sum(axis=2))
    return _along(of_cells, shares, weights).reshape(lanes, -1)[:, :cells]


def _along(keys: Array, balls: Array, weights: Array) -> Array:
    """Hand the balls of every row on from cell to cell, all rows of all lanes at once."""
    lanes, rows, cells = weights.shape
    of_inversion, of_rejection = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)

    def uniform(keys: Array, number: int) -> Array:
        one = lambda key: jax.random.uniform(key, (number, rows), weights.dtype)  # noqa: E731
        return jnp.moveaxis(jax.vmap(one)(keys), 1, 0).reshape(number, lanes * rows)

    def take(left, inputs):
        cell, uniform_of_cell, weight, rest = inputs

        def pair(attempt):
            number = _ATTEMPTS * cell + attempt
            return uniform(jax.vmap(jax.random.fold_in, (0, None))(of_rejection, number), 2)

        taken = _binomial(pair, uniform_of_cell, left, weight, rest)
        return left - taken, taken

    weights = jnp.moveaxis(weights, 2, 0).reshape(cells, lanes * rows)
    # Summed from the end, so that what is left for the last cells keeps its digits.
    add = lambda rest, weight: (rest + weight, rest)  # noqa: E731
    rest = jax.lax.scan(add, jnp.zeros_like(weights[0]), weights, reverse=True)[1]
    inputs = jnp.arange(cells - 1), uniform(of_inversion, cells - 1), weights[:-1], rest[:-1]
    last, taken = jax.lax.scan(take, balls.reshape(-1), inputs)
    counts = jnp.concatenate([taken, last[None]]).reshape(cells, lanes, rows)
    return jnp.moveaxis(counts, 0, 2)


def binomial(key: Key[Array, ""], count: Counts, success: Counts, failure: Counts) -> Counts:
    """Number of successes among `count` trials, element by element.

    Args:
        key: a `jax.random.key`.
        count: how many trials, whole numbers.
        success: weight of a success, at least 0.
        failure: weight of a failure; the two need not sum to one, and neither is computed from
            the other, so that a tiny one keeps its digits.

    Returns:
        Successes; 0 where both weights vanish.

    Source: inversion for small means, else the rejection method BTRS of Hörmann (1993) with the
    saddle-point form of the probabilities of Loader (2000), which stays exact for 1e12 trials.

    Example:
        >>> n = jnp.array([10.0, 10.0, 0.0])
        >>> binomial(jax.random.key(0), n, jnp.array([1.0, 0.0, 1.0]), jnp.zeros(3)).tolist()
        [10.0, 0.0, 0.0]
    """
    key, for_inversion = jax.random.split(key)
    uniform = jax.random.uniform(for_inversion, count.shape, count.dtype)

    def pair(attempt):
        return jax.random.uniform(jax.random.fold_in(key, attempt), (2, *count.shape), count.dtype)

    return _binomial(pair, uniform, count, success, failure)


def _binomial(
    pair: Pair, uniform: Counts, count: Counts, success: Counts, failure: Counts
) -> Counts:
    """Invert with the given uniform numbers; reject with pairs of others, one an attempt."""
    either = success + failure
    share = jnp.minimum(success, failure) / jnp.where(either > 0, either, 1.0)
    small = count * share <= _SMALL_MEAN
    # What is not finite has no law; rejection would look for it forever.
    large = ~small & jnp.isfinite(count * share)
    few = _invert(uniform, jnp.where(small, count, 0.0), share)
    many = if_any(large, lambda: _reject(pair, count, share, large), jnp.zeros_like(few))
    rarer = jnp.where(small, few, many)
    drawn = jnp.where(success <= failure, rarer, count - rarer)
    known = jnp.where(small | large, drawn, jnp.nan)
    return jnp.where(either > 0, known, jnp.where(either <= 0, 0.0, jnp.nan))


def _invert(uniform: Counts, count: Counts, share: Counts) -> Counts:
    """Count the outcomes whose cumulative probability a uniform number exceeds."""
    odds = share / (1.0 - share)

    def unfinished(state):
        first, probability, cumulative, _ = state
        return (first < _LIMIT) & jnp.any((uniform >= cumulative) & (probability > 0))

    def look(state):
        first, probability, cumulative, passed = state
        for step in range(_BLOCK):
            passed = passed + ((uniform >= cumulative) & (probability > 0))
            outcome = first + step
            fewer = jnp.maximum(count - outcome, 0.0) * odds
            probability = probability * fewer * (1.0 / (outcome + 1.0))
            cumulative = cumulative + probability
        return first + _BLOCK, probability, cumulative, passed

    none = jnp.exp(count * jnp.log1p(-share))
    first = jnp.zeros((), count.dtype)
    passed = jax.lax.while_loop(unfinished, look, (first, none, none, jnp.zeros_like(count)))[3]
    return jnp.minimum(passed, count)


def _reject(pair: Pair, count: Counts, share: Counts, wanted: Bool[Array, "*shape"]) -> Counts:
    """Transformed rejection: a fast way to nearly the right law, and a test that makes it right."""
    # Placeholders where nothing is wanted keep the arithmetic finite.
    count = jnp.where(wanted, count, 100.0)
    share = jnp.where(wanted, share, 0.5)
    mean, other_mean = count * share, count * (1.0 - share)
    deviation = jnp.sqrt(mean * (1.0 - share))
    width = 1.15 + 2.53 * deviation
    slant = -0.0873 + 0.0248 * width + 0.01 * share
    sure = 0.92 - 4.2 / width
    scale = (2.83 + 5.1 / width) * deviation

    def log_density(outcome):
        rest = count - outcome
        valid = (outcome >= 1) & (rest >= 1)
        outcome, rest = jnp.where(valid, outcome, mean), jnp.where(valid, rest, other_mean)
        value = -_deviance(outcome, mean) - _deviance(rest, other_mean)
        value -= 0.5 * jnp.log(outcome / mean * (rest / other_mean))
        value -= _stirling_error(outcome) + _stirling_error(rest)
        return jnp.where(valid, value, -jnp.inf)

    highest = log_density(jnp.floor((count + 1.0) * share))

    def unfinished(state):
        return jnp.any(~state[1]) & (state[2] < _ATTEMPTS)

    def draw(state):
        outcome, accepted, attempt = state
        first, height = pair(attempt)
        offset = first - 0.5
        edge = 0.5 - jnp.abs(offset)
        new = jnp.floor((2.0 * slant / edge + width) * offset + mean + 0.5)
        level = jnp.log(height * scale / (slant / (edge * edge) + width))
        fits = ((edge >= 0.07) & (height <= sure)) | (level <= log_density(new) - highest)
        return jnp.where(accepted, outcome, new), accepted | fits, attempt + 1

    start: tuple[Any, Any, Int[Array, ""]] = (jnp.zeros_like(count), ~wanted, jnp.zeros((), int))
    return jax.lax.while_loop(unfinished, draw, start)[0]


def _deviance(outcome: Counts, mean: Counts) -> Counts:
    """outcome log(outcome / mean) + mean - outcome."""
    excess = (outcome - mean) / mean
    return mean * ((1.0 + excess) * jnp.log1p(excess) - excess)


def _stirling_error(number: Counts) -> Counts:
    """log number! minus Stirling's formula."""
    inverse = 1.0 / number
    square = inverse * inverse
    return inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))
