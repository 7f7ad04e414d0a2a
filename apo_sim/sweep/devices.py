"""Lanes shared out among the local devices."""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
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

    Call it before anything is computed. Each device gets one thread, not JAX's pool of threads,
    which hand work to one another and wait: one core is a quarter faster so, and two do twice as
    much as one. Loops over small arrays become single programs. `NPROC`, the number of threads,
    and extra options in `XLA_FLAGS` stay as the environment has them.

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
    os.environ.setdefault("NPROC", "1")  # There is always one thread a device at least.
    flags = os.environ.get("XLA_FLAGS", "")
    if _EXTRA not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_SMALL_LOOPS}".strip()


def shared_out(function: Callable[..., Any], *specs: P) -> Callable[..., Any]:
    """`jit` of a function of lanes, each device working on its own share of them.

    What calls linear algebra works on one share after the other where devices have no thread to
    spare: there it hands its batch to other threads and waits, and all could wait for ever.

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
    devices = jax.local_device_count()
    mesh = jax.make_mesh((devices,), ("lanes",), axis_types=(AxisType.Auto,))
    # Loops within end when their lanes are done: each device must be free to stop on its own.
    together = jax.jit(
        jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=LANES, check_vma=False)
    )
    if devices == 1 or _threads_to_spare(devices):
        return together
    one_share = jax.jit(function)
    waits: bool | None = None

    @functools.wraps(together)
    def program(*arguments: Any) -> Any:
        nonlocal waits
        if waits is None:
            waits = "@lapack" in together.lower(*arguments).as_text()
        if not waits:
            return together(*arguments)
        each = [one_share(*_share(arguments, specs, n, devices)) for n in range(devices)]
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *each)

    return program


def _threads_to_spare(devices: int) -> bool:
    threads = os.environ.get("NPROC", "")
    return threads.isdigit() and int(threads) > devices


def _share(arguments: tuple[Any, ...], specs: tuple[P, ...], part: int, parts: int) -> list[Any]:
    """The arguments of one device."""

    def its_own(lanes: Any) -> Any:
        count = len(lanes) // parts
        return lanes[part * count : (part + 1) * count]

    return [
        jax.tree.map(its_own, argument) if spec == LANES else argument
        for argument, spec in zip(arguments, specs, strict=True)
    ]
