"""Work that is done only where somebody needs it, under `jax.vmap` as well."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


def if_any(wanted: Bool[Array, "*shape"], compute: Callable[[], Array], otherwise: Array) -> Array:
    """What a function returns, computed if it is wanted anywhere; else something at hand.

    Under `jax.vmap` a `jax.lax.cond` computes both of its branches for all; a loop of at most one
    turn does not. It is made if any of the runs side by side wants it, and each run has its own.

    Args:
        wanted: where what the function returns is looked at.
        compute: what is dear.
        otherwise: what to return if it is wanted nowhere, of the same shape.

    Example:
        >>> if_any(jnp.array([False, True]), lambda: jnp.ones(2), jnp.zeros(2)).tolist()
        [1.0, 1.0]
    """

    def once(state):
        return jnp.array(False), compute()

    return jax.lax.while_loop(lambda state: state[0], once, (jnp.any(wanted), otherwise))[1]
