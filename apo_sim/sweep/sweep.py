"""A grid of settings times many seeds, as one labelled dataset."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from apo_sim.progress import bar
from apo_sim.sweep.cluster import compute_elsewhere
from apo_sim.sweep.lanes import compute
from apo_sim.sweep.named import Family
from apo_sim.sweep.plan import Plan, Unit, make_plan
from apo_sim.sweep.store import Store

Results = Iterator[tuple[Unit, dict[str, np.ndarray]]]


def sweep(
    family: str | Family = "uniform",
    *,
    seeds: int,
    seed: int = 0,
    variables: Sequence[str] = ("suboptimality", "tv", "residual"),
    out: str | Path | None = None,
    chunk: int = 4096,
    cluster: Any = None,
    progress: bool = True,
    **settings: Any,
) -> xr.Dataset:
    """Run every cell of a grid with many seeds.

    A setting is a number, or a list of numbers: an axis of the grid, in the order given. Lists of
    names are axes too (`momentum=["none", "nesterov"]`). Replicate i meets the same problem and
    the same random numbers in every cell of equal sizes, so that differences between cells are
    paired; any layout of the work gives the same numbers to the last bit.

    Args:
        family: the problems: a name (`apo_sim.sweep.NAMED`), or a function
            `family(key, contexts, arms, **parameters)` that returns a problem.
        seeds: number of replicates of every cell.
        seed: all randomness is folded from it; an integer in [0, 2**32).
        variables: which series to keep, see `apo_sim.sweep.SERIES`.
        out: folder of a zarr store, written unit by unit. A sweep that was killed goes on where
            it was when it is started again; a store of another sweep is refused. None: in memory.
        chunk: runs that are computed and stored as one; a kill loses no more, and memory holds
            few of them at a time, whatever the size of the grid.
        cluster: a Dask cluster, client or address that shares the work; None: this process.
        progress: show a bar with an estimate of what remains, on a terminal.
        **settings: `beta`, `iterations` (needed), `alpha`, `samples` (None: exact preferences),
            `arms`, `contexts`, `reward_bound`, `loss` ("dpo", "ipo", "sppo"), `momentum`
            ("constant", "unrestricted", "none", "nesterov", "averaging", "from_behaviour", and
            "matched_beta": no momentum, and the beta that take the same path with exact
            preferences), `draws` ("fresh", or "shared": the same random numbers in every
            iteration, a control in which errors do not average), and the parameters of the family.

    Returns:
        The dataset: dimensions in the order of the grid, then `seed`, then `iteration`; runs
        shorter than the longest end in NaN. `attrs["configuration"]` is JSON; `sweep` called with
        it computes the same numbers. With `out` it is read from the store when it is used.

    Raises:
        UnknownName: for an unknown family, setting, variable, loss or momentum rule.
        InvalidArgument: for a value that a run would refuse, an empty axis, results that do not
            fit, a folder that cannot be used. Nothing is computed before that.
        ClusterLost: the cluster went away; what was finished is kept.

    Example:
        >>> gaps = sweep("uniform", alpha=[0.0, 0.9], beta=5.0, iterations=10, seeds=3)
        >>> dict(gaps.suboptimality.sizes)
        {'alpha': 2, 'seed': 3, 'iteration': 10}
        >>> last = gaps.suboptimality.isel(iteration=-1)
        >>> bool((last.sel(alpha=0.9) < last.sel(alpha=0.0)).all())
        True
    """
    plan = make_plan(family, settings, seeds, seed, variables, chunk)
    store = Store(plan, out)
    missing = [unit for unit in plan.units() if not store.holds(unit)]
    results = (
        ((unit, compute(unit, plan.seed)) for unit in missing)
        if cluster is None
        else compute_elsewhere(cluster, missing, plan.seed)
    )
    for unit, found in _watched(results, plan, missing, progress):
        store.write(unit, found)
    return store.dataset()


def _watched(results: Results, plan: Plan, missing: Iterable[Unit], progress: bool) -> Results:
    """The same results, with a bar that counts runs."""
    left = sum(len(unit.replicate) for unit in missing)
    with bar("runs", plan.runs, plan.runs - left, progress) as advance:
        for unit, found in results:
            yield unit, found
            advance(len(unit.replicate))
