"""Counts from their exact binomial and multinomial laws, at a cost that does not depend on them.

A count is a floating-point number: in double precision every integer up to 2^53 is exact.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

# Up to this mean a binomial is drawn by inversion, above it by rejection.
_SMALL_MEAN = 60.0
# Inversion looks at this many outcomes at a time, and at no more than the limit: a mean of 60 is
# exceeded by 196 with a probability below 1e-60.
_BLOCK = 8
_LIMIT = 256
# Random keys set aside for the attempts of one stream, of which most succeed.
_ATTEMPTS = 2**16
# So many levels of the tree are drawn at its full width, those above at the width of their last:
# a narrower width for more of them would waste less on empty nodes and compile longer.
_WIDE_LEVELS = 2

Counts = Float[Array, "*shape"]


def multinomial(
    key: Key[Array, ""], total: Float[Array, ""], probs: Float[Array, " cells"]
) -> Float[Array, " cells"]:
    """Throw `total` balls into cells.

    The cells are the leaves of a binary tree. From the root down, each node draws how many of
    its balls go left; all nodes of a level draw at once.

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
    cells = probs.shape[0]
    depth = max((cells - 1).bit_length(), 1)
    pairs = [jnp.pad(probs, (0, 2**depth - cells)).reshape(-1, 2)]
    for _ in range(depth - 1):
        pairs.append(pairs[-1].sum(axis=1).reshape(-1, 2))
    pairs.reverse()
    counts = total.astype(probs.dtype)[None]
    key, for_inversion = jax.random.split(key)
    uniform = jax.random.uniform(for_inversion, (2**depth - 1,), probs.dtype)
    wide = max(depth - _WIDE_LEVELS, 0)
    for levels in (range(wide), range(wide, depth)):
        counts = _descend(key, counts, levels, [pairs[level] for level in levels], uniform)
    return counts[:cells]


def _descend(key: Any, counts: Array, levels: range, pairs: list[Array], uniform: Array) -> Array:
    """Some levels of the tree, in one loop as wide as the last: that keeps the program small."""
    if not levels:
        return counts
    width = len(pairs[-1])

    def padded(array):
        return jnp.pad(array, [(0, width - len(array))] + [(0, 0)] * (array.ndim - 1))

    # Above a level of 2^k nodes are 2^k - 1 others.
    own = jnp.stack([padded(uniform[2**level - 1 : 2 ** (level + 1) - 1]) for level in levels])
    weights = jnp.stack([padded(pair) for pair in pairs])

    def split(counts, inputs):
        level, uniform, pair = inputs
        parents = counts[:width]
        left = _binomial(key, level, uniform, parents, pair[:, 0], pair[:, 1])
        return jnp.stack([left, parents - left], axis=1).reshape(-1), None

    start = jnp.pad(counts, (0, 2 * width - len(counts)))
    return jax.lax.scan(split, start, (jnp.asarray(levels), own, weights))[0]


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
    return _binomial(key, jnp.zeros((), int), uniform, count, success, failure)


def _binomial(
    key: Any,
    stream: Int[Array, ""],
    uniform: Counts,
    count: Counts,
    success: Counts,
    failure: Counts,
) -> Counts:
    """Invert with the given uniform numbers; draw those of rejection from a stream of the key."""
    either = success + failure
    share = jnp.minimum(success, failure) / jnp.where(either > 0, either, 1.0)
    small = count * share <= _SMALL_MEAN
    # What is not finite has no law; rejection would look for it forever.
    large = ~small & jnp.isfinite(count * share)
    rarer = jnp.where(
        small,
        _invert(uniform, jnp.where(small, count, 0.0), share),
        _reject(key, stream, count, share, large),
    )
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
            passed = passed + (uniform >= cumulative)
            outcome = first + step
            fewer = jnp.maximum(count - outcome, 0.0) * odds
            probability = probability * fewer * (1.0 / (outcome + 1.0))
            cumulative = cumulative + probability
        return first + _BLOCK, probability, cumulative, passed

    none = jnp.exp(count * jnp.log1p(-share))
    first = jnp.zeros((), count.dtype)
    passed = jax.lax.while_loop(unfinished, look, (first, none, none, jnp.zeros_like(count)))[3]
    return jnp.minimum(passed, count)


def _reject(
    key: Any, stream: Int[Array, ""], count: Counts, share: Counts, wanted: Bool[Array, "*shape"]
) -> Counts:
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
        pair = jax.random.uniform(
            jax.random.fold_in(key, _ATTEMPTS * stream + attempt), (2, *count.shape), count.dtype
        )
        offset, height = pair[0] - 0.5, pair[1]
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
