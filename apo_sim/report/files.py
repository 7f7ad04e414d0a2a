"""Files that appear whole or not at all."""

import os
from pathlib import Path

from apo_sim.errors import InvalidArgument


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file in one step: a reader sees the old content or the new, never a part.

    Raises:
        OSError: if the file cannot be written; what was there stays.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_bytes(f"{folder}/note", b"all of it")
        ...     Path(folder, "note").read_text(), len(os.listdir(folder))
        ('all of it', 1)
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: str | Path, content: str) -> None:
    """`write_bytes` for text, in UTF-8.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_text(f"{folder}/note", "γ")
        ...     Path(folder, "note").read_text(encoding="utf-8")
        'γ'
    """
    write_bytes(path, content.encode())


def writable_folder(argument: str, path: str | Path) -> Path:
    """The folder, made if it is not there, once a file could be written into it.

    Raises:
        InvalidArgument: if it cannot be made or written.

    Example:
        >>> writable_folder("out", "/dev/null/results")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: out = '/dev/null/results' cannot be written (Not a \
directory); choose a folder that you may write to
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InvalidArgument(
            argument,
            str(path),
            f"cannot be written ({error.strerror})",
            "choose a folder that you may write to",
        ) from None
    return folder
