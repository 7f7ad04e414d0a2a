"""Momentum rules, constant, t/(t+3), averaging, from behaviour and none: which turns the same
labels into the smaller error, at equal gamma_T and at equal beta?

    python experiments/momentum_rules.py
    python experiments/momentum_rules.py --quick
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.studies import momentum_rules


@dataclass(frozen=True)
class Options:
    """Final gap of every momentum rule, exact and sampled.

    Args:
        out: folder for the stores and the figure.
        quick: fewer seeds.
        family: of problems, as in `apo-sim sweep`.
        arms: number of arms.
        beta: proximal weight.
        iterations: length of the runs.
        seeds: of every cell.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/momentum_rules")
    quick: bool = False
    family: str = "uniform"
    arms: int = 10
    beta: float = 5.0
    iterations: int = 20
    seeds: int = 2000
    seed: int = 0


def main(options: Options) -> None:
    show(
        momentum_rules,
        options.out,
        "momentum_rules_quick" if options.quick else "momentum_rules",
        seeds=100 if options.quick else options.seeds,
        seed=options.seed,
        family=options.family,
        arms=options.arms,
        beta=options.beta,
        iterations=options.iterations,
    )


if __name__ == "__main__":
    start(main, Options)
