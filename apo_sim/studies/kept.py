"""A part of a study that is kept in a file, so that a run that was interrupted goes on from it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from apo_sim.errors import InvalidArgument
from apo_sim.files import cannot_write, writable_folder, write_bytes


def kept(store: Path | None, settings: dict[str, Any], compute: Callable[[], xr.Dataset]) -> Any:
    """What was computed before with the same settings, or is computed and kept now.

    Args:
        store: the file that keeps it; None for none.
        settings: all that it depends on.
        compute: makes it.

    Raises:
        InvalidArgument: what is kept there has other settings.

    Example:
        >>> float(kept(None, {}, lambda: xr.Dataset({"gap": 1.0})).gap)
        1.0
    """
    if store is None:
        return compute()
    text = json.dumps(settings, default=str, sort_keys=True)
    if store.exists():
        with xr.open_dataset(store, engine="scipy") as stored:
            found = stored.load()
        if found.attrs.pop("settings", None) != text:
            raise InvalidArgument(
                "out", store.parent, "keeps runs of other settings", "choose another folder"
            )
        return found
    found = compute()
    content = found.assign_attrs(settings=text).to_netcdf(engine="scipy")
    try:
        write_bytes(writable_folder("out", store.parent) / store.name, bytes(content))
    except OSError as error:
        raise cannot_write("out", store, error) from None
    return found


def place(out: str | Path | None, name: str) -> Path | None:
    """Where a study keeps one of its stores: in its folder, if it has one.

    Example:
        >>> place("runs", "sweep").as_posix(), place(None, "sweep")
        ('runs/sweep.zarr', None)
    """
    return None if out is None else Path(out) / f"{name}.zarr"
