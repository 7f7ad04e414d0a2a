"""Paired timings: several sides in one process, in turn, and targets held against them."""

import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from rich.table import Table
from script import console

DEVICES = min(2 ** ((os.cpu_count() or 1).bit_length() - 1), 8)
"""One a core shares the lanes of apo_sim; a power of two, so that it divides their number."""


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


class Sides:
    """Seconds of several sides, timed in turn, so that a load on the machine meets them all."""

    def __init__(self, runs: dict[str, Callable[[], Any]], rounds: int, part: str):
        self.seconds: dict[str, list[float]] = {name: [] for name in runs}
        with console.status(part) as status:
            for turn in range(rounds):
                for name, run in runs.items():
                    status.update(f"{part}: round {turn + 1} of {rounds}, {name}")
                    self.seconds[name].append(seconds_of(run))

    def median(self, name: str) -> float:
        return median(self.seconds[name])

    def ratios(self, name: str, against: str, scale: float = 1.0) -> list[float]:
        """How many times the seconds of `against` those of `name` are, round by round, sorted."""
        pairs = zip(self.seconds[name], self.seconds[against], strict=True)
        return sorted(scale * mine / theirs for mine, theirs in pairs)


def seconds_of(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def spread(ratios: list[float]) -> str:
    return f"{median(ratios):.3g} ({ratios[0]:.3g}–{ratios[-1]:.3g})"


def new_table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table


def use_all_cores() -> None:
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", DEVICES)


def over_lanes(function: Callable[..., Any], axes: tuple[int | None, ...]) -> Callable[..., Any]:
    """`jit` of `vmap`, the lanes shared out among the devices, as a sweep does it."""
    mesh = jax.make_mesh((DEVICES,), ("lanes",), axis_types=(AxisType.Auto,))
    specs = tuple(P() if axis is None else P("lanes") for axis in axes)
    lanes = jax.vmap(function, axes)
    # Loops within run until their lanes are done: each device must be free to stop on its own.
    return jax.jit(
        jax.shard_map(lanes, mesh=mesh, in_specs=specs, out_specs=P("lanes"), check_vma=False)
    )


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


def print_machine() -> None:
    """Say what the figures below were measured on."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(
        f"{os.cpu_count()} CPUs, load {load}; {platform.platform()}, Python "
        f"{platform.python_version()}, JAX {jax.__version__}, NumPy {np.__version__}\n"
    )


def run_parts(parts: dict[str, Callable[[Any], list["Target"]]], options: Any) -> None:
    """Run the part of a benchmark that the options name, or all, and hold it to its targets."""
    chosen = list(parts) if options.part == "all" else [options.part]
    targets = [target for part in chosen for target in parts[part](options)]
    if targets:
        print_targets(targets)


def print_targets(targets: list[Target]) -> None:
    """Print what was promised and what was measured."""
    table = new_table("Targets", "what", "measured", "wanted", "")
    for target in targets:
        sign = "at least" if target.at_least else "at most"
        unit = target.unit
        wanted = f"{sign} {target.wanted:g}{unit}"
        table.add_row(target.what, f"{target.measured:.3g}{unit}", wanted, target.verdict)
    console.print(table)
