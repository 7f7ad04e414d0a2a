"""Stages of a run as sealed folders: whole or not there, and damage is noticed."""

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from apo_sim.errors import InvalidArgument

_SEAL = "seal.json"
_CHUNK = 1 << 22


def ready(folder: Path) -> bool:
    """Whether a stage is there, whole and unchanged.

    Raises:
        InvalidArgument: it was there, but a file of it is damaged or gone.
    """
    if not (folder / _SEAL).is_file():
        return False
    try:
        expected = json.loads((folder / _SEAL).read_text())
        damaged = [name for name, sums in expected.items() if _sums(folder / name) != sums]
    except (OSError, ValueError):
        damaged = [_SEAL]
    if damaged:
        raise InvalidArgument(
            "out",
            str(folder),
            f"is damaged: {damaged[0]} is not as it was written",
            "delete that folder, and the run computes it again",
        )
    return True


def complete(folder: Path, write: Callable[[Path], Any], alone: bool = False) -> None:
    """Write a stage beside its place and put it there, sealed, in one move.

    Args:
        folder: of the stage, on a disk that all processes see.
        write: writes its files into the folder that it is given; called by every process.
        alone: this stage is that of one process, and the others know nothing of it.

    Raises:
        InvalidArgument: the disk is full or cannot be written; what was there before is kept.
    """
    draft = folder.with_name(f".{folder.name}")
    first = alone or jax.process_index() == 0
    wait = (lambda _: None) if alone else together
    try:
        if first:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
        wait(str(draft))
        write(draft)
        wait(str(draft))
        if first:
            files = sorted(path for path in draft.rglob("*") if path.is_file())
            seal = {str(path.relative_to(draft)): _sums(path) for path in files}
            (draft / _SEAL).write_text(json.dumps(seal))
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    except ValueError as error:  # tensorstore's, for a disk that is full
        if "RESOURCE_EXHAUSTED" not in str(error) and "No space" not in str(error):
            raise
        raise cannot_write(folder, error) from error
    wait(str(folder))


def cannot_write(folder: Path, error: Exception) -> InvalidArgument:
    """What to say when a disk is full."""
    return InvalidArgument(
        "out",
        str(folder),
        f"cannot be written ({getattr(error, 'strerror', None) or error})",
        "make room, or choose another folder; the same command then goes on",
    )


def remove(folder: Path) -> None:
    """Forget a stage."""
    if jax.process_index() == 0:
        shutil.rmtree(folder, ignore_errors=True)
    together(f"remove {folder}")


def write_json(path: Path, content: Any) -> None:
    """Plain data, by the first process."""
    if jax.process_index() == 0:
        path.write_text(json.dumps(content))


def write_array(path: Path, values: np.ndarray) -> None:
    """An array, by the first process."""
    if jax.process_index() == 0:
        np.save(path, values)


def together(where: str) -> None:
    """Wait for all processes."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def _sums(path: Path) -> list[int]:
    total, size = 0, 0
    with path.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            total, size = zlib.crc32(chunk, total), size + len(chunk)
    return [size, total]
