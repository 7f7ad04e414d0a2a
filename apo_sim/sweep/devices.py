"""Lanes shared out among the local devices."""

import os
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from apo_sim.checks import as_count, checked, optional
from apo_sim.errors import InvalidArgument

LANES, EVERYWHERE = P("lanes"), P()


# The compiler makes one program of a small loop, whose operations need not be handed from thread to
# thread then; of ours, all loops whose arrays stay in a cache of the processor are small.
_EXTRA = "--xla_backend_extra_options="
_SMALL_LOOPS = f"{_EXTRA}xla_cpu_small_while_loop_byte_threshold={2**20}"


@checked(count=optional(as_count))
def use_cores(count: int | None = None) -> None:
    """Let sweeps and studies work on several cores at once, as on so many devices.

    Call it before anything is computed. Each device computes on a thread of a pool, and batched
    linear algebra waits there for other threads of it: were there no more of them than several
    devices, as is JAX's default, all could wait for ever. So the pool gets twice as many; a single
    device is a quarter faster without threads. Loops over small arrays become single programs.
    `NPROC`, and extra options in `XLA_FLAGS`, stay as the environment has them.

    Args:
        count: number of cores; by default all that there are.

    Raises:
        InvalidArgument: no number of cores; something has been computed already.

    Source: ours.
    """
    count = (os.cpu_count() or 1) if count is None else count
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        raise InvalidArgument(
            "count", count, "comes too late", "call use_cores before anything is computed"
        ) from None
    os.environ.setdefault("NPROC", "1" if count == 1 else str(2 * count))
    flags = os.environ.get("XLA_FLAGS", "")
    if _EXTRA not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_SMALL_LOOPS}".strip()


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
