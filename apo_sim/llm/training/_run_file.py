"""What a run's folder is of: all that its results depend on, kept in run.json."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from apo_sim.configuration import check_same, environment
from apo_sim.errors import InvalidArgument
from apo_sim.files import alone_in, as_path, cannot_write, writable_folder, write_text
from apo_sim.identity import fingerprint, identity
from apo_sim.llm import stages
from apo_sim.llm.data.prompts import digest
from apo_sim.llm.models import stored_parameters
from apo_sim.llm.models.loading import Model
from apo_sim.llm.models.text import Tokenizer
from apo_sim.sources import version_of

_FILE = "run.json"
# Packages that results depend on beside those of `environment`.
_ENGINES = (
    "flax",
    "if_verifiable",
    "langdetect",
    "qwix",
    "safetensors",
    "tokenizers",
    "transformers",
    "tunix",
)


def began(out: Any) -> str | None:
    """When a run began, in ISO 8601: chat templates are told it, on whatever day it is resumed.

    Args:
        out: as the user has it.

    Returns:
        What is in its folder; the present moment, the first process's, for a run that begins, and
        None for one that began before folders told it.

    Raises:
        InvalidArgument: the folder is damaged.
    """
    seconds = np.uint32(time.time())
    if jax.process_count() > 1:
        seconds = multihost_utils.broadcast_one_to_all(seconds)
    if out is not None:
        # What else is wrong with the place is told by `opened`.
        with contextlib.suppress(OSError):
            return _read(as_path("out", out) / _FILE).get("began")
    return datetime.fromtimestamp(int(seconds)).isoformat()


@contextlib.contextmanager
def opened(
    out: Any,
    model: Model,
    mesh: jax.sharding.Mesh | None,
    settings: Mapping[str, Any],
    moment: str | None,
) -> Iterator[Path]:
    """The folder of a run, kept from other processes until the run has ended.

    Args:
        out: as the user has it.
        model: its weights count by content, and so do its tokenizer and chat template.
        mesh: its shape decides the order of sums.
        settings: objects count by `apo_sim.identity`.
        moment: what `began` has found.

    Raises:
        InvalidArgument: something has no identity, so that its results could not be kept; the
            folder is gone, cannot be written, is in use, is damaged, or holds something else.
    """
    plan = {
        "model": f"{model.name}, {stored_parameters.digest(model.network)[:16]}",
        "architecture": fingerprint("model", (_kind(model.network), _config(model.network))),
        "tokenizer": fingerprint("tokenizer", _content(model.tokenizer)),
        **{name: _described(name, value) for name, value in settings.items()},
        "mesh": None if mesh is None else dict(mesh.shape),
        "processes": jax.process_count(),
        **environment(),
        **{f"version of {name}": version_of(name) for name in _ENGINES},
        "began": moment,
    }
    place = as_path("out", out)
    if jax.process_index() == 0:
        writable_folder("out", place)
    stages.together("writable")
    with alone_in("out", place) if jax.process_index() == 0 else contextlib.nullcontext():
        _begin(place, plan)
        try:
            yield place
        except OSError as error:
            if not str(error.filename).startswith(str(place)):
                raise
            raise cannot_write("out", place, error) from error


def _kind(network: Any) -> type:
    """The class that the network is written as; with adapters it is in one that qwix makes."""
    return getattr(type(network), "_unquantized_type", type(network))


def _begin(place: Path, plan: Mapping[str, Any]) -> None:
    """Refuse a folder of something else, and begin an empty one."""
    file = place / _FILE
    try:
        if file.exists():
            check_same(place, "run", _read(file), json.loads(json.dumps(plan)))
            return
        if jax.process_index() == 0 and any(map(_foreign, place.iterdir())):
            raise InvalidArgument(
                "out", str(place), "holds something else", "choose an empty or a new folder"
            )
        stages.together("looked")
        if jax.process_index() == 0:
            sealed = {"plan": plan, "sum": stages.mark(plan)}
            write_text(file, json.dumps(sealed, indent=1))
    except OSError as error:
        raise cannot_write("out", place, error) from error


def _read(file: Path) -> Any:
    try:
        sealed = json.loads(file.read_bytes())
        if stages.mark(sealed["plan"]) == sealed["sum"]:
            return sealed["plan"]
    except (ValueError, TypeError, KeyError):
        pass
    raise InvalidArgument(
        "out",
        str(file.parent),
        f"is damaged: {_FILE}, which says what the folder is of, is not as it was written",
        "put the file back from a copy, or choose a new folder",
    )


def _foreign(path: Path) -> bool:
    """Whether a file is somebody's: not one of a system's own, or what a killed process left."""
    return not path.name.startswith(".") and path.name != "lost+found"


def _config(network: Any) -> Any:
    return getattr(network, "config", None)


def _described(name: str, value: Any) -> Any:
    if isinstance(value, int) or name == "beta":
        return value
    if name in ("prompts", "held_out"):
        return digest(value)
    return identity(name, value)


def _content(tokenizer: Tokenizer) -> dict[str, Any]:
    """What a tokenizer was made of, without what it keeps for later."""
    known = {name: value for name, value in vars(tokenizer).items() if not name.startswith("_")}
    return {**known, "inner": tokenizer.inner.to_str()}
