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
import orbax.checkpoint as ocp
from flax import nnx
from jaxtyping import Array, UInt32

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

    The bits are summed up where they lie, on whatever devices: no host holds a whole variable.

    Example:
        >>> from apo_sim.llm.models import tiny
        >>> digest(tiny.model(0).network) == digest(tiny.model(1).network)
        False
    """
    hasher = hashlib.sha256()
    for path, leaf in nnx.to_flat_state(nnx.state(network, nnx.Not(nnx.RngState))):
        values = leaf.get_value()
        sums = fetched(_sums(values)).tolist()
        hasher.update(f"{path} {values.dtype} {values.shape} {sums}".encode())
    return hasher.hexdigest()


@jax.jit
def _sums(values: Array) -> UInt32[Array, "2"]:
    """Two sums of all bits, each mixed with its place; of integers, so that any order will do."""
    if values.dtype == bool:
        values = values.astype(jnp.uint8)
    width = min(values.dtype.itemsize, 4)  # of wider numbers, each half counts
    bits = jax.lax.bitcast_convert_type(values, f"uint{8 * width}").astype(jnp.uint32)
    places = jnp.zeros(bits.shape, jnp.uint32)
    for axis, size in enumerate(bits.shape):
        number = jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
        places = places * jnp.uint32(size) + number
    mixed = [_mixed(bits ^ _mixed(places + jnp.uint32(start))) for start in (1, 0x9E3779B9)]
    return jnp.stack([jnp.sum(each, dtype=jnp.uint32) for each in mixed])


def _mixed(bits: Array) -> Array:
    """The last step of MurmurHash3: one to one, and every bit counts for every other."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
    return bits ^ (bits >> 16)


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
