"""What a sampled iteration costs at other numbers of pairs N."""

import functools
from collections.abc import Iterator
from statistics import median
from typing import Any

from paired import CPU_TIME, Rows, Sides, Spread, Target, console
from rivals import SAMPLED, our_runs
from speed_sampled import SIZES, easy_case

USUAL, MANY = 10**5, 10**9
COSTS = (10**3, USUAL, 10**7, MANY, 10**12)


def cost(options: Any) -> Iterator[Rows | Target]:
    rows, targets = [], []
    for arms in options.arms:
        size = SIZES[arms]
        seeds, rounds = (max(size.seeds // 16, 2), 3) if options.quick else (size.seeds // 2, 7)
        with console.status(f"cost against N, K = {arms}: compiling"):
            run = our_runs(easy_case(size), seeds)
            residual = {n: float(run(n)[2].max()) for n in COSTS}
        runs = {f"{n}": functools.partial(run, n) for n in COSTS}
        sides = Sides(runs, rounds, f"cost, K = {arms}", CPU_TIME)
        for n in COSTS:
            ratios = sides.ratios(f"{n}", f"{USUAL}")
            rows.append(
                {
                    "K": arms,
                    "N": f"{n:.0e}",
                    "iterations/s": seeds * SAMPLED["iterations"] / sides.median(f"{n}"),
                    f"cost relative to N = {USUAL:.0e}": Spread.of(ratios),
                    "largest residual": residual[n],
                }
            )
        ratio = median(sides.ratios(f"{MANY}", f"{USUAL}"))
        what = f"cost of N = {MANY:.0e} relative to N = {USUAL:.0e}, K = {arms}"
        targets.append(Target(what, ratio, 1.2, "x", False))
    title = f"Cost against N: {SAMPLED['iterations']} iterations, easy data"
    yield Rows("cost", title, rows)
    yield from targets
