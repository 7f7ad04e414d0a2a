"""Do log-probabilities stay of order log T, and how does the R of Assumption 4.3 grow?

python experiments/boundedness.py
python experiments/boundedness.py --quick
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.studies import boundedness


@dataclass(frozen=True)
class Options:
    """Least log-probability and R over all pairs of policies, exact and sampled.

    Args:
        out: folder for the stores and the figure.
        quick: fewer seeds and shorter runs.
        arms: number of arms.
        beta: proximal weight.
        iterations: length of the runs; a quick one makes a tenth of them.
        seeds: of every cell.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/boundedness")
    quick: bool = False
    arms: int = 5
    beta: float = 1.0
    iterations: int = 1000
    seeds: int = 128
    seed: int = 0


def main(options: Options) -> None:
    show(
        boundedness,
        options.out,
        "boundedness_quick" if options.quick else "boundedness",
        seeds=32 if options.quick else options.seeds,
        seed=options.seed,
        arms=options.arms,
        beta=options.beta,
        iterations=options.iterations // 10 if options.quick else options.iterations,
    )


if __name__ == "__main__":
    start(main, Options)
