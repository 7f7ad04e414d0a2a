"""The zarr store of a sweep: written unit by unit, checked by its sums, resumed or refused."""

import importlib.metadata
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.dtype import VariableLengthUTF8
from zarr.storage import MemoryStore

from apo_sim.configuration import check_same
from apo_sim.errors import InvalidArgument
from apo_sim.sweep.plan import Plan, Unit
from apo_sim.sweep.series import SERIES

LONG_NAMES = {
    "alpha": "extrapolation",
    "beta": "proximal weight",
    "samples": "preference pairs an iteration",
    "iterations": "iterations of the run",
    "arms": "arms",
    "contexts": "contexts",
    "reward_bound": "bound on the learned rewards",
}
_PROGRAM = "apo_sim sweep"
# Results may need this share of what is free.
_SHARE = 0.9


class Store:
    """A group of arrays with the dimensions of the grid, `seed` and `iteration`.

    Each unit of work is one chunk of every array, and each chunk carries its sum: what a killed
    sweep left half-written, or what was changed since, is recognised and computed again. There is
    no other record of what is done.
    """

    def __init__(self, plan: Plan, out: str | Path | None):
        self.plan = plan
        self.path = None if out is None else Path(out)
        _check_room(plan, self.path)
        if self.path is None:
            self.place: Any = MemoryStore()
            _lay_out(plan, self.place)
        else:
            self.place = self.path
            _make_or_check(plan, self.path)
        self.group = zarr.open_group(self.place, mode="r+")

    def holds(self, unit: Unit) -> bool:
        """Whether a unit is there, whole and unchanged."""
        return all(self._whole(name, unit) for name in self.plan.variables)

    def _whole(self, name: str, unit: Unit) -> bool:
        try:
            first = self._array(name)[(*unit.place, slice(0, 1))]
        except Exception:  # every codec has errors of its own for bytes that it cannot read
            return False
        return not np.isnan(np.asarray(first)).any()

    def write(self, unit: Unit, results: dict[str, np.ndarray]) -> None:
        """Store the results of a unit; runs shorter than the longest end in NaN."""
        for name, values in results.items():
            missing = self.plan.longest - values.shape[-1]
            padding = [(0, 0)] * (values.ndim - 1) + [(0, missing)]
            whole = np.pad(values, padding, constant_values=np.nan)
            self._array(name)[(*unit.place, slice(None))] = whole

    def dataset(self) -> xr.Dataset:
        """What is stored: read when it is used if it is on disk, else in memory."""
        dataset = xr.open_zarr(self.place, consolidated=False, chunks=None)
        return dataset if self.path else dataset.load()

    def _array(self, name: str) -> Any:
        return self.group[name]


def environment() -> dict[str, str]:
    """What the last bit of a number may depend on beside the configuration."""
    return {
        "apo_sim": importlib.metadata.version("apo-sim"),
        "jax": jax.__version__,
        "platform": jax.default_backend(),
        "precision": str(jnp.zeros(()).dtype),
    }


def _make_or_check(plan: Plan, path: Path) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        _check_same(plan, path)
        return
    # Whole or not at all: a folder half laid out would be nobody's.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise InvalidArgument(
            "out", str(path), f"cannot be written ({error.strerror})", "choose another folder"
        ) from error
    try:
        _lay_out(plan, draft)
        draft.chmod(0o755)
        draft.rename(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _lay_out(plan: Plan, place: Any) -> None:
    group = zarr.open_group(place, mode="w", zarr_format=3)
    dims = (*plan.axes, "seed", "iteration")
    shape = (*plan.extent, plan.longest)
    for name in plan.variables:
        array = group.create_array(
            name,
            shape=shape,
            chunks=(*plan.unit_extent(), plan.longest),
            dtype=str(jnp.zeros(()).dtype),
            fill_value=float("nan"),
            compressors=(ZstdCodec(level=1), Crc32cCodec()),
            dimension_names=dims,
            overwrite=True,
        )
        array.attrs.update({"long_name": SERIES[name].long_name, "units": SERIES[name].units})
    single = {n: v for n, v in plan.settings.items() if n not in plan.axes and v is not None}
    coordinates = {
        **plan.axes,
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
            overwrite=True,
        )
        array[...] = data.astype(object) if text else data
        array.attrs["long_name"] = LONG_NAMES.get(name, name)
    group.attrs.update(
        {
            "program": _PROGRAM,
            "configuration": json.dumps(plan.configuration()),
            "environment": json.dumps(environment()),
            "coordinates": " ".join(single),
        }
    )


def _check_same(plan: Plan, path: Path) -> None:
    remedy = "choose an empty or a new folder"
    try:
        attributes = dict(zarr.open_group(path, mode="r").attrs)
        theirs = json.loads(str(attributes["configuration"]))
        where = json.loads(str(attributes["environment"]))
        ours = attributes["program"] == _PROGRAM
    except Exception:  # whatever it is that lies there
        ours, theirs, where = False, {}, {}
    if not ours:
        raise InvalidArgument("out", str(path), "is not the store of a sweep", remedy)
    check_same(path, "sweep", theirs, plan.configuration())
    check_same(path, "sweep", where, environment())
    if [name for name in theirs if name in plan.axes] != list(plan.axes):
        raise InvalidArgument("out", str(path), "has its axes in another order", remedy)
    chunks = zarr.open_array(path, path=plan.variables[0], mode="r").chunks
    if chunks[:-1] != plan.unit_extent():
        raise InvalidArgument(
            "chunk",
            plan.chunk,
            f"is not that of the store, {chunks}",
            "pass the same, or another out",
        )


def _check_room(plan: Plan, path: Path | None) -> None:
    """Refuse results that do not fit into what is free."""
    if path is None:
        free, place = _free_memory(), "memory"
        remedy = "pass out= to keep them on disk, or make the grid smaller"
    else:
        exists = next((p for p in (path, *path.absolute().parents) if p.exists()), Path("/"))
        free, place = shutil.disk_usage(exists).free, "disk"
        remedy = "choose another disk, or make the grid smaller"
    if plan.bytes > _SHARE * free:
        raise InvalidArgument(
            "grid",
            f"{plan.runs:,} runs",
            f"needs {plan.bytes / 2**30:.3g} GiB of {place}, and {free / 2**30:.3g} GiB are free",
            remedy,
        )


def _free_memory() -> float:
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return float("inf")
