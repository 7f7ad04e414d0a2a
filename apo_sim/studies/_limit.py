"""Sweeps over the number of samples together with their limit, exact preferences."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from apo_sim.registry import Family
from apo_sim.studies.kept import place
from apo_sim.sweep import sweep


def sweep_to_limit(
    family: str | Family,
    *,
    samples: Sequence[float],
    out: str | Path | None = None,
    **arguments: Any,
) -> xr.Dataset:
    """A sweep with `samples` as its first dimension, the last of them infinite: exact preferences.

    Args:
        family: as for `apo_sim.sweep.sweep`.
        samples: finite numbers of samples, maybe none.
        out: folder of the two stores.
        **arguments: of `apo_sim.sweep.sweep`.

    Example:
        >>> settings = {"beta": 5.0, "iterations": 2, "arms": 3, "seeds": 2}
        >>> sweep_to_limit("uniform", samples=[], **settings).samples.values.tolist()
        [inf]
    """
    exact = sweep(family, **arguments, out=place(out, "exact")).load()
    limit = exact.drop_vars("samples", errors="ignore").expand_dims(samples=[np.inf])
    if not len(samples):
        return limit
    sampled = sweep(family, samples=list(samples), **arguments, out=place(out, "sampled")).load()
    return xr.concat([sampled.transpose("samples", ...), limit], "samples")
