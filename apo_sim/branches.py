"""What `jax.vmap` would do at greater cost: branches, and rows of problems.

Work is done only where somebody needs it, and problems side by side make one row.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


def if_any(
    wanted: Bool[Array, "*shape"],
    compute: Callable[..., Array],
    otherwise: Array,
    *operands: Any,
) -> Array:
    """What a function returns, computed if it is wanted anywhere; else something at hand.

    Under `jax.vmap` a `jax.lax.cond` computes both of its branches for all; a loop of at most one
    turn does not. It is made if any of the runs side by side wants it, and each run has its own.

    Args:
        wanted: where what the function returns is looked at.
        compute: what is dear.
        otherwise: what to return if it is wanted nowhere, of the same shape.
        operands: what `compute` is called with. What it does to other arrays may be done every
            time: the compiler moves it to before the loop.

    Example:
        >>> wanted, values = jnp.array([False, True]), jnp.array([1.0, 3.0])
        >>> if_any(wanted, jnp.square, values, values).tolist()
        [1.0, 9.0]
    """

    def once(state):
        # Behind the barrier the operands depend on whether there is a turn, so that nothing that
        # is done to them can be moved out of it.
        _, given = jax.lax.optimization_barrier((state[0], operands))
        return jnp.array(False), compute(*given)

    return jax.lax.while_loop(lambda state: state[0], once, (jnp.any(wanted), otherwise))[1]


def in_one_row(axis_size: int, batched: Sequence[bool], arrays: Sequence[Array]) -> list[Array]:
    """Two leading axes made one: for the rule of a `jax.custom_batching.custom_vmap`.

    Args:
        axis_size: length of the axis that `jax.vmap` adds.
        batched: which of the arrays have it; the others are repeated.
        arrays: each with a row of problems as its first axis, after that one.

    Example:
        >>> rows = in_one_row(2, (True, False), (jnp.ones((2, 3, 5)), jnp.ones((3,))))
        >>> [row.shape for row in rows]
        [(6, 5), (6,)]
    """
    full = [
        array if yes else jnp.broadcast_to(array, (axis_size, *array.shape))
        for array, yes in zip(arrays, batched, strict=True)
    ]
    return [array.reshape(-1, *array.shape[2:]) for array in full]
