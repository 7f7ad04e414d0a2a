"""Lanes shared out among the local devices."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

LANES, EVERYWHERE = P("lanes"), P()


def shared_out(function: Callable[..., Any], *specs: P) -> Callable[..., Any]:
    """`jit` of a function of lanes, each device working on its own share of them.

    Args:
        function: its results have the lanes first.
        *specs: one an argument: `LANES` for one that has them first, `EVERYWHERE` for one that
            every device gets whole.

    Example:
        >>> import jax.numpy as jnp
        >>> twice = shared_out(jax.vmap(lambda lane: 2 * lane), LANES)
        >>> twice(jnp.arange(jax.local_device_count())).shape == (jax.local_device_count(),)
        True
    """
    mesh = jax.make_mesh((jax.local_device_count(),), ("lanes",), axis_types=(AxisType.Auto,))
    # Loops within end when their lanes are done: each device must be free to stop on its own.
    return jax.jit(
        jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=LANES, check_vma=False)
    )
