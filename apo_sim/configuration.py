"""What results depend on, as plain data: kept beside them, and held against what is asked for."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from apo_sim.errors import InvalidArgument
from apo_sim.version import versions

_LONGEST = 60
# JAX's settings that change numbers.
_SETTINGS = ("default_matmul_precision", "default_prng_impl", "threefry_partitionable")


def check_same(place: Path, what: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse a folder whose results depend on something else, and name the first difference.

    Args:
        place: of the results.
        what: they are of, such as "sweep".
        theirs: configuration that lies there.
        ours: configuration that is asked for.

    Raises:
        InvalidArgument: they differ.

    Example:
        >>> check_same(Path("out"), "sweep", {"seed": 0}, {"seed": 1})
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: out = 'out' holds another sweep: seed is 0 there and ...
    """
    for name in (*ours, *(name for name in theirs if name not in ours)):
        if theirs.get(name) != ours.get(name):
            raise InvalidArgument(
                "out",
                str(place),
                f"holds another {what}: {name} is {_short(theirs.get(name))} there and "
                f"{_short(ours.get(name))} here",
                "choose an empty or a new folder",
            )


def environment() -> dict[str, str]:
    """What the last bit of a number may depend on beside the configuration.

    Example:
        >>> environment()["jax"] == jax.__version__
        True
    """
    return {
        **versions("apo-sim", "jax", "jaxlib", "numpy", "optax"),
        "platform": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        "precision": str(jnp.zeros(()).dtype),
        **{name: str(getattr(jax.config, f"jax_{name}")) for name in _SETTINGS},
        "xla_flags": " ".join(_flags()),
    }


def _flags() -> list[str]:
    """Flags of the compiler that change numbers: not the layout of the work, not what it tells."""
    harmless = ("host_platform_device_count", "multi_thread_eigen", "dump", "log")
    given = os.environ.get("XLA_FLAGS", "").split()
    return sorted(flag for flag in given if not any(word in flag for word in harmless))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
