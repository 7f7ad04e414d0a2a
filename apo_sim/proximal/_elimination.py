"""Linear systems of flows between arms, solved to full relative accuracy.

Arrays carry the arms first and the batch last: the batch is what the processor's vector lanes
run over.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.proximal._flows import Flows
from apo_sim.proximal.forces import over_rivals

# With two arms a turn the rates are written to and fro between two arrays; with one, what is new is
# copied to where the old was. More arms a turn are compiled for longer, and are no faster.
_ARMS_A_TURN = 2

Scores = Float[Array, "arms batch"]


def solve_flows(flows: Flows, noise: Scores) -> Scores:
    """Solve a system of flows.

    Rates are non-negative, and no step of the elimination subtracts, so that an arm held by a link
    1e-12 times weaker than its neighbours' is placed as exactly as they are. A group of arms that
    nothing holds keeps its last arm where it is.

    Args:
        flows: the system.
        noise: rounding error of its force; a net force that does not exceed it is no force.

    Returns:
        x.

    Source: the elimination of Grassmann, Taksar and Heyman (1985).

    Example:
        >>> column = jnp.ones((2, 1))
        >>> rate = jnp.array([[0.0, 1.0], [1.0, 0.0]])[..., None]
        >>> force = jnp.array([[1.0], [-1.0]])
        >>> flows = Flows(rate, column, force, 0 * column, column > 0, column)
        >>> solve_flows(flows, 0 * column)[:, 0].tolist()
        [1.0, 0.0]
    """
    free = flows.free
    arms = len(free)
    each = jnp.arange(arms)
    # Free arms are drawn to where the others are; these are drawn there by nothing else.
    anchor = jnp.where(free, over_rivals(flows.rate, (~free).astype(flows.rate.dtype)), 1.0)
    force = flows.force + over_rivals(flows.rate, flows.fixed)
    force, noise = jnp.where(free, force, flows.fixed), jnp.where(free, noise, 0.0)
    rate = jnp.where(free[None] & free[:, None], flows.rate, 0.0)

    # An index that is known to be inside needs no scatter, which takes longer to compile.
    put = partial(jax.lax.dynamic_update_index_in_dim, axis=0)

    def eliminate(k, state):
        rate, columns, pivots = state
        later = (each > k)[:, None]
        own = jnp.where(later, rate[:, k], 0.0)
        pivot = jnp.sum(own, axis=0) + columns[0, k]
        handed_on = jnp.where(later, rate[k], 0.0) / jnp.where(pivot > 0, pivot, 1.0)
        columns += handed_on * columns[:, k][:, None]
        return rate + own[:, None] * handed_on[None], columns, put(pivots, pivot, k)

    start = rate, jnp.stack([anchor, force, noise]), jnp.zeros_like(force)
    rate, columns, pivot = jax.lax.fori_loop(0, arms, eliminate, start, unroll=_ARMS_A_TURN)
    _, force, noise = columns
    force = jnp.where(jnp.abs(force) > noise, force, 0.0)
    held = pivot > 0
    pivot = jnp.where(held, pivot, 1.0)

    def substitute(step, x):
        k = arms - 1 - step
        drawn = jnp.sum(jnp.where((each > k)[:, None], rate[:, k] * x, 0.0), axis=0)
        return put(x, jnp.where(held[k], (force[k] + drawn) / pivot[k], 0.0), k)

    return jax.lax.fori_loop(0, arms, substitute, jnp.zeros_like(force), unroll=_ARMS_A_TURN)
