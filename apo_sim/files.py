"""Paths that users give, and files that appear whole or not at all."""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from apo_sim.errors import InvalidArgument

try:
    import fcntl
except ImportError:  # Windows has no such lock
    fcntl = None  # type: ignore[assignment]


def as_path(argument: str, value: Any) -> Path:
    """The absolute path of a file or folder, with `~` and links resolved.

    Every path that a user gives passes through here once, so that all calls understand it alike.

    Args:
        argument: name of the argument, for the message.
        value: what was given.

    Raises:
        InvalidArgument: no path, an empty one, an address such as `s3://...`, or a place that no
            file can have.

    Example:
        >>> as_path("out", "~/runs") == Path.home().resolve() / "runs"
        True
        >>> as_path("out", "s3://bucket/runs")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: out = 's3://bucket/runs' is an address, not a path on this \
machine; pass a local folder, and copy it from there
    """
    if not isinstance(value, str | os.PathLike):
        raise InvalidArgument(argument, value, "is not a path", "pass a string or a pathlib.Path")
    text = os.fspath(value)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise InvalidArgument(argument, value, "is not a path", "pass the name of a file or folder")
    # pathlib makes one slash of two.
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) and not os.path.exists(text):
        raise InvalidArgument(
            argument,
            text,
            "is an address, not a path on this machine",
            "pass a local folder, and copy it from there",
        )
    try:
        found = Path(text).expanduser().resolve()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found.stat()
    except (RuntimeError, OSError, UnicodeEncodeError) as error:
        # An unknown user, links in a circle, a name that is too long or that no disk can have.
        raise InvalidArgument(
            argument, text, f"cannot be resolved ({error})", "pass another path"
        ) from None
    return found


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file in one step: a reader sees the old content or the new, never a part.

    A device or a pipe is written to, and stays what it is.

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
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: str | Path, content: str) -> None:
    """`write_bytes` for text, in UTF-8; halves of characters, which it lacks, as in JSON.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_text(f"{folder}/note", "γ")
        ...     Path(folder, "note").read_text(encoding="utf-8")
        'γ'
    """
    write_bytes(path, content.encode(errors="backslashreplace"))


def clear_drafts(files: Iterable[Path]) -> None:
    """Take away, of these files, those that killed processes left half-written.

    Only where no other process writes at the moment, which `alone_in` sees to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, ".note.7.part").write_bytes(b"half")
        ...     clear_drafts(Path(folder).iterdir())
        ...     os.listdir(folder)
        []
    """
    for path in list(files):
        if is_draft(path):
            with contextlib.suppress(OSError):
                path.unlink()


def is_draft(path: Path) -> bool:
    """Whether a file is one that `write_bytes`, or zarr, had not finished.

    Example:
        >>> is_draft(Path("c/.0.7.part")), is_draft(Path("c/0")), is_draft(Path("film.part"))
        (True, False, False)
    """
    return re.fullmatch(r"\..+\.\d+\.part|.+\.[0-9a-f]{32}\.partial", path.name) is not None


def read_text(argument: str, path: str | Path) -> str:
    """A text in UTF-8, with or without the mark that some editors put first.

    Raises:
        InvalidArgument: the file is not there, cannot be read, or is no text.

    Example:
        >>> read_text("file", "/missing.toml")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: file = '/missing.toml' cannot be read (No such file or \
directory); pass an existing, readable file
    """
    path = as_path(argument, path)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidArgument(argument, str(path), "is not text", "save it as UTF-8") from None
    except OSError as error:
        raise InvalidArgument(
            argument,
            str(path),
            f"cannot be read ({error.strerror})",
            "pass an existing, readable file",
        ) from None


def cannot_write(argument: str, path: str | Path, error: Exception) -> InvalidArgument:
    """What to say when a disk is full, read-only or gone.

    Example:
        >>> str(cannot_write("out", "runs", OSError(28, "No space left on device")))
        "out = 'runs' cannot be written (No space left on device); free some space, or choose a \
folder that you can write to"
    """
    reason = getattr(error, "strerror", None) or str(error)
    return InvalidArgument(
        argument,
        str(path),
        f"cannot be written ({reason})",
        "free some space, or choose a folder that you can write to",
    )


def writable_folder(argument: str, path: Any) -> Path:
    """The folder, made if it is not there, once a file could be written into it.

    Raises:
        InvalidArgument: if it cannot be made or written.

    Example:
        >>> writable_folder("out", "/dev/null/results")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: out = '/dev/null/results' cannot be written (Not a \
directory); free some space, or choose a folder that you can write to
    """
    folder = as_path(argument, path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise cannot_write(argument, folder, error) from None
    return folder


@contextlib.contextmanager
def alone_in(argument: str, folder: Path) -> Iterator[None]:
    """Keep other processes that ask for the same out of a folder; the lock dies with its process.

    Args:
        argument: that named the folder.
        folder: one that is there.

    Raises:
        InvalidArgument: another process is at work in it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, alone_in("out", Path(folder)):
        ...     with alone_in("out", Path(folder)):
        ...         pass
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: out = ... is in use by another process; wait until ...
    """
    if fcntl is None:
        yield
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise cannot_write(argument, folder, error) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidArgument(
                argument,
                str(folder),
                "is in use by another process",
                "wait until it has ended, or choose another folder",
            ) from None
        except OSError:  # some network disks lock no folders
            pass
        yield
    finally:
        os.close(handle)
