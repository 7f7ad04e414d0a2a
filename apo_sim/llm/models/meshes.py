"""Meshes of devices, over one host or many, and arrays that are shared out among hosts."""

import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from apo_sim.checks import as_count
from apo_sim.errors import InvalidArgument

AXES = ("fsdp", "tp")


def mesh(fsdp: int | None = None, tp: int = 1) -> jax.sharding.Mesh:
    """All devices, as so many shards of the data and parameters times so many of every layer.

    Args:
        fsdp: fully sharded data parallel; None: all devices that tensor parallelism leaves.
        tp: tensor parallel; keep it within a host.

    Raises:
        InvalidArgument: not as many devices as asked for.

    Example:
        >>> dict(mesh(1).shape)
        {'fsdp': 1, 'tp': 1}
    """
    as_count("tp", tp)
    fsdp = max(jax.device_count() // tp, 1) if fsdp is None else as_count("fsdp", fsdp)
    if fsdp * tp > jax.device_count():
        raise InvalidArgument(
            "mesh", f"{fsdp} x {tp}", f"has {jax.device_count()} devices", "ask for fewer shards"
        )
    devices = np.array(jax.devices()[: fsdp * tp]).reshape(fsdp, tp)
    return jax.sharding.Mesh(devices, AXES)


def local_mesh() -> jax.sharding.Mesh:
    """The devices of this process alone, for sampling: tensor parallel."""
    devices = np.array(jax.local_devices())
    return jax.sharding.Mesh(devices.reshape(1, -1), AXES)


def evenly(place: NamedSharding, shape: Sequence[int]) -> NamedSharding:
    """The same layout, but where shards would be uneven each device holds all of that axis.

    Two heads of keys cannot be shared out among four devices, which is no reason not to share out
    the other weights.

    Example:
        >>> four = jax.sharding.AbstractMesh((1, 4), AXES)
        >>> tuple(evenly(NamedSharding(four, PartitionSpec("fsdp", "tp")), (8, 2)).spec)
        ('fsdp', None)
    """
    kept = [
        axis if axis is None or size % place.mesh.shape[axis] == 0 else None
        for axis, size in zip(place.spec, shape, strict=False)
    ]
    return NamedSharding(place.mesh, PartitionSpec(*kept))


def fetched(values: Any) -> np.ndarray:
    """An array on this host, gathered from all processes where it is shared out among them."""
    if values.is_fully_addressable:
        return np.asarray(values)
    return np.asarray(multihost_utils.process_allgather(values, tiled=True))


def join() -> None:
    """Join the other processes of the job, before anything else of JAX is used.

    On TPU pods, Slurm and Open MPI, JAX finds out by itself; elsewhere set
    JAX_COORDINATOR_ADDRESS (host:port of the first process), JAX_NUM_PROCESSES, JAX_PROCESS_ID.

    Raises:
        InvalidArgument: no cluster, or a variable that is missing or no number.
    """
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if address is None:
        try:
            jax.distributed.initialize()
        except (ValueError, RuntimeError) as error:
            raise InvalidArgument(
                "JAX_COORDINATOR_ADDRESS",
                None,
                f"is not set, and no cluster was found ({str(error).splitlines()[0]})",
                "export it, with JAX_NUM_PROCESSES and JAX_PROCESS_ID, or leave --distributed out",
            ) from error
        return
    number, place = (_number(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"))
    if not 0 <= place < number:
        raise InvalidArgument(
            "JAX_PROCESS_ID",
            place,
            "is not a process of the job",
            f"number the processes from 0 to {number - 1}",
        )
    jax.distributed.initialize(address, number, place)


def _number(name: str) -> int:
    given = os.environ.get(name)
    if given is None:
        raise InvalidArgument(name, None, "is not set", f"export {name}=...")
    if not given.isdecimal():
        raise InvalidArgument(name, given, "is not a number", f"export {name}=...")
    return int(given)
