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
from apo_sim.sweep.cluster import compute_elsewhere
from apo_sim.sweep.lanes import compute, rehearse
from apo_sim.sweep.plan import Plan, Unit
from apo_sim.sweep.planning import make_plan
from apo_sim.sweep.store import Store

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

    A setting is a number, a name or an object, or a list of them: an axis of the grid, in the order
    given (`loss=["dpo", apo.IPO(0.5)]`). Replicate i meets the same problem and the same random
    numbers in every cell of equal sizes, so that differences between cells are paired; any layout
    of the work gives the same numbers to the last bit.

    Args:
        family: the problems: a name (`apo_sim.registry.FAMILIES`), or a function
            `family(key, contexts, arms, **parameters)` that returns a problem.
        seeds: number of replicates of every cell.
        seed: all randomness is folded from it; an integer in [0, 2**32).
        variables: which series to keep, see `apo_sim.sweep.SERIES`. None: `suboptimality`, `tv`,
            and `residual` if the method has one.
        out: folder of a zarr store, written unit by unit. A sweep that was killed goes on where
            it was when it is started again; a store of another sweep is refused, and so is one
            that another process is writing. What is damaged is found and computed again. Objects
            of one's own count by their content. None: in memory.
        chunk: runs that are computed and stored as one; a kill loses no more, and memory holds
            few of them at a time, whatever the size of the grid.
        cluster: a Dask cluster, client or address that shares the work; None: this process.
        progress: show a bar with an estimate of what remains, on a terminal.
        **settings: `beta`, `iterations` (needed), `alpha`, `samples` (None: exact preferences),
            `arms`, `contexts`, `reward_bound`, and the parameters of the family. As objects or by
            the names in `apo_sim.registry`: `loss`, `ranker`, `geometry`, and `momentum`, whose
            names are rules of `alpha`; `method`, by its name one that is made of these settings
            and of `beta`, as an object one that has its own and takes none of them. In words:
            `beta_schedule` ("constant", or "matched": no momentum, and the betas that take its
            path with exact preferences) and `draws` ("fresh", or "shared": the same random numbers
            in every iteration, a control in which errors do not average).

    Returns:
        The dataset: dimensions in the order of the grid, then `seed`, then `iteration`; runs
        shorter than the longest end in NaN. Coordinates have objects by their labels.
        `attrs["configuration"]` is JSON; `sweep` called with it computes the same numbers, once
        objects without a name are put in their places. With `out` the dataset is read from the
        store when it is used.

    Raises:
        UnknownName: for a name that nothing answers to: of a setting, a variable, an object.
        InvalidArgument: for a value that a run would refuse, an empty axis, results that do not
            fit, a folder that cannot be used. Nothing is computed before that. While it runs,
            for a run whose numbers grow too large, or a disk that fills up.
        ClusterLost: the cluster went away; what was finished is kept.

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
                f"lead to numbers too large to be held: {name} is none in iteration "
                f"{iteration + 1}",
                "take fewer iterations, a larger beta or a smaller alpha",
            )
