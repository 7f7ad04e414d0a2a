"""A primal-dual interior-point method for convex losses of score differences.

Many small problems are solved side by side: arrays carry the arms first and the batch last,
because the batch is what the processor's vector lanes run over.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from apo_sim.losses import Loss, derivatives

MAX_STEPS = 100

# A component of linked arms can shift as a whole at no cost. This share of a row's curvature,
# spread over its component, holds it in place without weighing on any difference.
_HOLD = 1e-12
# Newton steps up to this range are trusted at once; longer ones are damped to its logarithm, as
# the generalised self-concordance of the logistic loss allows.
_TRUSTED_RANGE = 2.0


class Comparisons(NamedTuple):
    """How often arms met, row by row, each row divided by a scale of its own.

    Rows keep their own scale because an arm of probability 1e-200 obeys the same optimality
    condition as any other, and would drown in a common one.

    Attributes:
        won: won[i, j] times a scale of i is the weight of i beating j.
        lost: lost[i, j] times the same scale is the weight of j beating i.
    """

    won: Float[Array, "arms arms batch"]
    lost: Float[Array, "arms arms batch"]


class _State(NamedTuple):
    rewards: Float[Array, "arms batch"]
    to_upper: Float[Array, "arms batch"]
    to_lower: Float[Array, "arms batch"]
    upper: Float[Array, "arms batch"]
    lower: Float[Array, "arms batch"]
    length: Float[Array, " batch"]
    residual: Float[Array, " batch"]
    step: Float[Array, ""]


def minimise(
    loss: Loss, data: Comparisons, reward_bound: Float[Array, " batch"]
) -> tuple[Float[Array, "arms batch"], Float[Array, " batch"]]:
    """Minimise sum_ij W_ij loss(r_i - r_j) over rewards with max r - min r <= 2 R.

    The loss sees differences only, so that set may be taken as the box [-R, R]; its two walls
    carry the multipliers of the interior-point method.

    Args:
        loss: convex, a function of the difference of two scores.
        data: the weights W of every problem.
        reward_bound: R of every problem, finite.

    Returns:
        The rewards, known up to a constant in each component of linked arms, and the length of
        the last Newton step (infinite where `MAX_STEPS` were not enough).

    Source: ours; Nocedal and Wright (2006), chapter 19.
    """
    dtype = data.won.dtype
    tolerance = jnp.sqrt(jnp.finfo(dtype).eps)
    arms, _, batch = data.won.shape
    linked = components((data.won + data.lost) > 0)

    def unfinished(state: _State):
        return (state.step < MAX_STEPS) & jnp.any(state.residual > tolerance)

    def improve(state: _State) -> _State:
        done = state.residual <= tolerance
        new = _newton(loss, data, linked, state)
        kept = jax.tree.map(lambda old, new: jnp.where(done, old, new), state[:-1], new[:-1])
        return _State(*kept, step=state.step + 1)

    ones = jnp.ones((arms, batch), dtype)
    wide = reward_bound * ones
    start = _State(
        0 * ones,
        wide,
        wide,
        0.1 * ones,
        0.1 * ones,
        ones[0],
        jnp.inf * ones[0],
        jnp.zeros((), dtype),
    )
    final = jax.lax.while_loop(unfinished, improve, start)
    return final.rewards, final.residual


def components(met: Bool[Array, "arms arms batch"]) -> Bool[Array, "arms arms batch"]:
    """Which arms are linked by a chain of comparisons; every arm is linked with itself.

    Example:
        >>> met = jnp.zeros((3, 3, 1), bool).at[0, 1].set(True).at[1, 0].set(True)
        >>> components(met)[:, :, 0].astype(int).tolist()
        [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    """
    arms, _, batch = met.shape
    names = jnp.broadcast_to(jnp.arange(arms)[:, None], (arms, batch))

    def spread(state):
        names, _ = state
        lowest = jnp.min(jnp.where(met, names[None], arms), axis=1)
        new = jnp.minimum(names, lowest)
        return new, jnp.any(new != names)

    names, _ = jax.lax.while_loop(lambda state: state[1], spread, (names, jnp.array(True)))
    return names[:, None] == names[None]


def _newton(loss, data, linked, state: _State) -> _State:
    """One step towards the central path, aimed at a barrier that shrinks superlinearly."""
    dtype = data.won.dtype
    # The distances are carried, not recomputed: R - r has no digits left near the wall.
    rewards, to_upper, to_lower, upper, lower, last_length, *_ = state
    slope, curvature = _row_derivatives(loss, data, rewards)

    gap = 0.5 * jnp.mean(upper * to_upper + lower * to_lower, axis=0)
    # After a step that was cut short the iterate is off the central path: first come back to it.
    aim = jnp.where(last_length > 0.9, jnp.minimum(0.1 * gap, gap**1.5), 0.5 * gap)
    barrier = jnp.maximum(aim, 1e-6 * jnp.finfo(dtype).eps)
    wall = upper / to_upper + lower / to_lower
    right = -slope - barrier / to_upper + barrier / to_lower
    step = _solve(_matrix(curvature, linked, wall), right)
    reach = jnp.max(step, axis=0) - jnp.min(step, axis=0)
    damping = jnp.where(
        reach > _TRUSTED_RANGE,
        _TRUSTED_RANGE * jnp.log1p(reach / _TRUSTED_RANGE) / jnp.where(reach > 0, reach, 1.0),
        1.0,
    )
    upper_step = (barrier + upper * step) / to_upper - upper
    lower_step = (barrier - lower * step) / to_lower - lower
    keep = jnp.maximum(0.995, 1.0 - gap)
    room = jnp.minimum(_room(to_upper, -step, keep), _room(to_lower, step, keep))
    length = jnp.minimum(damping, room)
    dual_length = jnp.minimum(_room(upper, upper_step, keep), _room(lower, lower_step, keep))

    moved = jnp.where(length > 0.9, jnp.max(_spread(step, linked), axis=0), jnp.inf)
    settled = jnp.maximum(moved, jnp.where(gap < 1e-4 * jnp.finfo(dtype).eps, 0.0, jnp.inf))
    return _State(
        rewards + length * step,
        to_upper - length * step,
        to_lower + length * step,
        upper + dual_length * upper_step,
        lower + dual_length * lower_step,
        length,
        settled,
        state.step,
    )


def _spread(
    values: Float[Array, "arms batch"], linked: Bool[Array, "arms arms batch"]
) -> Float[Array, "arms batch"]:
    """How far each arm lies above the lowest arm of its component."""
    return values - jnp.min(jnp.where(linked, values[None], jnp.inf), axis=1)


def _room(
    distance: Float[Array, "arms batch"],
    step: Float[Array, "arms batch"],
    keep: Float[Array, " batch"],
) -> Float[Array, " batch"]:
    """The share of `step`, at most 1, that uses up no more than `keep` of `distance`."""
    shrinking = step < 0
    share = jnp.where(shrinking, -keep * distance / jnp.where(shrinking, step, 1.0), 1.0)
    return jnp.minimum(1.0, jnp.min(share, axis=0))


def _row_derivatives(loss: Loss, data: Comparisons, rewards: Float[Array, "arms batch"]):
    difference = rewards[:, None] - rewards[None, :]
    _, slope, curvature = derivatives(loss, difference)
    first = jnp.sum(data.won * slope - data.lost * jnp.swapaxes(slope, 0, 1), axis=1)
    return first, data.won * curvature + data.lost * jnp.swapaxes(curvature, 0, 1)


def _matrix(curvature, linked, wall) -> Float[Array, "arms arms batch"]:
    own = jnp.eye(curvature.shape[0], dtype=bool)[:, :, None]
    off_diagonal = jnp.where(own, 0.0, curvature)
    total = jnp.sum(off_diagonal, axis=1)
    hold = _HOLD * jnp.where(total > 0, total, 1.0) / jnp.sum(linked, axis=1)
    held = jnp.where(linked, hold[:, None], 0.0)
    return held + jnp.where(own, (total + wall)[:, None], -off_diagonal)


def _solve(
    matrix: Float[Array, "arms arms batch"], right: Float[Array, "arms batch"]
) -> Float[Array, "arms batch"]:
    """Gauss-Jordan without pivoting, safe on rows that their diagonal dominates."""
    arms = right.shape[0]
    table = jnp.concatenate([matrix, right[:, None]], axis=1)

    def eliminate(k, table):
        row = jax.lax.dynamic_index_in_dim(table, k, 0, keepdims=False)
        row = row / jax.lax.dynamic_index_in_dim(row, k, 0)
        column = jax.lax.dynamic_index_in_dim(table, k, 1, keepdims=False)
        cleared = table - column[:, None] * row[None]
        return jnp.where(jnp.arange(arms)[:, None, None] == k, row[None], cleared)

    return jax.lax.fori_loop(0, arms, eliminate, table)[:, arms]
