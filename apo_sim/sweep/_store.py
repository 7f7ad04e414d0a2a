"""The zarr store of a sweep: written unit by unit, checked, mended, resumed or refused."""

import contextlib
import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.dtype import VariableLengthUTF8
from zarr.errors import BaseZarrError, ZarrUserWarning
from zarr.storage import LocalStore, MemoryStore

from apo_sim.configuration import check_same, environment
from apo_sim.errors import InvalidArgument
from apo_sim.files import alone_in, as_path, cannot_write, clear_drafts, is_draft, write_bytes
from apo_sim.sweep._plan import Plan, Unit
from apo_sim.sweep._room import check_disk, check_memory
from apo_sim.sweep.series import SERIES

LONG_NAMES = {
    "alpha": "extrapolation",
    "beta": "proximal weight",
    "beta_schedule": "proximal weights of the iterations",
    "samples": "preference pairs an iteration",
    "iterations": "iterations of the run",
    "arms": "arms",
    "contexts": "contexts",
    "reward_bound": "bound on the learned rewards",
}
_PROGRAM = "apo_sim sweep"
# Of what lies in a store; another one is refused.
_LAYOUT = 3
_MARKER = "zarr.json"
_REMEDY = "choose an empty or a new folder"


class Store:
    """A group of arrays with the dimensions of the grid, `seed` and `iteration`.

    Each unit of work is one chunk of every array, and the sum of these is written once they are:
    what a killed sweep left half-written, and what was changed, lost or moved since, is recognised
    and computed again. All other files follow from the plan, byte for byte: those that differ are
    written again.

    Args:
        plan: of the sweep.
        out: folder; None for the memory.

    Raises:
        InvalidArgument: the folder holds something else, or the results do not fit. Nothing is
            written before `opened`.
    """

    def __init__(self, plan: Plan, out: Any):
        self.plan = plan
        self.path = None if out is None else as_path("out", out)
        self.mark = _mark(plan)
        what = f"{plan.runs:,} runs"
        if self.path is None:
            remedy = "pass out= to keep them on disk, or make the grid smaller"
            check_memory("grid", what, plan.bytes, remedy)
        else:
            _check_identities(plan)
            _check_ours(plan, self.mark, self.path)
            if _is_empty(self.path):
                check_disk("grid", what, plan.bytes, self.path)
        content: dict[str, Any] = {}
        laid_out = MemoryStore(content)
        _lay_out(plan, self.mark, laid_out)
        self.files = {name: kept.to_bytes() for name, kept in content.items()}
        self.place: Any = laid_out if self.path is None else LocalStore(self.path)

    @contextlib.contextmanager
    def opened(self) -> Iterator[list[Unit]]:
        """The units that are to be computed; other processes are kept out until they are.

        What is finished and undamaged is only read: it may lie on a full or a read-only disk.

        Raises:
            InvalidArgument: the folder cannot be written, or is in use.
        """
        if self.path is None:
            yield list(self.plan.units())
        elif self._damaged() or self._missing():
            self._make_folder(self.path)
            with alone_in("out", self.path):
                # Another process may have been quicker.
                _check_ours(self.plan, self.mark, self.path)
                self._mend(self.path)
                missing = self._missing()
                runs = sum(len(unit.replicate) for unit in missing)
                needed = self.plan.bytes // self.plan.runs * runs
                check_disk("grid", f"{runs:,} runs", needed, self.path)
                yield missing
        else:
            yield []

    def write(self, unit: Unit, results: dict[str, np.ndarray]) -> None:
        """Store the results of a unit; runs shorter than the longest end in NaN."""
        try:
            group = zarr.open_group(self.place, mode="r+")
            for name, values in results.items():
                missing = self.plan.longest - values.shape[-1]
                padding = [(0, 0)] * (values.ndim - 1) + [(0, missing)]
                array: Any = group[name]
                whole = np.pad(values, padding, constant_values=np.nan)
                array[(*unit.place, slice(None))] = whole
            if self.path is not None:
                file = self._sum_file(self.path, unit)
                file.parent.mkdir(exist_ok=True)
                write_bytes(file, self._sum(self.path, unit))
        except (OSError, BaseZarrError, KeyError) as error:  # the latter: it is no longer there
            raise _unwritable(self.path, error) from None

    def dataset(self) -> xr.Dataset:
        """What is stored: read when it is used if it is on disk, else in memory."""
        if self.path is None:
            return self._read(self.place, []).load()
        try:
            strangers = {path.name for path in self.path.iterdir()}
            strangers -= {name.partition("/")[0] for name in self.files}
            return self._read(LocalStore(self.path, read_only=True), sorted(strangers))
        except (OSError, BaseZarrError) as error:
            raise InvalidArgument(
                "out", str(self.path), f"can no longer be read ({error})", "run the sweep again"
            ) from None

    def _read(self, place: Any, strangers: list[str]) -> xr.Dataset:
        with warnings.catch_warnings():
            # Of files beside the arrays, such as those that file managers leave.
            warnings.simplefilter("ignore", ZarrUserWarning)
            return xr.open_zarr(place, consolidated=False, chunks=None, drop_variables=strangers)

    def _damaged(self) -> list[str]:
        """Files that are not as the plan would write them."""
        assert self.path is not None
        return [name for name, kept in self.files.items() if _content(self.path / name) != kept]

    def _missing(self) -> list[Unit]:
        """Units that are not there, whole and unchanged."""
        assert self.path is not None
        return [unit for unit in self.plan.units() if not self._holds(self.path, unit)]

    def _holds(self, path: Path, unit: Unit) -> bool:
        try:
            return _content(self._sum_file(path, unit)) == self._sum(path, unit)
        except OSError:
            return False

    def _sum(self, path: Path, unit: Unit) -> bytes:
        """Of what lies in the chunks of a unit, and of what should: sweep, place, variable."""
        index = self._index(unit)
        found = hashlib.sha256(json.dumps([self.mark, index]).encode())
        for name in self.plan.variables:
            chunk = path.joinpath(name, "c", *map(str, index), "0").read_bytes()
            found.update(hashlib.sha256(chunk).digest())
        return found.hexdigest().encode()

    def _sum_file(self, path: Path, unit: Unit) -> Path:
        # Within an array, where those who read the group see nothing of it.
        name = ".".join(map(str, self._index(unit)))
        return path / self.plan.variables[0] / "sums" / name

    def _index(self, unit: Unit) -> list[int]:
        steps = self.plan.unit_extent()
        return [part.start // step for part, step in zip(unit.place, steps, strict=True)]

    def _make_folder(self, path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write("out", path, error) from None

    def _mend(self, path: Path) -> None:
        """Write what follows from the plan; the file that makes a folder a store comes last."""
        try:
            clear_drafts(path.rglob("*"))
            for name in self.plan.variables:
                # Whose the chunks are is written beside them.
                if _attributes(path / name).get("sweep") != self.mark:
                    shutil.rmtree(path / name, ignore_errors=True)
            for name in sorted(self._damaged(), key=lambda name: name == _MARKER):
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                write_bytes(path / name, self.files[name])
        except OSError as error:
            raise _unwritable(path, error) from None


def _lay_out(plan: Plan, mark: str, place: Any) -> None:
    """Write all of a store but its results."""
    group = zarr.open_group(place, mode="w", zarr_format=3)
    dims = (*plan.axes, "seed", "iteration")
    shape = (*plan.extent, plan.longest)
    for name in plan.variables:
        group.create_array(
            name,
            shape=shape,
            chunks=(*plan.unit_extent(), plan.longest),
            dtype=str(jnp.zeros(()).dtype),
            fill_value=float("nan"),
            compressors=(ZstdCodec(level=1), Crc32cCodec()),
            dimension_names=dims,
            attributes={
                "long_name": SERIES[name].long_name,
                "units": SERIES[name].units,
                "sweep": mark,
            },
        )
    shown = {name: plan.shown(name) for name, value in plan.settings.items() if value is not None}
    single = {name: value for name, value in shown.items() if name not in plan.axes}
    coordinates = {
        **{name: shown[name] for name in plan.axes},
        "seed": range(plan.seeds),
        "iteration": range(1, plan.longest + 1),
        **single,
    }
    for name, values in coordinates.items():
        data = np.asarray(values)
        text = data.dtype.kind == "U"
        array = group.create_array(
            name,
            shape=data.shape,
            dtype=VariableLengthUTF8() if text else data.dtype,
            dimension_names=(name,) if data.ndim else (),
            # Zeros too: a file that is not there could not be told from one that was lost.
            config={"write_empty_chunks": True},
            attributes={"long_name": LONG_NAMES.get(name, name)},
        )
        array[...] = data.astype(object) if text else data
    group.attrs.update(
        {
            "program": _PROGRAM,
            "layout": _LAYOUT,
            "configuration": json.dumps(plan.configuration()),
            "environment": json.dumps(environment()),
            "coordinates": " ".join(single),
        }
    )


def _check_identities(plan: Plan) -> None:
    """Refuse an object that cannot be told from another: nothing that it is in can be resumed."""
    for choice in plan.choices:
        if choice.refusal is not None:
            raise choice.refusal


def _mark(plan: Plan) -> str:
    """What tells this sweep's results from all others."""
    content = json.dumps([_LAYOUT, plan.configuration(), environment()])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _check_ours(plan: Plan, mark: str, path: Path) -> None:
    """Refuse a folder with something else in it; a damaged store of this sweep is none."""
    if _is_empty(path):
        return
    found = [_attributes(path / name) for name in plan.variables]
    if not any(attributes.get("sweep") == mark for attributes in found):
        _check_marker(plan, path)
    chunks = {_chunks(path / name) for name in plan.variables}
    ours = (*plan.unit_extent(), plan.longest)
    if len(chunks) == 1 and not chunks & {ours, None}:
        raise InvalidArgument(
            "chunk",
            plan.chunk,
            f"differs from that of the store, {chunks.pop()}",
            "pass the same chunk, or another out",
        )


def _check_marker(plan: Plan, path: Path) -> None:
    attributes = _attributes(path)
    try:
        theirs = dict(json.loads(attributes["configuration"]))
        where = dict(json.loads(attributes["environment"]))
        ours = attributes["program"] == _PROGRAM
    except (KeyError, TypeError, ValueError, RecursionError):  # whatever it is that lies there
        ours, theirs, where = False, {}, {}
    if not ours:
        raise InvalidArgument("out", str(path), "is not the store of a sweep", _REMEDY)
    if attributes.get("layout") != _LAYOUT:
        raise InvalidArgument(
            "out", str(path), "is the store of another version of apo-sim", _REMEDY
        )
    check_same(path, "sweep", theirs, plan.configuration())
    check_same(path, "sweep", where, environment())
    if [name for name in theirs if name in plan.axes] != list(plan.axes):
        raise InvalidArgument("out", str(path), "has its axes in another order", _REMEDY)


def _is_empty(path: Path) -> bool:
    """Whether there is nothing but empty folders and what killed processes left."""
    try:
        return not path.exists() or (
            path.is_dir() and all(found.is_dir() or is_draft(found) for found in path.rglob("*"))
        )
    except OSError as error:
        raise cannot_write("out", path, error) from None


def _metadata(folder: Path) -> dict[str, Any]:
    """What a folder's `zarr.json` says; nothing where there is none that can be read."""
    try:
        found = json.loads(_content(folder / _MARKER) or b"")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _attributes(folder: Path) -> dict[str, Any]:
    found = _metadata(folder).get("attributes")
    return found if isinstance(found, dict) else {}


def _chunks(folder: Path) -> tuple[int, ...] | None:
    try:
        return tuple(_metadata(folder)["chunk_grid"]["configuration"]["chunk_shape"])
    except (KeyError, TypeError):
        return None


def _unwritable(store: Path | None, error: Exception) -> InvalidArgument:
    named = [getattr(error, name, None) for name in ("filename2", "filename")]
    return cannot_write("out", str(next(filter(None, named), store)), error)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
