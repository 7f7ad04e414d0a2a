"""Stages of a run as sealed folders: whole or not there, and bound to the state they belong to."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from apo_sim.files import cannot_write

_SEAL = "seal.json"
# What tensorstore says of a disk that takes no more.
_DISK = ("RESOURCE_EXHAUSTED", "No space", "PERMISSION_DENIED", "Read-only", "NOT_FOUND")


class StageLost(UserWarning):
    """A stage of a run is damaged, or belongs to a state that is no more: it is computed again."""


def mark(*parts: Any) -> str:
    """What tells states apart: a hash of plain data.

    Example:
        >>> mark(1, "a") == mark(1, "a"), mark(1, "a") == mark(1, "b")
        (True, False)
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def ready(folder: Path, of: str) -> bool:
    """Whether a stage is there, whole, unchanged, and computed from the state that `of` marks.

    Where it is there but not so, a warning says that it is computed again.
    """
    try:
        if not folder.exists():
            return False
        sealed = json.loads((folder / _SEAL).read_bytes())
        seal, files = sealed["sum"], sealed["files"]
        if mark(sealed["of"], files) != seal:
            lost = f"{_SEAL} is not as it was written"
        elif damaged := [name for name, sums in files.items() if _sums(folder / name) != sums]:
            lost = f"{damaged[0]} is not as it was written"
        elif sealed["of"] != of:
            lost = "what it was computed from has changed"
        else:
            return True
    except OSError as error:
        lost = f"{Path(error.filename or _SEAL).name} cannot be read ({error.strerror})"
    except (ValueError, TypeError, KeyError, AttributeError):
        lost = f"{_SEAL} is not as it was written"
    warnings.warn(f"{folder}: {lost}; it is computed again", StageLost, stacklevel=2)
    return False


def seal(folder: Path) -> str:
    """What marks the content of a stage that is ready."""
    return json.loads((folder / _SEAL).read_bytes())["sum"]


def complete(folder: Path, write: Callable[[Path], Any], of: str, alone: bool = False) -> None:
    """Write a stage beside its place and put it there, sealed, in one move.

    Args:
        folder: of the stage, on a disk that all processes see.
        write: writes its files into the folder that it is given; called by every process.
        of: marks the state that it was computed from.
        alone: this stage is that of one process, and the others know nothing of it.

    Raises:
        InvalidArgument: the disk is full or cannot be written; what was there before is kept.
    """
    draft = _draft(folder)
    first = alone or jax.process_index() == 0
    wait = (lambda _: None) if alone else together
    try:
        if first:
            clear_place(draft)
            draft.parent.mkdir(exist_ok=True)  # no farther up: the run's folder may be gone
            draft.mkdir()
        wait(str(draft))
        write(draft)
        wait(str(draft))
        if first:
            paths = sorted(path for path in draft.rglob("*") if path.is_file())
            files = {path.relative_to(draft).as_posix(): _sums(path) for path in paths}
            sealed = {"of": of, "files": files, "sum": mark(of, files)}
            (draft / _SEAL).write_text(json.dumps(sealed))
            clear_place(folder)
            draft.rename(folder)
    except OSError as error:
        raise cannot_write("out", folder, error) from error
    except ValueError as error:  # tensorstore's
        if not any(word in str(error) for word in _DISK):
            raise
        raise cannot_write("out", folder, OSError(str(error).partition(":")[0])) from error
    wait(str(folder))


def remove(folder: Path) -> None:
    """Forget a stage."""
    if jax.process_index() == 0:
        clear_place(folder)
        clear_place(_draft(folder))
    together(f"remove {folder}")


def write_json(path: Path, content: Any) -> None:
    """Plain data, by the first process."""
    if jax.process_index() == 0:
        path.write_text(json.dumps(content), encoding="utf-8")


def read_json(path: Path) -> Any:
    """What `write_json` wrote."""
    return json.loads(path.read_bytes())


def write_array(path: Path, values: np.ndarray) -> None:
    """An array, by the first process."""
    if jax.process_index() == 0:
        np.save(path, values)


def together(where: str) -> None:
    """Wait for all processes."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def _draft(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}")


def clear_place(place: Path) -> None:
    """Remove a folder, or whatever lies in its place.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (Path(folder) / "hat").mkdir()
        ...     clear_place(Path(folder) / "hat")
        ...     list(Path(folder).iterdir())
        []
    """
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def _sums(path: Path) -> list[Any]:
    with path.open("rb") as opened:
        return [path.stat().st_size, hashlib.file_digest(opened, "sha256").hexdigest()]
