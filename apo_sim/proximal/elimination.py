"""Linear systems of flows between arms, solved to full relative accuracy.

Arrays carry the arms first and the batch last: the batch is what the processor's vector lanes
run over.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def solve_flows(
    rate: Float[Array, "arms arms batch"],
    anchor: Float[Array, "arms batch"],
    force: Float[Array, "arms batch"],
    noise: Float[Array, "arms batch"],
) -> Float[Array, "arms batch"]:
    """Solve anchor_j x_j + sum_i rate_ij (x_j - x_i) = force_j.

    Rates and anchors are non-negative, and no step of the elimination subtracts, so that an arm
    held by a link 1e-12 times weaker than its neighbours' is placed as exactly as they are. A
    group of arms that nothing holds keeps its last arm where it is.

    Args:
        rate: rate[i, j] is how strongly arm j is drawn to arm i; the diagonal is ignored.
        anchor: how strongly arm j is drawn to zero.
        force: the right-hand side.
        noise: rounding error of `force`; a net force that does not exceed it is no force.

    Returns:
        x.

    Source: the elimination of Grassmann, Taksar and Heyman (1985).

    Example:
        >>> rate = jnp.array([[0.0, 1.0], [1.0, 0.0]])[..., None]
        >>> zero = jnp.zeros((2, 1))
        >>> solve_flows(rate, zero, jnp.array([[1.0], [-1.0]]), zero)[:, 0].tolist()
        [1.0, 0.0]
    """
    arms = force.shape[0]
    each = jnp.arange(arms)

    def eliminate(k, state):
        rate, columns = state
        later = (each > k)[:, None]
        own = jnp.where(later, rate[:, k], 0.0)
        pivot = jnp.sum(own, axis=0) + columns[0, k]
        columns = columns.at[3, k].set(pivot)
        handed_on = jnp.where(later, rate[k], 0.0) / jnp.where(pivot > 0, pivot, 1.0)
        inherited = columns[:3, k]
        columns = columns.at[:3].add(handed_on * inherited[:, None])
        return rate + own[:, None] * handed_on[None], columns

    columns = jnp.stack([anchor, force, noise, jnp.zeros_like(force)])
    rate, columns = jax.lax.fori_loop(0, arms, eliminate, (rate, columns))
    _, force, noise, pivot = columns
    force = jnp.where(jnp.abs(force) > noise, force, 0.0)
    held = pivot > 0
    pivot = jnp.where(held, pivot, 1.0)

    def substitute(step, x):
        k = arms - 1 - step
        drawn = jnp.sum(jnp.where((each > k)[:, None], rate[:, k] * x, 0.0), axis=0)
        return x.at[k].set(jnp.where(held[k], (force[k] + drawn) / pivot[k], 0.0))

    return jax.lax.fori_loop(0, arms, substitute, jnp.zeros_like(force))
