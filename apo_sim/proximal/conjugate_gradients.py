"""Linear systems of flows between many arms, solved step by step, with a bound on the error.

Eliminating arms costs their third power; where every arm is well tied to the others, a few products
with the matrix do. Whether that is so is found out, not assumed: see `error_bound`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from apo_sim.proximal.forces import over_rivals

# Relative accuracy asked for, and so many products before the elimination takes over.
_TOLERANCE = 1e-6
_MOST_PRODUCTS = 64

Scores = Float[Array, "arms batch"]
Pairs = Float[Array, "arms arms batch"]
Links = Bool[Array, "arms arms batch"]


class Flows(NamedTuple):
    """anchor_j x_j + sum_i rate_ij (x_j - x_i) = force_j, a symmetric system.

    Attributes:
        rate: how strongly arms are drawn to each other, symmetric; the diagonal is not used.
        anchor: how strongly arm j is drawn to zero.
        force: the right-hand side.
    """

    rate: Pairs
    anchor: Scores
    force: Scores


class _State(NamedTuple):
    found: Scores
    residual: Scores
    direction: Scores
    # Squared length of the residual, in the metric of the diagonal.
    length: Float[Array, " batch"]
    products: Int[Array, ""]


def solve_by_products(flows: Flows) -> Scores:
    """Conjugate gradients, the diagonal for a preconditioner.

    A group of arms that nothing holds keeps its mean, weighted by the diagonal, where it is.

    Returns:
        x, as exact as `_MOST_PRODUCTS` make it.

    Source: Hestenes and Stiefel (1952).

    Example:
        >>> rate = jnp.array([[0.0, 1.0], [1.0, 0.0]])[..., None]
        >>> flows = Flows(rate, jnp.zeros((2, 1)), jnp.array([[1.0], [-1.0]]))
        >>> solve_by_products(flows)[:, 0].tolist()
        [0.5, -0.5]
    """
    diagonal = _diagonal(flows)
    scale = jnp.where(diagonal > 0, 1.0 / jnp.where(diagonal > 0, diagonal, 1.0), 0.0)
    first = scale * flows.force
    length = jnp.sum(first * flows.force, axis=0)

    def unfinished(state: _State):
        far = state.length > _TOLERANCE**2 * length
        return (state.products < _MOST_PRODUCTS) & jnp.any(far)

    def improve(state: _State) -> _State:
        product = _times(flows, diagonal, state.direction)
        curvature = jnp.sum(state.direction * product, axis=0)
        step = state.length / jnp.where(curvature > 0, curvature, jnp.inf)
        residual = state.residual - step * product
        scaled = scale * residual
        new = jnp.sum(scaled * residual, axis=0)
        turn = new / jnp.where(state.length > 0, state.length, jnp.inf)
        return _State(
            state.found + step * state.direction,
            residual,
            scaled + turn * state.direction,
            new,
            state.products + 1,
        )

    none = jnp.zeros_like(first)
    start = _State(none, flows.force, first, length, jnp.zeros((), int))
    return jax.lax.while_loop(unfinished, improve, start).found


def error_bound(
    flows: Flows, found: Scores, noise: Scores, linked: Links
) -> Float[Array, " batch"]:
    """How far a solution may be off, up to a shift of each group that nothing holds.

    It is the length of what is left of the force, rounding included, over a lower bound of the
    smallest eigenvalue but for a shift, the better one of two. Each arm that is tied to every other
    of its group makes a star, whose eigenvalue is its weakest tie, and no tie is in more than two
    stars. And n arms, each of which is tied to d others or more, all by t or more, have
    t (2 d - n + 2).

    Args:
        flows: the system.
        found: a solution.
        noise: rounding error of the force.
        linked: which arms are in one group; arms may be alone.

    Returns:
        The bound, infinite where no arm is tied to all others and one is not tied to half of them.

    Source: ours; Fiedler (1973) for the second bound.

    Example:
        >>> rate = jnp.array([[0.0, 1.0], [1.0, 0.0]])[..., None]
        >>> flows = Flows(rate, jnp.zeros((2, 1)), jnp.array([[1.0], [-1.0]]))
        >>> found, noise = jnp.array([[0.5], [-0.4]]), jnp.zeros((2, 1))
        >>> 0.05 <= error_bound(flows, found, noise, jnp.ones((2, 2, 1), bool))[0] < 0.2
        Array(True, dtype=bool)
    """
    diagonal = _diagonal(flows)
    left = jnp.abs(flows.force - _times(flows, diagonal, found)) + noise
    length = jnp.sqrt(jnp.sum(left**2, axis=0))
    members = _over_group(linked, jnp.ones_like(diagonal))
    tied = _least_tied(flows.rate, linked, members)
    held = _over_group(linked, flows.anchor) / members
    strongest = jnp.max(jnp.where(linked, flows.anchor[:, None], 0.0), axis=0)
    # Anchors hold the mean, as far as they do not outweigh the ties between the arms.
    share = jnp.minimum(1.0, tied / jnp.where(strongest > 0, 2.0 * strongest, jnp.inf))
    with_anchors = jnp.minimum(0.5 * tied, 0.5 * jnp.where(jnp.isinf(tied), 1.0, share) * held)
    least = jnp.min(jnp.where(strongest > 0, with_anchors, tied), axis=0)
    return jnp.where(length > 0, length / least, 0.0)


def _least_tied(rate: Pairs, linked: Links, members: Scores) -> Scores:
    """A lower bound of the smallest eigenvalue of an arm's group, but for that of a shift."""
    others = linked & ~jnp.eye(len(rate), dtype=bool)[..., None]
    alone = members == 1
    weakest = jnp.min(jnp.where(others, rate, jnp.inf), axis=0)
    by_stars = 0.5 * _over_group(linked, jnp.where(alone, 0.0, weakest))
    ties = others & (rate > 0)
    number = jnp.sum(ties, axis=0).astype(rate.dtype)
    least = jnp.min(jnp.where(ties, rate, jnp.inf), axis=0)
    fewest, least = (
        jnp.min(jnp.where(linked, of_arm[:, None], jnp.inf), axis=0) for of_arm in (number, least)
    )
    enough = 2.0 * fewest - members + 2.0
    by_number = jnp.where(enough > 0, enough * least, 0.0)
    return jnp.where(alone, jnp.inf, jnp.maximum(by_stars, by_number))


def _diagonal(flows: Flows) -> Scores:
    return flows.anchor + over_rivals(flows.rate)


def _times(flows: Flows, diagonal: Scores, x: Scores) -> Scores:
    return diagonal * x - over_rivals(flows.rate, x)


def _over_group(linked: Links, values: Scores) -> Scores:
    return over_rivals(linked.astype(values.dtype), values)
