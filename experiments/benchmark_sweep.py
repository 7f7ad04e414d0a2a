"""Time a sweep: a million sampled iterations, overhead, memory, and two workers against one.

python experiments/benchmark_sweep.py            # everything
python experiments/benchmark_sweep.py --quick    # a few seconds a part
python experiments/benchmark_sweep.py --part overhead
"""

import pathlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import jax
import numpy as np
from paired import (
    DEVICES,
    Sides,
    Target,
    console,
    new_table,
    over_lanes,
    peak_memory,
    print_machine,
    run_parts,
    seconds_of,
    spread,
    use_all_cores,
)
from script import start

import apo_sim as apo
from apo_sim import sweep

ARMS, SAMPLES, ITERATIONS, BETA, ALPHA = 10, 1000, 20, 100.0, 0.3
SETTINGS: dict[str, Any] = {
    "family": "uniform",
    "arms": ARMS,
    "samples": SAMPLES,
    "beta": BETA,
    "iterations": ITERATIONS,
}
LANES = 128
"""What a sweep gives a device at a time; the bare loop takes as many."""


@dataclass(frozen=True)
class Options:
    """A sweep against the bare loop, a larger grid, and more workers.

    Args:
        quick: a few seconds a part, for a look; ratios are rougher.
        part: which part to run.
    """

    quick: bool = False
    part: Literal["million", "overhead", "memory", "workers", "all"] = "all"


def million(options: Options) -> list[Target]:
    """One call; the rate is what the README's cost model uses."""
    runs = 5_000 if options.quick else 50_000
    _sweep_to_disk(LANES)
    seconds = seconds_of(lambda: _sweep_to_disk(runs))
    console.print(
        f"One call, {runs:,} runs x {ITERATIONS} iterations (K = {ARMS}, N = {SAMPLES}): "
        f"{seconds:.3g} s, {runs / seconds:,.0f} runs/s, "
        f"{runs * ITERATIONS / seconds:,.0f} iterations/s on {DEVICES} devices.\n"
    )
    return []


def _sweep_to_disk(seeds: int, **settings: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "sweep.zarr"
        sweep(**{**SETTINGS, "alpha": ALPHA, **settings}, seeds=seeds, out=out, progress=False)


def _bare(runs: int) -> Callable[[], Any]:
    """The same runs in a loop over batches, nothing labelled, nothing stored."""
    batch = LANES * DEVICES

    def lane(key):
        of_problem, of_data = jax.random.split(key)
        bandit = apo.families.uniform_bandit(of_problem, 1, ARMS)
        solution = apo.run(
            bandit,
            momentum=apo.Constant(ALPHA),
            beta=BETA,
            iterations=ITERATIONS,
            samples=SAMPLES,
            key=of_data,
        )
        return solution.suboptimality, solution.tv, solution.residual

    program = over_lanes(lane, (0,))
    keys = jax.random.split(jax.random.key(0), runs)
    return lambda: [
        jax.tree.map(np.asarray, program(keys[start : start + batch]))
        for start in range(0, runs, batch)
    ]


def overhead(options: Options) -> list[Target]:
    runs = LANES * DEVICES * (4 if options.quick else 40)
    with console.status("overhead: compiling"):
        bare = _bare(runs)
        bare()
        _sweep_to_disk(LANES)
    sides = {"bare loop": bare, "sweep": lambda: _sweep_to_disk(runs)}
    timed = Sides(sides, 3 if options.quick else 7, "overhead")
    ratios = timed.ratios("sweep", "bare loop")
    table = new_table(f"Overhead: {runs:,} runs x {ITERATIONS} iterations", "side", "s", "ratio")
    table.add_row("bare loop", f"{timed.median('bare loop'):.3g}", "1")
    table.add_row("sweep, stored", f"{timed.median('sweep'):.3g}", spread(ratios))
    console.print(table, "")
    return [Target("sweep against the bare loop", median(ratios), 1.1, "x", False)]


def sweep_alone(cells: int, seeds: int) -> None:
    """Nothing but one sweep, for its peak memory."""
    use_all_cores()
    _sweep_to_disk(seeds, alpha=list(np.linspace(0.0, 0.9, cells)))


def memory(options: Options) -> list[Target]:
    # Both fill a unit of the store: below that there is nothing to bound.
    seeds = 1024 if options.quick else 4096
    found = {}
    for cells in (1, 10):
        with console.status(f"memory: {cells} x {seeds} runs, in a process of their own"):
            found[cells] = peak_memory("benchmark_sweep", f"sweep_alone({cells}, {seeds})")
    console.print(
        f"Peak memory: {found[1]:.3g} GiB for {seeds:,} runs, {found[10]:.3g} GiB for ten times "
        "as many.\n"
    )
    return [Target("memory of a grid ten times larger", found[10] / found[1], 1.1, "x", False)]


def workers(options: Options) -> list[Target]:
    """Dask workers of one core each; the store is written here."""
    import distributed

    runs = 2048 if options.quick else 12_288
    one_core = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "OMP_NUM_THREADS": "1"}
    clusters = {}
    with console.status("workers: starting and compiling"):
        for count in (1, 2):
            clusters[count] = distributed.LocalCluster(
                n_workers=count, threads_per_worker=1, dashboard_address=":0", env=one_core
            )
    # Every worker gets several units, so that one that ends late matters little.
    spec: dict[str, Any] = {"chunk": 256}
    runs_of = {
        f"{count} worker{'s' * (count > 1)}": (
            lambda address=cluster.scheduler_address: _sweep_to_disk(runs, cluster=address, **spec)
        )
        for count, cluster in clusters.items()
    }
    try:
        for run in runs_of.values():
            run()
        timed = Sides(runs_of, 3 if options.quick else 5, "workers")
    finally:
        for cluster in clusters.values():
            cluster.close()
    ratios = timed.ratios("1 worker", "2 workers")
    console.print(f"Two single-core workers are {spread(ratios)} times as fast as one.\n")
    return [Target("two workers against one", median(ratios), 1.7, "x", True)]


PARTS = {"million": million, "overhead": overhead, "memory": memory, "workers": workers}


def main(options: Options) -> None:
    use_all_cores()
    print_machine()
    run_parts(PARTS, options)


if __name__ == "__main__":
    start(main, Options)
