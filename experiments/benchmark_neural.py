"""Time the ring training against the same training in PyTorch, and check that both learn alike.

    python experiments/benchmark_neural.py            # everything
    python experiments/benchmark_neural.py --quick    # a rougher look
    python experiments/benchmark_neural.py --part agreement

A seed-iteration is one iteration of one seed: pairs drawn, inner steps, momentum, and the exact
gaps of both policies. PyTorch runs one seed after another, as a loop is written, or all seeds side
by side with `torch.func.vmap`. On a GPU both sides use it, PyTorch if it was built for it.
"""

import dataclasses
import functools
import itertools
import os
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
    print_machine,
    run_parts,
    seconds_of,
    spread,
    use_all_cores,
)
from scipy import stats
from script import start

from apo_sim import families
from apo_sim.studies import ring_protocol
from apo_sim.studies.ring_protocol import Protocol
from apo_sim.sweep.trainings import trainings

ALPHA, BETA = 0.3, 1.0
RING = Protocol()
SEEDS = 64
SEGMENTS = 5
COMPILATION = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
OURS, LOOP, VMAP = "apo_sim", "PyTorch loop", "PyTorch vmap"


@dataclass(frozen=True)
class Options:
    """Seed-iterations a second of a network trained by preferences, apo_sim against PyTorch.

    Args:
        quick: about a minute on two idle cores; ratios are rougher.
        part: which part to run.
    """

    quick: bool = False
    part: Literal["ring", "protocols", "agreement", "all"] = "all"


# The two sides


def _lanes(seeds: int, alphas: tuple[float, ...] = (ALPHA,)) -> dict[str, np.ndarray]:
    alpha, replicate = np.meshgrid(alphas, np.arange(seeds), indexing="ij")
    ones = np.ones(alpha.size)
    return {"replicate": replicate.ravel(), "alpha": alpha.ravel(), "beta": BETA * ones}


def _ours(protocol: Protocol, seeds: int, iterations: int) -> Callable[[], Any]:
    setup = ring_protocol.setup(protocol, seed=0)
    shape = {"iterations": iterations, "block": iterations, "progress": False}
    return lambda: trainings(setup, _lanes(seeds), **shape)


@dataclass(frozen=True)
class Way:
    """One way to run PyTorch."""

    threads: int
    compiled: bool = False

    def __str__(self) -> str:
        plural = "s" * (self.threads > 1)
        return f"{self.threads} thread{plural}{', torch.compile' * self.compiled}"


@functools.cache
def _problem() -> tuple[Any, Any]:
    """Actions and rewards, where PyTorch can best use them."""
    import torch

    on_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    console.print(f"PyTorch {torch.__version__} on {device}.\n")
    actions = families.lattice(RING.side)
    reward = families.ring_bandit(actions, RING.radius, RING.decay).reward
    parts = (np.array(part[0], np.float32) for part in (actions, reward))
    actions, reward = (torch.tensor(part, device=device) for part in parts)
    return actions, reward


def _torch(
    protocol: Protocol, seeds: int, iterations: int, way: Way, alpha: float = ALPHA
) -> np.ndarray:
    """Gaps of pi_hat and pi, shape (2, seeds, iterations)."""
    import peers_torch_neural
    import torch

    torch.set_num_threads(way.threads)
    sizes = {"seeds": seeds, "iterations": iterations, "alpha": alpha, "beta": BETA}
    gaps = peers_torch_neural.train(*_problem(), protocol, **sizes, compiled=way.compiled)
    return gaps.numpy()


@functools.cache
def _fastest(protocol: Protocol, seeds: int, quick: bool) -> Way:
    """The best of several ways to run so many seeds side by side."""
    ways = [Way(count) for count in sorted({1, os.cpu_count() or 1})]
    if seeds == 1 and not quick:
        ways.append(Way(1, compiled=True))
    iterations = 2 if quick else 8
    micro = {}
    for way in ways:

        def run(way: Way = way) -> Any:
            return _torch(protocol, seeds, iterations, way)

        try:
            run()
        except RuntimeError as error:  # of torch.compile, which needs a compiler of C++
            console.print(f"PyTorch, {way}, does not run here: {str(error).splitlines()[0]}")
            continue
        seconds = median([seconds_of(run) for _ in range(3)])
        micro[way] = 1e6 * seconds / seeds / iterations
    tried = "; ".join(f"{way} {cost:,.0f} us" for way, cost in micro.items())
    console.print(f"PyTorch, {seeds} seed{'s' * (seeds > 1)} at a time, an iteration: {tried}.")
    return min(micro, key=lambda way: micro[way])


# The rates


@dataclass(frozen=True)
class Rates:
    """Seed-iterations a second of every side, and how many times slower than apo_sim it is."""

    rate: dict[str, float]
    ratios: dict[str, list[float]]
    compiling: float


