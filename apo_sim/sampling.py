"""Counts from their exact binomial and multinomial laws, at a cost that does not depend on them.

A count is a floating-point number: in double precision every integer up to 2^53 is exact.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from numpy.polynomial import Chebyshev, Polynomial

from apo_sim._threefry import unrolled
from apo_sim.branches import if_any, in_one_row

# Up to this mean a binomial is drawn by inversion, above it by rejection.
_SMALL_MEAN = 60.0
# Inversion looks at so many outcomes first, and then at a few at a time, up to the limit: a mean of
# 60 is exceeded by 196 with a probability below 1e-60.
_FIRST = 16
_BLOCK = 8
_LIMIT = 256
# artanh(z) / z as a polynomial of z^2, for z up to 1/3.
_ARTANH = (
    Chebyshev.interpolate(lambda w: np.arctanh(np.sqrt(w)) / np.sqrt(w), 10, domain=[0.0, 1 / 9])
    .convert(kind=Polynomial)
    .coef.tolist()
)
# More attempts than any element needs, of which most succeed.
_ATTEMPTS = 2**16
# So many of the elements whose outcome is open are gathered at a time.
_GATHERED = 16
# Offsets so close to zero are in the middle of the hat, all of whose low points are accepted.
_MIDDLE = 0.485
# Nearly the normal quantile at 1/2 + u is u (a + b / (c - u^2) + d / (e - u^2)); fitted for the
# largest part of sure points that a wide law can have.
_STRAIGHT = 1.715
_NEAR_POLE, _NEAR_WEIGHT = 0.25055, 0.0153
_FAR_POLE, _FAR_WEIGHT = 0.3652, 0.2863
# So few cells make one row.
_ONE_ROW = 32
# So many rows are handed out to at a time, enough to hide what an operation costs whatever its
# size, and few enough to stay in the cache.
_ROWS = 2**11

Counts = Float[Array, "*shape"]
Places = Int[Array, " places"]
# Two uniform numbers, shape (2, places), for each of some places and how many attempts it has made;
# a place's are the same whatever the others are.
Again = Callable[[Places, Places], Array]


class Hat(NamedTuple):
    """The hat of transformed rejection, of every element.

    A point under it has an offset, from -1/2 to 1/2, and a height, from 0 to 1. The offset proposes
    nearly a quantile of the law, so that nearly all points are accepted; up to some height all of
    the middle are. A uniform number below the part that these are of all says which of them a point
    is, and one above it that it is none of them.

    Attributes:
        middle: outcome of the offset zero, before it is rounded.
        width: outcomes for a standard deviation, a little more than there are, for rounding.
        skew: how much more of them there are for every deviation upwards.
        sure: height up to which all points of the middle are accepted.
        top: likelihood, relative to the likeliest outcome's, that the height 1 stands for where an
            outcome is as wide as the offsets that propose it.
    """

    middle: Counts
    width: Counts
    skew: Counts
    sure: Counts
    top: Counts

    def outcome(self, offset: Counts) -> Counts:
        """The outcome that a point with this offset proposes, within sixteen deviations."""
        normal, _ = _nearly_normal(offset)
        return jnp.floor((self.skew * normal + self.width) * normal + self.middle + 0.5)

    def level(self, offset: Counts, height: Counts) -> Counts:
        """The likelihood that an outcome needs, relative to the likeliest one's."""
        normal, slope = _nearly_normal(offset)
        return height * self.top / ((2.0 * self.skew * normal + self.width) * slope)

    def is_sure(self, first: Counts) -> Bool[Array, "*shape"]:
        """Whether a uniform number stands for a point that needs no test."""
        return first < 2.0 * _MIDDLE * self.sure

    def sure_outcome(self, first: Counts) -> Counts:
        """The outcome of that point."""
        return self.outcome(first / self.sure - _MIDDLE)


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
    return multinomials(key[None], total[None], probs[None])[0]


def multinomials(
    keys: Key[Array, " draws"], totals: Float[Array, " draws"], probs: Float[Array, "draws cells"]
) -> Float[Array, "draws cells"]:
    """What `jax.vmap` makes of `multinomial`, traced once.

    Args:
        keys: one for each draw.
        totals: the numbers of balls.
        probs: probabilities of the cells of each draw.

    Returns:
        How many balls each cell got in each draw.

    Example:
        >>> keys, totals = jax.random.split(jax.random.key(0)), jnp.array([100.0, 3.0])
        >>> multinomials(keys, totals, jnp.array([[0.7, 0.3], [0.5, 0.5]])).sum(axis=1).tolist()
        [100.0, 3.0]
    """
    return _side_by_side(keys, totals.astype(probs.dtype), probs)


