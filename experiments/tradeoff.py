"""The two errors over the iterations: what exact preferences would still lose, and what finite
data add, beside those of a run without momentum at the same beta.

    python experiments/tradeoff.py
    python experiments/tradeoff.py --quick
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.studies import tradeoff


@dataclass(frozen=True)
class Options:
    """Optimisation error and statistical error of every iteration.

    Args:
        out: folder for the store and the figure.
        quick: fewer seeds.
        family: of problems, as in `apo-sim sweep`.
        arms: number of arms.
        beta: proximal weight.
        iterations: length of the runs.
        seeds: of every cell.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/tradeoff")
    quick: bool = False
    family: str = "uniform"
    arms: int = 10
    beta: float = 5.0
    iterations: int = 40
    seeds: int = 2000
    seed: int = 0


def main(options: Options) -> None:
    show(
        tradeoff,
        options.out,
        "tradeoff_quick" if options.quick else "tradeoff",
        seeds=200 if options.quick else options.seeds,
        seed=options.seed,
        family=options.family,
        arms=options.arms,
        beta=options.beta,
        iterations=options.iterations,
    )


if __name__ == "__main__":
    start(main, Options)
