"""What is too large for the memory or the disk is refused before it is begun."""

import shutil
from pathlib import Path
from typing import Any

from apo_sim.checks import free_memory
from apo_sim.errors import InvalidArgument

# What is asked for may take this share of what is free.
_SHARE = 0.9


def check_memory(
    argument: str, value: Any, needed: int, remedy: str = "make the problems smaller"
) -> None:
    """Refuse what does not fit into the memory that is free.

    Args:
        argument: that asks for so much.
        value: of it.
        needed: in bytes.
        remedy: what to do instead.

    Raises:
        InvalidArgument: it does not fit.

    Example:
        >>> check_memory("arms", 10**15, 8 * 10**15)
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: arms = 1000000000000000 needs 7.45e+06 GiB of memory, \
and ...
    """
    _check(argument, value, needed, free_memory(), "memory", remedy)


def check_disk(argument: str, value: Any, needed: int, path: Path) -> None:
    """Refuse what does not fit on the disk that a folder is on, or will be.

    Args:
        argument: that asks for so much.
        value: of it.
        needed: in bytes.
        path: of the folder.

    Raises:
        InvalidArgument: it does not fit.

    Example:
        >>> check_disk("grid", "3 runs", 2**10, Path("results"))
    """
    exists = next((p for p in (path, *path.absolute().parents) if p.exists()), Path("/"))
    free = float(shutil.disk_usage(exists).free)
    _check(argument, value, needed, free, "disk", "choose another disk, or make the grid smaller")


def _check(argument: str, value: Any, needed: int, free: float, of: str, remedy: str) -> None:
    if needed > _SHARE * free:
        raise InvalidArgument(
            argument,
            value,
            f"needs {needed / 2**30:.3g} GiB of {of}, and {free / 2**30:.3g} GiB are free",
            remedy,
        )
