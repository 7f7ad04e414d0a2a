"""Linear systems of flows between many arms, solved step by step, with a bound on the error.

Eliminating arms costs their third power; where every arm is well tied to the others, a few products
with the matrix do. Whether that is so is found out, not assumed: see `error_bound`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from apo_sim.proximal._flows import Flows, Scores

# So many products before the elimination takes over.
_MOST_PRODUCTS = 64
# What is left of the force falls to this share at least: arms that are strongly tied to each other
# go far together where each by itself would not.
_PROGRESS = 0.03
# What the arms of a barrier may miss of their unit force.
_ROUGHLY = 0.5


class _State(NamedTuple):
    found: Scores
    # How far each arm would still go if the others stayed.
    left: Scores
    direction: Scores
    # Squared length of what is left.
    length: Float[Array, " batch"]
    products: Int[Array, ""]


def solve_by_products(
    flows: Flows, tolerance: Float[Array, " batch"], start: Scores | None = None
) -> Scores:
    """Conjugate gradients, the diagonal for a preconditioner.

    A group of arms that nothing holds keeps its mean, weighted by the diagonal, where it is.

    Args:
        flows: the system.
        tolerance: how far an arm may still be from where it would go if the others stayed.
        start: where the arms begin; None: the free ones at zero.

    Returns:
        x, as exact as `_MOST_PRODUCTS` make it.

    Source: Hestenes and Stiefel (1952).

    Example:
        >>> column = jnp.ones((2, 1))
        >>> rate = jnp.array([[0.0, 1.0], [1.0, 0.0]])[..., None]
        >>> force = jnp.array([[1.0], [-1.0]])
        >>> flows = Flows(rate, column, force, 0 * column, column > 0, column)
        >>> solve_by_products(flows, jnp.full(1, 1e-9))[:, 0].tolist()
        [0.5, -0.5]
    """
    inverse = jnp.where(flows.free, 1.0 / jnp.where(flows.free, flows.diagonal, 1.0), 0.0)
    # The metric in which the matrix, divided by its diagonal, is symmetric.
    metric = jnp.where(flows.free, flows.diagonal / flows.unit, 0.0)
    found = flows.fixed if start is None else jnp.where(flows.free, start, flows.fixed)
    left = inverse * (flows.force - flows.times(found))
    near = jnp.minimum(tolerance, _PROGRESS * jnp.max(jnp.abs(left), axis=0))

    def far(state: _State) -> Bool[Array, " batch"]:
        return jnp.max(jnp.abs(state.left), axis=0) > near

    def unfinished(state: _State) -> Bool[Array, ""]:
        return (state.products < _MOST_PRODUCTS) & jnp.any(far(state))

    def improve(state: _State) -> _State:
        product = inverse * flows.times(state.direction)
        curvature = jnp.sum(metric * state.direction * product, axis=0)
        step = state.length / jnp.where((curvature > 0) & far(state), curvature, jnp.inf)
        left = state.left - step * product
        length = jnp.sum(metric * left**2, axis=0)
        turn = length / jnp.where(state.length > 0, state.length, jnp.inf)
        found = state.found + step * state.direction
        return _State(found, left, left + turn * state.direction, length, state.products + 1)

    length = jnp.sum(metric * left**2, axis=0)
    begin = _State(found, left, left, length, jnp.zeros((), int))
    return jax.lax.while_loop(unfinished, improve, begin).found


def error_bound(flows: Flows, found: Scores, noise: Scores) -> Float[Array, " batch"]:
    """How far a solution may be off.

    With the fixed arms at zero the matrix A of the free ones has an inverse without negative
    elements. So z >= 0 with A z > 0 is a barrier: what is left of the force, |f - A x|, is at most
    some multiple of A z, and the error is at most that multiple of z.

    Args:
        flows: the system; in each group of arms at least one is not free.
        found: a solution.
        noise: rounding error of the force.

    Returns:
        The bound, infinite where no barrier was found.

    Source: ours; Collatz (1952) for monotone matrices.

    Example:
        >>> rate = jnp.array([[0.0, 1.0], [1.0, 0.0]])[..., None]
        >>> column, force = jnp.ones((2, 1)), jnp.array([[1.0], [-1.0]])
        >>> held = Flows(rate, column, force, 0 * column, jnp.array([[True], [False]]), column)
        >>> round(float(error_bound(held, jnp.array([[0.9], [0.0]]), 0 * column)[0]), 6)
        0.1
    """
    rounding = (len(found) + 2) * jnp.finfo(found.dtype).eps
    resting = flows._replace(force=flows.diagonal, fixed=jnp.zeros_like(found))
    barrier = solve_by_products(
        resting, jnp.full(found.shape[-1:], _ROUGHLY, found.dtype), jnp.ones_like(found)
    )
    support = flows.times(barrier) - rounding * flows.diagonal * jnp.abs(barrier)
    holds = jnp.all(jnp.where(flows.free, (support > 0) & (barrier >= 0), True), axis=0)
    left = jnp.abs(flows.force - flows.times(found)) + noise
    left += rounding * flows.diagonal * jnp.abs(found)
    multiple = jnp.where(flows.free, left, 0.0) / jnp.where(flows.free, support, 1.0)
    off = jnp.max(multiple, axis=0) * jnp.max(jnp.where(flows.free, barrier, 0.0), axis=0)
    return jnp.where(holds, off, jnp.inf)