def _rates(protocol: Protocol, seeds: int, iterations: int, options: Options) -> Rates:
    ours = _ours(protocol, seeds, iterations)
    with console.status("compiling"):
        compiling = _compiling(ours)
    # One seed of the loop costs what any other does, and an iteration what any other does.
    lengths = {1: (LOOP, iterations)}
    if seeds > 1:
        lengths[seeds] = (VMAP, max(1, iterations // 4))
    work, theirs = {OURS: seeds * iterations}, {}
    for count, (name, length) in lengths.items():
        way = _fastest(protocol, count, options.quick)
        theirs[name] = functools.partial(_torch, protocol, count, length, way)
        work[name] = count * length
    runs = {OURS: ours, **theirs}
    sides = Sides(runs, 3 if options.quick else 7, f"{seeds} seeds")
    return Rates(
        {name: work[name] / sides.median(name) for name in runs},
        {name: sides.ratios(name, OURS, work[OURS] / work[name]) for name in runs if name != OURS},
        compiling,
    )


def _compiling(run: Callable[[], Any]) -> float:
    """Seconds of lowering and compilation within a run, as JAX counts them."""
    spent = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event in COMPILATION:
            spent.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    run()
    # The listener stays, but what is compiled later is not in this sum.
    return sum(spent)


def ring(options: Options) -> list[Target]:
    """The default protocol: what was promised."""
    found = _rates(RING, SEEDS, 20 if options.quick else 100, options)
    table = new_table(
        f"Ring: MLP 2-{RING.width}-1, {RING.side}x{RING.side} actions, N = {RING.samples}, "
        f"{RING.steps} AdamW steps, {SEEDS} seeds",
        *("side", "seed-iterations/s", "times as slow"),
    )
    for name, rate in found.rate.items():
        slower = "1" if name == OURS else spread(found.ratios[name])
        table.add_row(name, f"{rate:,.0f}", slower)
    console.print(table)
    console.print(
        f"apo_sim on {DEVICES if jax.default_backend() == 'cpu' else jax.device_count()} devices "
        f"({jax.default_backend()}), compiled beforehand in {found.compiling:.2g} s. PyTorch loop: "
        f"{_fastest(RING, 1, options.quick)}; vmap over seeds: "
        f"{_fastest(RING, SEEDS, options.quick)}.\n"
    )
    return [Target("ring against the PyTorch loop", median(found.ratios[LOOP]), 10.0, "x", True)]


def protocols(options: Options) -> list[Target]:
    """Where the advantage comes from, and where it ends."""
    iterations = 8 if options.quick else 40
    cases = {
        "1 seed": (RING, 1, 4 * iterations),
        "8 seeds": (RING, 8, iterations),
        "256 pairs": (dataclasses.replace(RING, samples=256), 8, iterations),
        "50 inner steps": (dataclasses.replace(RING, steps=50), 8, iterations // 4),
        "exact preferences": (dataclasses.replace(RING, samples=None), 8, iterations // 4),
    }
    columns = ("seeds", "apo_sim", LOOP, "times as slow", VMAP, "times as slow", "compiling, s")
    table = new_table("Seed-iterations a second, several protocols", "protocol", *columns)
    for name, (protocol, seeds, length) in cases.items():
        found = _rates(protocol, seeds, length, options)
        row = [str(seeds), f"{found.rate[OURS]:,.0f}"]
        for side in (LOOP, VMAP):
            known = side in found.rate
            row += [f"{found.rate[side]:,.0f}", spread(found.ratios[side])] if known else ["", ""]
        table.add_row(name, *row, f"{found.compiling:.2g}")
    console.print(table)
    console.print(
        f"The ring with one thing changed; {SEEDS} seeds are in its own table. A seed "
        "of apo_sim keeps to one core.\n"
    )
    return []


# Agreement


def agreement(options: Options) -> list[Target]:
    """Mean regrets over seeds; each side has random numbers of its own."""
    seeds, iterations = 40, 50 if options.quick else 300
    setup = ring_protocol.setup(RING, seed=0)
    with console.status("agreement"):
        shape = {"iterations": iterations, "block": iterations, "progress": False}
        ours = trainings(setup, _lanes(seeds), **shape)["suboptimality"]
        theirs, plain = (
            _torch(RING, seeds, iterations, Way(threads=1), alpha)[0] for alpha in (ALPHA, 0.0)
        )
    table = new_table(
        f"Mean regret over {seeds} seeds, with 95 % intervals",
        *("iterations", OURS, "PyTorch", "difference", "PyTorch without momentum", "difference"),
    )
    cuts = np.linspace(0, iterations, SEGMENTS + 1).astype(int)
    spans = [*itertools.pairwise(cuts), (0, iterations)]
    apart = {}
    for first, last in spans:
        mine, same, other = (part[:, first:last].mean(axis=1) for part in (ours, theirs, plain))
        apart = {"same": _difference(same, mine), "other": _difference(other, mine)}
        table.add_row(
            f"{first + 1}–{last}",
            *(_with_interval(part.mean(), _half(part)) for part in (mine, same)),
            _with_interval(*apart["same"]),
            _with_interval(other.mean(), _half(other)),
            _with_interval(*apart["other"]),
        )
    console.print(table, "")
    # Of the last row, all iterations, so that only one comparison decides.
    same, other = (abs(middle) / half for middle, half in apart.values())
    return [
        Target("regret apart from PyTorch's, of its interval", same, 1.0, "", False),
        Target("control: the same where PyTorch has no momentum", other, 1.0, "", True),
    ]


def _half(values: np.ndarray) -> float:
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def _difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The difference of two means, and half its 95 % interval."""
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    return (interval.low + interval.high) / 2, (interval.high - interval.low) / 2


def _with_interval(middle: float, half: float) -> str:
    return f"{middle:.4f} ± {half:.4f}"


PARTS = {"ring": ring, "protocols": protocols, "agreement": agreement}


def main(options: Options) -> None:
    use_all_cores()
    print_machine()
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        console.print("[yellow]torch is not installed: `make bench` installs it.[/]")
        return
    run_parts(PARTS, options)


if __name__ == "__main__":
    start(main, Options)