def _in_blocks(keys: Array, totals: Array, probs: Array) -> Array:
    """The counts of every lane, so many lanes at a time that they stay in the cache."""
    lanes, cells = probs.shape
    keys = unrolled(keys)
    blocks = -(-lanes // max(_ROWS // _rows(cells), 1))
    # As even as they can be, for the least filling.
    block = -(-lanes // blocks)
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


def _rows(cells: int) -> int:
    return 1 if cells <= _ONE_ROW else math.isqrt(cells - 1) + 1


def _throw(keys: Array, totals: Array, probs: Array) -> Array:
    """Lanes first: one share for each row, then all rows at once."""
    lanes, cells = probs.shape
    rows = _rows(cells)
    columns = -(-cells // rows)
    weights = jnp.pad(probs, [(0, 0), (0, rows * columns - cells)]).reshape(lanes, rows, columns)
    of_rows, of_cells = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
    if lanes == 1 and _rows(rows) == 1 < rows == columns:
        counts = _in_two_turns(of_rows, of_cells, totals, weights)
    else:
        shares = totals[:, None] if rows == 1 else _throw(of_rows, totals, weights.sum(axis=2))
        counts = _along(of_cells, shares, weights)
    return counts.reshape(lanes, -1)[:, :cells]


def _in_two_turns(of_rows: Array, of_cells: Array, total: Array, weights: Array) -> Array:
    """The same counts of one lane, from one program for the shares of its rows and for its cells.

    Half as much is compiled. In the first turn all rows but one are idle, which costs little where
    there are few.
    """
    _, of_key = jnp.moveaxis(jax.vmap(jax.random.split)(of_rows), 1, 0)
    keys = jnp.stack([of_key, of_cells])
    is_first = jnp.arange(len(weights[0])) == 0
    of_shares = jnp.where(is_first[:, None], weights.sum(axis=2)[:, None], 0.0)

    def turn(number, counts):
        alone = number == 0
        now = jnp.where(alone, of_shares, weights)
        return _along(keys[number], counts[:, 0], now, alone)

    start = jnp.zeros_like(weights).at[0, 0, 0].set(total[0])
    return jax.lax.fori_loop(0, 2, turn, start)


def _along(
    keys: Array, balls: Array, weights: Array, alone: bool | Bool[Array, ""] = False
) -> Array:
    """Hand the balls of every row on from cell to cell, all rows of all lanes at once.

    Args:
        keys: one for each lane.
        balls: of every row, shape (lanes, rows).
        weights: of its cells, shape (lanes, rows, cells).
        alone: whether the first row draws what it would draw if there were no others.
    """
    lanes, rows, cells = weights.shape
    of_inversion, of_rejection = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)

    # How many numbers there are for each cell.
    abreast = jnp.where(alone, 1, rows)

    def uniform(keys: Array, number: int) -> Array:
        one = lambda key: jax.random.uniform(key, (number, rows), weights.dtype)  # noqa: E731
        numbers = jax.vmap(one)(keys)
        if alone is not False:
            of_first = jnp.where(alone, numbers.reshape(lanes, -1)[:, :number], numbers[..., 0])
            numbers = numbers.at[..., 0].set(of_first)
        return jnp.moveaxis(numbers, 1, 0).reshape(number, lanes * rows)

    def take(left, inputs):
        cell, uniform_of_cell, weight, rest = inputs

        def again(at, attempts):
            keys = of_rejection[at // rows]
            return _two_each(keys, (attempts * cells + cell) * abreast + at % rows, weights.dtype)

        taken = _binomial(again, uniform_of_cell, left, weight, rest)
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

    Source: inversion for small means, else transformed rejection as Hörmann (1993) does it, under a
    hat of ours, with ratios of probabilities in the manner of Loader (2000), which stay exact for
    1e12 trials.

    Example:
        >>> n = jnp.array([10.0, 10.0, 0.0])
        >>> binomial(jax.random.key(0), n, jnp.array([1.0, 0.0, 1.0]), jnp.zeros(3)).tolist()
        [10.0, 0.0, 0.0]
    """
    of_inversion, of_rejection = jax.random.split(key)
    uniform = jax.random.uniform(of_inversion, (count.size,), count.dtype)

    def again(at, attempts):
        keys = jnp.broadcast_to(of_rejection, at.shape)
        return _two_each(keys, attempts * count.size + at, count.dtype)

    flat = (jnp.ravel(array) for array in (count, success, failure))
    return _binomial(again, uniform, *flat).reshape(count.shape)


def _two_each(keys: Array, numbers: Places, dtype: Any) -> Array:
    """Two uniform numbers for every key, with a number folded into it."""

    def one(key, number):
        return jax.random.uniform(jax.random.fold_in(key, number), (2,), dtype)

    return jax.vmap(one)(keys, numbers).T


def _binomial(
    again: Again, uniform: Counts, count: Counts, success: Counts, failure: Counts
) -> Counts:
    """Invert with the given uniform numbers; reject with others."""
    either = success + failure
    share = jnp.minimum(success, failure) / jnp.where(either > 0, either, 1.0)
    small = count * share <= _SMALL_MEAN
    # What is not finite has no law; rejection would look for it forever.
    large = ~small & jnp.isfinite(count * share)
    none = jnp.zeros_like(count)
    # Arrays that are closed over: to carry them into the branches costs more than what the compiler
    # does of these before it knows whether they are wanted.
    few = if_any(small, lambda: _invert(uniform, jnp.where(small, count, 0.0), share), none)
    many = if_any(large, lambda: _reject(again, uniform, count, share, large), none)
    rarer = jnp.where(small, few, many)
    drawn = jnp.where(success <= failure, rarer, count - rarer)
    known = jnp.where(small | large, drawn, jnp.nan)
    return jnp.where(either > 0, known, jnp.where(either <= 0, 0.0, jnp.nan))


def _invert(uniform: Counts, count: Counts, share: Counts) -> Counts:
    """Count the outcomes whose cumulative probability a uniform number exceeds."""
    none = jnp.exp(count * _log1p(-share))
    odds = share / (1.0 - share)
    all_odds = (count + 1.0) * odds

    # That of the next outcome is (count - outcome) / (outcome + 1) odds times as large: zero from
    # the count on, but for rounding.
    def look(first, state, outcomes):
        probability, cumulative, passed = state
        inverse = 1.0 / (first + 1.0 + jnp.arange(outcomes, dtype=count.dtype))
        for outcome in range(outcomes):
            passed = passed + jnp.where(uniform >= cumulative, 1.0, 0.0)
            probability = probability * (all_odds * inverse[outcome] - odds)
            cumulative = cumulative + probability
        return probability, cumulative, passed

    start = (none, none, jnp.zeros_like(count))

    # One result, and therefore one pass over the numbers, tells of most of them.
    few = look(0.0, start, _FIRST)[2]

    def unfinished(state):
        first, (_, cumulative, _) = state
        return (first < _LIMIT) & jnp.any(uniform >= cumulative)

    def further(state):
        first, seen = state
        return first + _BLOCK, look(first, seen, _BLOCK)

    def to_the_end():
        first = jnp.zeros((), count.dtype)
        return jax.lax.while_loop(unfinished, further, (first, start))[1][2]

    # Rounded otherwise in a loop: what was counted before must not depend on who needs one.
    passed = jnp.where(few < _FIRST, few, if_any(few == _FIRST, to_the_end, few))
    return jnp.minimum(passed, count)


def _log1p(excess: Counts) -> Counts:
    """log(1 + excess), within a few roundings from -1/2 to 1.

    A polynomial is worked out for several elements at once, which the processor's library does not
    do for logarithms, nor the compiler for anything that is fused with one.
    """
    # log(1 + x) = 2 artanh(x / (2 + x))
    ratio = excess / (2.0 + excess)
    square = ratio * ratio
    series = jnp.full_like(excess, _ARTANH[-1])
    for term in _ARTANH[-2::-1]:
        series = series * square + term
    return 2.0 * ratio * series


def _reject(
    again: Again, first: Counts, count: Counts, share: Counts, wanted: Bool[Array, "*shape"]
) -> Counts:
    """Transformed rejection: a fast way to nearly the right law, and a test that makes it right.

    One uniform number is enough for the points that need no test, nineteen in twenty of a wide law.
    The other elements are gathered, so that tests are made for few.
    """
    # Placeholders where nothing is wanted keep the arithmetic finite.
    count = jnp.where(wanted, count, 120.0)
    share = jnp.where(wanted, share, 0.5)
    hat = _hat(count, share)
    outcome, is_open = hat.sure_outcome(first), wanted & ~hat.is_sure(first)
    # Found by their numbers, and looked up by them: to sort or to scatter takes far longer. Beyond
    # the last number is the last element, whose outcome nobody looks up then.
    number = jnp.cumsum(is_open.astype(jnp.int32))
    few = min(_GATHERED, count.size)

    def settle_few(state):
        found, done = state
        numbers = done + jnp.arange(1, few + 1, dtype=jnp.int32)
        at = jnp.searchsorted(number, numbers, method="scan_unrolled")
        exist = numbers <= number[-1]
        new = _settle(partial(again, at), first[at], count[at], share[at], exist)
        return jax.lax.dynamic_update_slice(found, new, (done,)), done + few

    nothing = jnp.zeros(-(-count.size // few) * few, count.dtype)
    start = nothing, jnp.zeros((), jnp.int32)
    found, _ = jax.lax.while_loop(lambda state: state[1] < number[-1], settle_few, start)
    return jnp.where(is_open, found[number - 1], outcome)


def _settle(
    again: Callable[[Places], Array],
    first: Counts,
    count: Counts,
    share: Counts,
    wanted: Bool[Array, " places"],
) -> Counts:
    """Test points that are not sure, and new ones after those that fail, until all have passed."""

    def unfinished(state):
        *_, attempts = state
        return jnp.any((attempts > 0) & (attempts < _ATTEMPTS))

    def test(state):
        # Behind the barrier nothing is done before the loop, whose first turn is mostly its last.
        (outcome, first, attempts), *law = jax.lax.optimization_barrier((state, count, share))
        hat = _hat(*law)
        second, next_first = again(attempts)
        tested, passes = _test(hat, first, second, *law)
        # A new point in the same pass, which mostly needs no test.
        found = jnp.where(passes, tested, hat.sure_outcome(next_first))
        pending = attempts > 0
        still = pending & ~passes & ~hat.is_sure(next_first)
        return jnp.where(pending, found, outcome), next_first, jnp.where(still, attempts + 1, 0)

    start = jnp.zeros_like(first), first, jnp.where(wanted, 1, 0)
    return jax.lax.while_loop(unfinished, test, start)[0]


def _hat(count: Counts, share: Counts) -> Hat:
    """The expansion of Cornish and Fisher to the skewness, under bounds that hold from 60 on.

    The likelihood relative to the proposal's is nowhere above the top, and nowhere in the middle
    below what is sure. Both have been looked for over means and shares, not proved: a test does so.
    """
    mean = count * share
    deviation = jnp.sqrt(mean * (1.0 - share))
    skew = (1.0 - 2.0 * share) / 6.0
    inverse = 1.0 / deviation
    bound = 1.0225 + 0.66 * inverse
    sure = (1.0 - 1.9 * inverse) / bound
    top = bound * math.sqrt(2.0 * math.pi) * deviation
    return Hat(mean - skew, deviation + 0.15, skew, sure, top)


def _nearly_normal(offset: Counts) -> tuple[Counts, Counts]:
    """Nearly the quantile of a standard normal law at 1/2 + offset, and its slope."""
    square = offset * offset
    near = 1.0 / (_NEAR_POLE - square)
    far = 1.0 / (_FAR_POLE - square)
    ratio = _STRAIGHT + _NEAR_WEIGHT * near + _FAR_WEIGHT * far
    bend = _NEAR_WEIGHT * near * near + _FAR_WEIGHT * far * far
    return offset * ratio, ratio + 2.0 * square * bend


def _test(hat: Hat, first: Counts, second: Counts, count: Counts, share: Counts):
    """The outcome of a point that is not sure, and whether it is accepted."""
    # What is left of the low points is at the ends: the first number tells how far from which.
    low = first < hat.sure
    beside = first / hat.sure - _MIDDLE - 0.5
    offset = jnp.where(low, jnp.sign(beside) * 0.5 - beside, second - 0.5)
    height = jnp.where(low, second * hat.sure, first)
    outcome = hat.outcome(offset)
    # Strictly below, as both vanish where the height does at what is no outcome.
    return outcome, hat.level(offset, height) < jnp.exp(_log_ratio(outcome, count, share))


def _log_ratio(outcome: Counts, count: Counts, share: Counts) -> Counts:
    """log of how likely an outcome is, relative to the likeliest one.

    Each factorial is Stirling's formula at the likeliest outcome, and what it changes from there.
    """
    mode = jnp.floor((count + 1.0) * share)
    rest = count - mode
    valid = (outcome >= 1) & (outcome <= count - 1.0)
    step = jnp.where(valid, outcome - mode, 0.0)
    # log of share rest / ((1 - share) mode)
    tilt = step * _log1p((count * share - mode) / ((1.0 - share) * mode))
    changes = _log_factorial_change(jnp.stack([mode, rest]), jnp.stack([step, -step]))
    value = tilt - changes[0] - changes[1]
    return jnp.where(valid, value, -jnp.inf)


def _log_factorial_change(number: Counts, step: Counts) -> Counts:
    """log (number + step)! - log number! - step log number."""
    excess = step / number
    # The square root is close enough to 1 wherever an outcome is likely enough to be drawn.
    log = 2.0 * _log1p(excess / (1.0 + jnp.sqrt(1.0 + excess)))
    change = number * ((1.0 + excess) * log - excess) + 0.5 * log
    return change + _stirling_error(number + step) - _stirling_error(number)


def _stirling_error(number: Counts) -> Counts:
    """log number! minus Stirling's formula."""
    inverse = 1.0 / number
    square = inverse * inverse
    return inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))
