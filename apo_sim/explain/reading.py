"""Training logs from files: ours, `trainer_state.json` of the Hugging Face trainers, CSV, JSONL."""

import contextlib
import csv
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from apo_sim.errors import InvalidArgument
from apo_sim.explain.log import Collector, Log
from apo_sim.files import as_path
from apo_sim.plain_kinds import is_mapping

# Lists of rows, by the file's own names: ours, and that of the Hugging Face trainers.
_LISTS = ("steps", "log_history")
# What a folder's log is called, and where the Hugging Face trainers put theirs.
_FILES = ("results.json", "trainer_state.json")
_BETWEEN = re.compile(r"[\s,]*")
_CHECKPOINTS = re.compile(r"checkpoint-(\d+)$")
# Characters read at a time; a single row longer than the largest is no row of a log.
_CHUNK, _LONGEST_ROW = 1 << 20, 1 << 24
_REMEDY = "pass results.json of a run, trainer_state.json, or a CSV or JSONL file with such columns"


def read_log(path: Any) -> Log:
    r"""The figures of a log.

    Files are read row by row: nothing but the numbers of known columns is kept.

    Args:
        path: a file that ends in .json, .jsonl, .csv or .tsv, with commas, semicolons or tabs
            between its fields and, if not commas, either decimal sign; or a folder of a run, of
            which the log in it is taken, or that of its last checkpoint.

    Raises:
        InvalidArgument: no such file, one that is no such log or was cut off, or holds no figures.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "log.csv")
        ...     _ = file.write_text("step,loss\n1,0.69\n2,0.5\n")
        ...     read_log(file).columns["loss"].value.tolist()
        [0.69, 0.5]
    """
    file = _file(as_path("log", path))
    kinds = {".csv": _csv_rows, ".tsv": _csv_rows, ".jsonl": _jsonl_rows, ".json": _json_rows}
    reader = kinds.get(file.suffix.lower())
    if reader is None:
        raise InvalidArgument("log", str(file), "is not a known kind of log", _REMEDY)
    collector = Collector(str(file))
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            for row in reader(opened, file):
                collector.add(row)
    except OSError as error:
        raise InvalidArgument(
            "log",
            str(file),
            f"cannot be read ({error.strerror})",
            "pass an existing, readable file",
        ) from None
    except UnicodeDecodeError:
        raise InvalidArgument("log", str(file), "is not text", "save it as UTF-8") from None
    return collector.log(_dtype_beside(file))


def _file(path: Path) -> Path:
    """The file itself, or the log of a folder."""
    if not path.is_dir():
        return path
    checkpoints = sorted(
        (found for found in path.iterdir() if _CHECKPOINTS.match(found.name)),
        key=lambda found: int(found.name.rpartition("-")[2]),
    )
    for folder in (path, *reversed(checkpoints)):
        for name in _FILES:
            if (folder / name).is_file():
                return folder / name
    raise InvalidArgument("log", str(path), f"contains neither {' nor '.join(_FILES)}", _REMEDY)


def _csv_rows(opened: TextIO, file: Path) -> Iterator[Mapping[str, Any]]:
    # Programs of countries that write 0,5 put another sign between fields.
    head = opened.readline()
    between = max(",;\t", key=head.count)
    reader = csv.DictReader(itertools.chain([head], opened), delimiter=between)
    try:
        for row in reader:
            if None in row:
                raise _broken(file, f"line {reader.line_num} has more fields than the first line")
            if between != ",":
                row = {name: value and value.replace(",", ".") for name, value in row.items()}
            yield row
    except csv.Error as error:
        raise _broken(file, f"line {reader.line_num}: {error}") from None


def _jsonl_rows(opened: TextIO, file: Path) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(opened, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                raise _broken(file, f"line {number} is not JSON") from None
            yield _checked(row, file)


def _json_rows(opened: TextIO, file: Path) -> Iterator[Mapping[str, Any]]:
    """Of the first list of rows that the file has, or is; one row at a time is in memory."""
    text = opened.read(_CHUNK)
    found = re.match(r"\s*\[", text)
    names = re.compile(r'"(?:' + "|".join(_LISTS) + r')"\s*:\s*\[')
    while found is None and (found := names.search(text)) is None:
        chunk = opened.read(_CHUNK)
        if not chunk:
            if not text.strip():
                raise _broken(file, "it is empty")
            raise _broken(file, f"it has no list called {' or '.join(_LISTS)}")
        text = text[-100:] + chunk  # a name may lie across two chunks
    decoder, place = json.JSONDecoder(), found.end()
    while True:
        place = _BETWEEN.match(text, place).end()  # type: ignore[union-attr]
        if text.startswith("]", place):
            return
        try:
            row, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            chunk = opened.read(_CHUNK)
            if not chunk or len(text) - place > _LONGEST_ROW:
                raise _broken(file, "its list of rows is cut off, or no JSON") from None
            text, place = text[place:] + chunk, 0
            continue
        yield _checked(row, file)


def _checked(row: Any, file: Path) -> Mapping[str, Any]:
    if not is_mapping(row):
        raise _broken(file, f"{row!r:.40} stands where a row should be")
    return row


def _broken(file: Path, what: str) -> InvalidArgument:
    return InvalidArgument("log", str(file), f"cannot be understood: {what}", _REMEDY)


def _dtype_beside(file: Path) -> str | None:
    """The precision of the checkpoint that a log lies beside, from its config.json."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        config = json.loads((file.parent / "config.json").read_text(encoding="utf-8"))
        if is_mapping(config):
            found = config.get("dtype", config.get("torch_dtype"))
            return found if isinstance(found, str) else None
    return None
