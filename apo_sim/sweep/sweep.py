"""A grid of settings times many seeds, as one labelled dataset."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from apo_sim.checks import as_flag
from apo_sim.errors import InvalidArgument
from apo_sim.interruption import interruptible
from apo_sim.progress import bar
from apo_sim.registry import Family
from apo_sim.sweep._plan import Plan, Unit
from apo_sim.sweep._planning import make_plan
from apo_sim.sweep._store import Store
from apo_sim.sweep.cluster import compute_elsewhere
from apo_sim.sweep.lanes import compute, rehearse

Results = Iterator[tuple[Unit, dict[str, np.ndarray]]]


def sweep(
    family: str | Family = "uniform",
    *,
    seeds: int,
    seed: int = 0,
    variables: Sequence[str] | None = None,
    out: str | Path | None = None,
    chunk: int = 4096,
    cluster: Any = None,
    progress: bool = True,
    **settings: Any,
) -> xr.Dataset:
    """Run every cell of a grid with many seeds.

    A setting is a number, a name or an object. A list of them becomes an axis of the grid, in the
    order given (`loss=["dpo", apo.IPO(0.5)]`). Replicate i sees the same problem and the same
    random numbers in all cells of equal size, so that differences between cells are paired. The
    results are the same to the last bit however the work is distributed.

    Args:
        family: the problems: a name (`apo_sim.registry.FAMILIES`), or a function
            `family(key, contexts, arms, **parameters)` that returns a problem.
        seeds: number of replicates of each cell.
        seed: random seed, an integer in [0, 2**32).
        variables: the series to keep, see `apo_sim.sweep.SERIES`; None for `suboptimality`, `tv`,
            and `residual` if the method has one.
        out: folder of a zarr store, written chunk by chunk; None to keep the results in memory. To
            resume a sweep that was killed, call it again. Damaged chunks are detected and computed
            again. A store is refused if it holds another sweep or if another process is writing to
            it. Your own objects are identified by their content.
        chunk: number of runs to compute and store at a time. A kill loses at most one chunk, and
            memory holds only a few, whatever the size of the grid.
        cluster: a Dask cluster, client or address to compute on; None for this process.
        progress: show a progress bar with the remaining time, if the output is a terminal.
        **settings: `beta` and `iterations` (both required), `alpha`, `samples` (None for exact
            preferences), `arms`, `contexts`, `reward_bound`, and the parameters of the family.
            `loss`, `ranker`, `geometry`, `momentum` and `method` are objects, or names in
            `apo_sim.registry`. A name of a momentum rule stands for a rule that takes `alpha`. A
            name of a method stands for one that takes these settings and `beta`; an object has
            its own settings and takes none of these. `beta_schedule` is "constant" or "matched"
            (no momentum, but the betas that follow the same path under exact preferences). `draws`
            is "fresh" or "shared" (the same random numbers in every iteration, a control in which
            errors do not average out).

    Returns:
        The dataset. Its dimensions are the axes of the grid in order, then `seed`, then
        `iteration`; runs shorter than the longest are padded with NaN. Objects appear in
        coordinates by their labels. `attrs["configuration"]` is JSON: to compute the same numbers
        again, call `sweep` with it, after replacing the records of objects without a name by the
        objects. With `out`, the dataset is read lazily from the store.

    Raises:
        UnknownName: a setting, a variable or an object has an unknown name.
        InvalidArgument: a value is one that a run would refuse, an axis is empty, the results do
            not fit, or the folder cannot be used. These are raised before anything is computed.
            While computing, a run overflows or the disk is full.
        ClusterLost: the cluster went away; finished work is kept.

    Example:
        >>> gaps = sweep("uniform", alpha=[0.0, 0.9], beta=5.0, iterations=10, seeds=3)
        >>> dict(gaps.suboptimality.sizes)
        {'alpha': 2, 'seed': 3, 'iteration': 10}
        >>> last = gaps.suboptimality.isel(iteration=-1)
        >>> bool((last.sel(alpha=0.9) < last.sel(alpha=0.0)).all())
        True
    """
    progress = as_flag("progress", progress)
    plan = make_plan(family, settings, seeds, seed, variables, chunk)
    rehearse(plan)
    store = Store(plan, out)
    with store.opened() as missing, interruptible() as look:
        for unit, found in _watched(_computed(plan, missing, cluster), plan, missing, progress):
            _refuse_what_is_no_number(unit, found)
            store.write(unit, found)
            look()
    return store.dataset()


def _computed(plan: Plan, missing: Sequence[Unit], cluster: Any) -> Results:
    if cluster is None:
        return ((unit, compute(unit, plan.seed)) for unit in missing)
    return compute_elsewhere(cluster, missing, plan.seed) if missing else iter(())


def _watched(results: Results, plan: Plan, missing: Iterable[Unit], progress: bool) -> Results:
    """The same results, with a bar that counts runs."""
    left = sum(len(unit.replicate) for unit in missing)
    with bar("runs", plan.runs, plan.runs - left, progress) as advance:
        for unit, found in results:
            yield unit, found
            advance(len(unit.replicate))


def _refuse_what_is_no_number(unit: Unit, found: dict[str, np.ndarray]) -> None:
    """Name the first run of a unit that is no longer finite, and the iteration."""
    for name, values in found.items():
        lost = np.argwhere(np.isnan(values.reshape(-1, values.shape[-1])))
        if lost.size:
            lane, iteration = lost[0]
            cell = {n: f"{v[lane]:g}" for n, v in unit.numbers.items() if n != "matched"}
            cell["seed"] = str(unit.replicate[lane])
            raise InvalidArgument(
                "settings",
                ", ".join(f"{n}={value}" for n, value in cell.items()),
                f"lead to numbers that overflow: {name} is not a number in iteration "
                f"{iteration + 1}",
                "use fewer iterations, a larger beta or a smaller alpha",
            )
