"""Parameters of a network as checkpoints, by Orbax: sharded, and from any number of processes."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import nnx

from apo_sim.errors import InvalidArgument
from apo_sim.llm import stages
from apo_sim.llm.devices import fetched


def write(folder: Path, tree: Any, beside: Callable[[Path], Any] = lambda _: None) -> None:
    """Write a tree of arrays as a stage, and what else belongs to it."""

    def into(draft: Path) -> None:
        beside(draft)
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            checkpointer.save((draft / "arrays").absolute(), tree)

    stages.complete(folder, into)


def read(folder: Path, like: Any) -> Any:
    """The tree that `write` wrote, in the shapes, precisions and places of `like`.

    Raises:
        InvalidArgument: a checkpoint that cannot be read, or of another network.
    """
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            wanted = jax.tree.map(_described, like)
            return checkpointer.restore(
                (folder / "arrays").absolute(),
                args=ocp.args.PyTreeRestore(
                    item=wanted,
                    restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
                ),
            )
    except Exception as error:  # orbax and tensorstore have errors of their own
        raise InvalidArgument(
            "out", str(folder), "cannot be read back", "delete that folder and run again"
        ) from error


def of(network: Any) -> dict[str, Any]:
    """All parameters by name, LoRA's included."""
    return {name: leaf.get_value() for name, leaf in named(network)}


def named(network: Any) -> list[tuple[str, Any]]:
    """Every parameter with its name, as what its value can be set on."""
    flat = nnx.to_flat_state(nnx.state(network, nnx.Param))
    return [(".".join(map(str, path)), leaf) for path, leaf in flat]


def digest(network: Any) -> str:
    """What tells networks apart: their size, and the norms' weights, which cost nothing to read."""
    leaves = dict(named(network))
    sizes = sum(leaf.get_value().size for leaf in leaves.values())
    dtypes = sorted({str(leaf.get_value().dtype) for leaf in leaves.values()})
    total = 0
    for _, leaf in sorted(leaves.items()):
        if leaf.get_value().ndim == 1:
            total = zlib.crc32(fetched(leaf.get_value()).tobytes(), total)
    return f"{sizes} parameters, {', '.join(dtypes)}, {total:08x}"


def put(network: Any, values: dict[str, Any]) -> None:
    """Set the parameters of a network, one by one: the device never holds them all twice."""
    for name, leaf in named(network):
        leaf.set_value(to_device(values[name]))


def to_host(tree: Any) -> Any:
    """Copies in the host's memory, sharded as they are."""
    return jax.tree.map(lambda leaf: jax.device_put(leaf, _kind(leaf, "pinned_host")), tree)


def to_device(tree: Any) -> Any:
    """Copies on the devices, sharded as they are."""
    return jax.tree.map(lambda leaf: jax.device_put(leaf, _kind(leaf, "device")), tree)


def _kind(leaf: Any, memory: str) -> Any:
    return leaf.sharding.with_memory_kind(memory)


def _described(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=_kind(leaf, "device"))
