"""Parameters of a network as checkpoints, by Orbax: sharded, and from any number of processes."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from apo_sim.errors import InvalidArgument
from apo_sim.llm import stages
from apo_sim.llm.models.meshes import fetched


def write(folder: Path, tree: Any, of: str, beside: Callable[[Path], Any] = lambda _: None) -> None:
    """Write a tree of arrays as a stage, computed from what `of` marks, and what belongs to it."""

    def into(draft: Path) -> None:
        # Orbax would find out in the middle, and its threads would say so at length.
        if shutil.disk_usage(draft).free < sum(leaf.nbytes for leaf in jax.tree.leaves(tree)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        beside(draft)
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            checkpointer.save((draft / "arrays").absolute(), tree)

    stages.complete(folder, into, of)


def read(folder: Path, like: Any) -> Any:
    """The tree that `write` wrote, in the shapes, precisions and places of `like`.

    Raises:
        InvalidArgument: a checkpoint that cannot be read, or of another network.
    """
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            wanted = jax.tree.map(described, like)
            return checkpointer.restore(
                (folder / "arrays").absolute(),
                args=ocp.args.PyTreeRestore(
                    item=wanted,
                    restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
                ),
            )
    except Exception as error:  # orbax and tensorstore have errors of their own
        raise InvalidArgument(
            "out",
            str(folder),
            "cannot be read back",
            "delete that folder, and the run computes it again",
        ) from error


def of(network: Any, names: list[str] | None = None) -> dict[str, Any]:
    """Parameters by name, LoRA's included: some of them, or all."""
    return {
        name: leaf.get_value() for name, leaf in named(network) if names is None or name in names
    }


def named(network: Any) -> list[tuple[str, Any]]:
    """Every parameter with its name, as what its value can be set on."""
    flat = nnx.to_flat_state(nnx.state(network, nnx.Param))
    return [(".".join(map(str, path)), leaf) for path, leaf in flat]


def digest(network: Any) -> str:
    """What tells networks apart by content: a hash of every variable, its name and its precision.

    Read one by one, by all processes of a job; a second for a gigabyte on a CPU.

    Example:
        >>> from apo_sim.llm.models import tiny
        >>> digest(tiny.model(0).network) == digest(tiny.model(1).network)
        False
    """
    hasher = hashlib.sha256()
    for path, leaf in nnx.to_flat_state(nnx.state(network, nnx.Not(nnx.RngState))):
        values = fetched(leaf.get_value())
        hasher.update(f"{path} {values.dtype} {values.shape}".encode())
        hasher.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()


def are_finite(network: Any) -> bool:
    """Whether no parameter is infinite or no number."""
    return all(bool(_finite(leaf.get_value())) for _, leaf in named(network))


@jax.jit
def _finite(values: Any) -> Any:
    return jnp.isfinite(values).all()


def put(network: Any, values: dict[str, Any]) -> None:
    """Set some of a network's parameters, one by one: the device never holds them all twice."""
    for name, leaf in named(network):
        if name in values:
            leaf.set_value(to_device(values[name]))


def to_host(tree: Any) -> Any:
    """Copies in the host's memory, sharded as they are."""
    return jax.tree.map(lambda leaf: jax.device_put(leaf, _kind(leaf, "pinned_host")), tree)


def to_device(tree: Any) -> Any:
    """Copies on the devices, sharded as they are."""
    return jax.tree.map(lambda leaf: jax.device_put(leaf, _kind(leaf, "device")), tree)


def _kind(leaf: Any, memory: str) -> Any:
    return leaf.sharding.with_memory_kind(memory)


def described(leaf: Any) -> jax.ShapeDtypeStruct:
    """What `read` has to know of an array, and nothing that would keep it alive."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=_kind(leaf, "device"))
