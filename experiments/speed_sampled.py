"""The sampled path on easy data: apo_sim against choix, evalica, arena-rank and PyTorch.

With a large beta every pair of arms is met often, the optimum is finite and no bound on the
rewards binds. Solvers of Bradley-Terry scores know no bound, so only there do all sides solve the
same problem.
"""

import functools
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import jax
import numpy as np
import peers_numpy
from paired import CPU_TIME, Cell, Rows, Spread, Target, console, optional_peer, seconds_of
from peers_numpy import Floats, Solver
from rivals import (
    ACCURACY,
    REWARD_BOUND,
    SAMPLED,
    Case,
    Rival,
    Shared,
    best_torch,
    in_turn,
    less_accurate,
    ours,
    settings_of,
    shared_counts,
)

import apo_sim as apo


@dataclass(frozen=True)
class Size:
    """A size of the sampled problem, and what a run of it is to be.

    Args:
        arms: K.
        samples: N.
        seeds: how many runs of apo_sim and of PyTorch are timed.
        against_choix: how many times as fast as the fastest of choix.
        against_torch: how many times as fast as vectorised PyTorch, if anything was promised.
    """

    arms: int
    samples: int
    seeds: int
    against_choix: float
    against_torch: float | None


SIZES = {
    size.arms: size
    for size in (
        Size(4, 1_000, 2048, 45.0, 0.7),
        Size(10, 1_000, 1024, 28.0, 1.4),
        Size(30, 3_000, 256, 7.0, 2.7),
        Size(100, 30_000, 32, 3.0, 4.0),
        Size(200, 100_000, 8, 2.0, None),
    )
}

ONE_BY_ONE = {"choix": "choix", "evalica": "evalica", "arena-rank": "arena_rank"}
"""Packages whose solvers take one table of counts at a time, and their modules."""
MOST_ARMS = {"mm_pairwise": 10, "ilsr_pairwise": 10, "opt_pairwise (Newton-CG)": 10,
             "opt_pairwise (BFGS)": 10, "BradleyTerry (L-BFGS)": 100}  # fmt: skip
"""Solvers that take seconds a problem beyond so many arms."""
HOPELESS = 50.0
"""So many times slower than the fastest solver, one is not timed again within runs."""


def easy_case(size: Size) -> Case:
    problem = apo.families.uniform_bandit(jax.random.key(0), contexts=1, arms=size.arms)
    return Case(problem, size.samples)


def sampled(options: Any) -> Iterator[Rows | Target]:
    for arms in options.arms:
        yield from _at(SIZES[arms], options.quick)


def _at(size: Size, quick: bool) -> Iterator[Rows | Target]:
    seeds, rounds = (max(size.seeds // 8, 4), 3) if quick else (size.seeds, 5)
    case = easy_case(size)
    shared = shared_counts(case, max(min(seeds, 200), 4))
    with console.status(f"sampled, K = {size.arms}: compiling"):
        rivals = [ours(case, shared, seeds)]
    with console.status(f"sampled, K = {size.arms}: trying solvers"):
        table, fastest = _one_by_one(case, size, shared, quick)
    if table.rows:
        yield table
    rivals += fastest
    with console.status(f"sampled, K = {size.arms}: trying PyTorch"), optional_peer("torch"):
        rivals.append(best_torch(case, shared, seeds))
    rows = in_turn(rivals, rounds, f"sampled, K = {size.arms}")
    yield Rows(
        f"sampled, K = {size.arms}",
        f"Sampled path: K = {size.arms}, N = {size.samples:,}, {SAMPLED['iterations']} iterations, "
        "draws included",
        [{"side": name, **row} for name, row in rows.items()],
        f"Errors are the largest of a difference of rewards over shared win counts. Peers run at "
        f"the loosest tolerance that keeps their error below {ACCURACY:g} and start each solve "
        f"from the scores before it. The widest optimum spans {shared.widest:.2f}, less than 2R = "
        f"{2 * REWARD_BOUND:g}. {settings_of(rivals)}{less_accurate(rows.values())}",
    )
    yield from _targets(size, rows)


def _targets(size: Size, rows: dict[str, dict[str, Cell]]) -> Iterator[Target]:
    at = f"K = {size.arms}"
    error = rows["apo_sim"]["largest error"]
    assert isinstance(error, float)
    yield Target(f"error of its rewards, {at}", error, ACCURACY, "", False)
    for name, factor in {"choix": size.against_choix, "PyTorch": size.against_torch}.items():
        ratio = rows.get(name, {}).get("times as slow")
        if factor is not None and isinstance(ratio, Spread):
            yield Target(f"sampled path against {name}, {at}", ratio.median, factor, "x", True)


def _one_by_one(case: Case, size: Size, shared: Shared, quick: bool) -> tuple[Rows, list[Rival]]:
    """How every solver does on some of the shared problems, and the fastest of each package."""
    few = min(3 if quick else 10, len(shared.wins))
    rows: list[dict[str, Cell]] = []
    best: dict[str, tuple[float, Rival]] = {}
    for package, module in ONE_BY_ONE.items():
        with optional_peer(module):
            solvers = importlib.import_module(f"peers_{module.removesuffix('_rank')}").SOLVERS
            for name, solver in solvers.items():
                if size.arms > MOST_ARMS.get(name, size.arms):
                    continue
                seconds, rival = _tried(package, name, solver, case, shared, few)
                rows.append(
                    {
                        "solver": f"{package} {name}",
                        "ms a problem": 1e3 * seconds,
                        "largest error": rival.error,
                        "tolerance": rival.setting.rsplit(" ", 1)[1],
                    }
                )
                if rival.accurate and seconds < best.get(package, (np.inf, None))[0]:
                    best[package] = seconds, rival
    first = min((seconds for seconds, _ in best.values()), default=0.0)
    table = Rows(
        f"solvers, K = {size.arms}",
        f"Solvers of one table at a time: K = {size.arms}, {few} of the shared problems",
        rows,
        f"Each at the loosest tolerance that keeps its error below {ACCURACY:g}, no draws. The "
        "fastest of a package takes part in the runs below, unless another one's is "
        f"{HOPELESS:g} times as fast.",
    )
    return table, [rival for seconds, rival in best.values() if seconds <= HOPELESS * first]


def _tried(
    package: str, name: str, solver: Solver, case: Case, shared: Shared, few: int
) -> tuple[float, Rival]:
    """Seconds a problem, and the runs that the solver would make."""

    def solve(tolerance: float, wins: Floats) -> Floats:
        return np.stack([solver(one, np.zeros(len(one)), tolerance) for one in wins])

    tolerance, error = shared.loosest(solve, few)
    timed = functools.partial(solve, tolerance, shared.wins[:few])
    try:
        seconds = median(seconds_of(timed, CPU_TIME) for _ in range(3)) / few
    except RuntimeError:
        seconds = np.inf
    arms = shared.wins.shape[1]
    # About a tenth of a second at every number of arms.
    seeds = max(200 // max(arms, 10), 2)
    run = functools.partial(
        peers_numpy.sampled,
        solver,
        tolerance,
        np.asarray(case.problem.reward[0]),
        np.asarray(case.problem.log_ref[0]),
        **SAMPLED,
        samples=case.samples,
        seeds=seeds,
        seed=0,
    )
    return seconds, Rival(package, run, seeds, error, f"{name}, tolerance {tolerance:g}")
