"""Time a first call, and what all cores get done against one: plain loops, both paths, a sweep.

    python experiments/benchmark_cores.py            # everything
    python experiments/benchmark_cores.py --quick    # fewer rounds of less work

One core and all of them are two processes, each with as many devices as cores, that do the same
work in turn. Plain loops that the library has no part in say what the machine gives at best: more
is lost where both cores share a clock, a pipeline or a memory bus.
"""

import concurrent.futures
import contextlib
import functools
import hashlib
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from paired import DEVICES, Rows, Sides, Spread, Target, console, print_machine, run_parts
from script import start
from speed_first import first

import apo_sim as apo
from apo_sim.sweep import use_cores

SHARE_WANTED = 0.9
AGAINST_NUMPY = 5.0
SWEEP: dict[str, Any] = {
    "family": "uniform",
    "arms": 10,
    "samples": 1000,
    "alpha": 0.3,
    "beta": 100.0,
    "iterations": 20,
}


@dataclass(frozen=True)
class Options:
    """What a first call takes, and what all cores get done against one.

    Args:
        quick: less work and fewer rounds, for a look.
        part: which part to run: a first call, all cores against one, or all.
        out: where the figures go, as JSON.
    """

    quick: bool = False
    part: Literal["first", "cores", "all"] = "all"
    out: Path = Path("results/benchmark_cores.json")


# Work, done by a process that knows how many cores it has; `size` grows with it.


def hashing(cores: int, size: int) -> None:
    """A loop of integers that touches no memory and needs no lock of the interpreter."""

    def one(_: int) -> bytes:
        return hashlib.pbkdf2_hmac("sha256", b"", b"", 50_000 * size)

    _in_threads(cores, one, 2 * DEVICES)


def copying(cores: int, size: int) -> None:
    """Copies of arrays that fit no cache."""

    def one(_: int) -> None:
        source, target = np.ones((2, 2**22))
        for _ in range(5 * size):
            np.copyto(target, source)

    _in_threads(cores, one, 2 * DEVICES)


def _in_threads(cores: int, one: Callable[[int], Any], parts: int) -> None:
    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        list(pool.map(one, range(parts)))


@functools.cache
def _exact(iterations: int) -> Callable[[], Any]:
    from speed_exact import exact_run

    return exact_run(iterations)


def exact(cores: int, size: int) -> None:
    _exact(20 * size)()


def numpy_plain(cores: int, size: int) -> None:
    """The exact path as one writes it in NumPy; it knows one core only."""
    from peers_numpy import exact_plain
    from speed_exact import numpy_in_turn

    numpy_in_turn(exact_plain, 2 * size)


@functools.cache
def _sampled(seeds: int) -> Callable[[float], Any]:
    from rivals import our_runs
    from speed_sampled import SIZES, easy_case

    return our_runs(easy_case(SIZES[10]), seeds)


def sampled(cores: int, size: int) -> None:
    _sampled(256 * size)(1000.0)


def sweeping(cores: int, size: int) -> None:
    out = Path(tempfile.mkdtemp()) / "sweep.zarr"
    apo.sweep(**SWEEP, seeds=1024 * size, out=out, progress=False)


PLAIN = {"hashing, no memory": hashing, "copying, all memory": copying}
OURS = {"exact path": exact, "sampled path": sampled, "sweep to disk": sweeping}
NUMPY = "NumPy, plain"


# Two processes


def _begin(cores: int, folder: str) -> None:
    """What a process does first: Ctrl-C is its parent's to handle, and so is what it writes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = folder
    jax.config.update("jax_enable_x64", True)
    use_cores(cores)


@contextlib.contextmanager
def _process(cores: int) -> Iterator[Callable[..., None]]:
    """A process of its own on so many cores: what it is called with, it does.

    What it writes is removed at the end: to remove the files of a sweep can take as long as to
    write them, and is not timed.
    """
    before = os.sched_getaffinity(0)
    # A new process has the cores of the one that starts it.
    os.sched_setaffinity(0, sorted(before)[:cores])
    os.environ.pop("NPROC", None)  # that of all cores; `use_cores` says it anew
    folder = tempfile.TemporaryDirectory()
    try:
        pool = multiprocessing.get_context("spawn").Pool(1, _begin, (cores, folder.name))
    finally:
        os.sched_setaffinity(0, before)
    with folder, pool:
        yield lambda work, size: pool.apply(work, (cores, size))


def cores(options: Options) -> Iterator[Rows | Target]:
    size, rounds = (1, 3) if options.quick else (4, 9)
    with _process(1) as alone, _process(DEVICES) as together:
        ratios: dict[str, list[float]] = {}
        for name, work in {**PLAIN, **OURS}.items():
            runs = {"one": lambda work=work: alone(work, size)}
            runs["all"] = lambda work=work: together(work, size)
            ratios[name] = _ratios(runs, rounds, name)
        runs = {"one": lambda: together(numpy_plain, size), "all": lambda: together(exact, size)}
        against_numpy = [10.0 * ratio for ratio in _ratios(runs, rounds, NUMPY)]
    best = Spread.of(ratios["hashing, no memory"]).median
    yield Rows(
        "cores",
        f"All {DEVICES} cores against one",
        [
            {
                "work": name,
                "times as fast on all": Spread.of(found),
                "share of the best": Spread.of(found).median / best,
            }
            for name, found in ratios.items()
        ],
        "The best is what a loop of integers gets that touches no memory. The same work on "
        f"{DEVICES} devices as on one; sampled: K = 10, N = 1,000. The exact path on all cores is "
        f"{Spread.of(against_numpy)} times as fast as plain NumPy, which uses one.",
    )
    share = Spread.of(ratios["sweep to disk"]).median / best
    yield Target("sweep on all cores, share of the best", share, SHARE_WANTED, "", True)
    ratio = Spread.of(against_numpy).median
    yield Target("exact path on all cores against plain NumPy", ratio, AGAINST_NUMPY, "x", True)


def _ratios(runs: dict[str, Callable[[], Any]], rounds: int, part: str) -> list[float]:
    """How many times as fast the second is as the first."""
    for run in runs.values():
        run()  # compiles
    first, second = runs
    return Sides(runs, rounds, part).ratios(first, second)


PARTS = {"first": first, "cores": cores}


def main(options: Options) -> None:
    if not hasattr(os, "sched_setaffinity"):
        console.print("[yellow]This system does not let a process choose its cores.[/]")
        return
    print_machine()
    run_parts(PARTS, options, options.out)


if __name__ == "__main__":
    start(main, Options)
