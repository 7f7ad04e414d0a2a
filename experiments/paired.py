"""Paired timings: several sides in one process, in turn, and targets held against them."""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.table import Table
from script import console

from apo_sim.sweep.devices import EVERYWHERE, LANES, shared_out, use_cores

DEVICES = min(2 ** ((os.cpu_count() or 1).bit_length() - 1), 8)
"""One a core shares the lanes of apo_sim; a power of two, so that it divides their number."""


CPU_TIME = time.process_time
"""Seconds that this process computes, on all of its threads: others on the machine do not count."""


@dataclass(frozen=True)
class Target:
    """A number that was promised, and what was measured."""

    what: str
    measured: float
    wanted: float
    unit: str
    at_least: bool

    @property
    def met(self) -> bool:
        return self.measured >= self.wanted if self.at_least else self.measured <= self.wanted

    @property
    def verdict(self) -> str:
        if self.met:
            return "[green]met[/]"
        apart = self.wanted / self.measured if self.at_least else self.measured / self.wanted
        return f"[red]missed[/] by a factor of {apart:.2g}"


class Spread(NamedTuple):
    """The median of paired ratios, the smallest and the largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ratios: list[float]) -> "Spread":
        return cls(median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        middle, low, high = map(as_text, self)
        return f"{middle} ({low}–{high})"


Cell = str | int | float | Spread | None


@dataclass(frozen=True)
class Rows:
    """What was measured, as rows of named cells, for the eye and for the file of results.

    Args:
        name: short, by which the documentation finds the rows.
        title: what was run.
        rows: the same names in each; None where a cell has nothing to say.
        note: what has to be known to read them.
    """

    name: str
    title: str
    rows: list[dict[str, Cell]]
    note: str = ""


class Sides:
    """Seconds of several sides, timed in turn, so that a load on the machine meets them all.

    Args:
        runs: by their names, what they do.
        rounds: how often each does it.
        part: of the benchmark, for whoever waits.
        clock: that of the wall, or `CPU_TIME`, for sides that compute on one core throughout.
    """

    def __init__(
        self,
        runs: dict[str, Callable[[], Any]],
        rounds: int,
        part: str,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.seconds: dict[str, list[float]] = {name: [] for name in runs}
        with console.status(part) as status:
            for turn in range(rounds):
                for name, run in runs.items():
                    status.update(f"{part}: round {turn + 1} of {rounds}, {name}")
                    self.seconds[name].append(seconds_of(run, clock))

    def median(self, name: str) -> float:
        return median(self.seconds[name])

    def ratios(self, name: str, against: str, scale: float = 1.0) -> list[float]:
        """How many times the seconds of `against` those of `name` are, round by round, sorted."""
        pairs = zip(self.seconds[name], self.seconds[against], strict=True)
        return sorted(scale * mine / theirs for mine, theirs in pairs)


def seconds_of(run: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    run()
    return clock() - start


def spread(ratios: list[float]) -> str:
    return str(Spread.of(ratios))


def new_table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table


def use_all_cores() -> None:
    jax.config.update("jax_enable_x64", True)
    use_cores(DEVICES)


def on_one_core() -> None:
    """Start this script again on one core, before any library has counted them.

    Where the system does not let a process choose its cores, it goes on as it is.
    """
    os.environ.setdefault("NPROC", "1")  # as `use_cores(1)` has it
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        os.execv(sys.executable, [sys.executable, *sys.argv])


def use_one_core() -> None:
    jax.config.update("jax_enable_x64", True)
    use_cores(1)


def over_lanes(function: Callable[..., Any], axes: tuple[int | None, ...]) -> Any:
    """`jit` of `vmap`, the lanes shared out among the devices, as a sweep does it."""
    specs = (EVERYWHERE if axis is None else LANES for axis in axes)
    return shared_out(jax.vmap(function, axes), *specs)


def peak_memory(module: str, call: str) -> float:
    """GiB at its peak of a process that does nothing but one call into a script of this folder."""
    # In a session of its own, so that Ctrl-C reaches this process only, which then kills it.
    done = subprocess.run(
        [sys.executable, "-c", f"import {module} as m; m.{call}; {_PEAK}"],
        cwd=pathlib.Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        start_new_session=True,
    )
    return float(done.stdout) / (2**30 if platform.system() == "Darwin" else 2**20)


_PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


@contextlib.contextmanager
def optional_peer(package: str) -> Iterator[None]:
    """Say what to do when a peer is not installed; its rows are left out."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        console.print(f"[yellow]{package} is not installed, so it is left out.[/]")


def machine() -> dict[str, Any]:
    """What figures are measured on."""
    return {
        "cpus": os.cpu_count(),
        "load": [round(value, 1) for value in os.getloadavg()],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
    }


def print_machine() -> None:
    """Say what the figures below were measured on."""
    found = machine()
    load = ", ".join(map(str, found["load"]))
    console.print(
        f"{found['cpus']} CPUs, load {load}; {found['platform']}, Python {found['python']}, "
        f"JAX {found['jax']}, NumPy {found['numpy']}\n"
    )


Parts = Mapping[str, Callable[[Any], Iterable[Rows | Target]]]


def run_parts(parts: Parts, options: Any, out: pathlib.Path | None = None) -> None:
    """Run the part of a benchmark that the options name, or all, and hold it to its targets.

    Rows are printed, and stored in the file `out`, as soon as a part has them; Ctrl-C leaves it at
    that, with the targets that were measured by then.
    """
    chosen = list(parts) if options.part == "all" else [options.part]
    found: list[Rows | Target] = []
    before = machine()
    try:
        for part in chosen:
            for item in parts[part](options):
                found.append(item)
                if isinstance(item, Rows):
                    print_rows(item)
                if out is not None:
                    store(out, found, {"machine": before, "quick": options.quick})
    except KeyboardInterrupt:
        console.print("Interrupted; what was measured by then:")
        raise SystemExit(130) from None
    finally:
        targets = [item for item in found if isinstance(item, Target)]
        if targets:
            print_targets(targets)


def store(out: pathlib.Path, found: list[Rows | Target], context: dict[str, Any]) -> None:
    """Write what was found so far as JSON, in place of what was there."""
    rows = {
        item.name: dataclasses.asdict(item)
        | {"rows": [{name: _in_json(cell) for name, cell in row.items()} for row in item.rows]}
        for item in found
        if isinstance(item, Rows)
    }
    targets = [dataclasses.asdict(item) for item in found if isinstance(item, Target)]
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(context | {"rows": rows, "targets": targets}, indent=1, ensure_ascii=False)
    out.write_text(text + "\n", encoding="utf-8")


def _in_json(cell: Cell) -> Cell:
    """JSON knows no infinity: None where nothing was reached."""
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def print_rows(rows: Rows) -> None:
    """Print them as a table."""
    table = new_table(rows.title, *rows.rows[0])
    for row in rows.rows:
        table.add_row(*map(as_text, row.values()))
    console.print(table)
    console.print(f"{rows.note}\n")


def as_text(cell: Cell) -> str:
    """A cell as a reader sees it."""
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def print_targets(targets: list[Target]) -> None:
    """Print what was promised and what was measured."""
    table = new_table("Targets", "what", "measured", "wanted", "")
    for target in targets:
        sign = "at least" if target.at_least else "at most"
        unit = target.unit
        wanted = f"{sign} {target.wanted:g}{unit}"
        table.add_row(target.what, f"{target.measured:.3g}{unit}", wanted, target.verdict)
    console.print(table)
