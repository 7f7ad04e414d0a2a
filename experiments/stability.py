"""How the gap scatters over data, as it is and for each unit of gamma: momentum from the output
against momentum from behaviour (Table 3 of the paper), and the steadiest alpha.

    python experiments/stability.py
    python experiments/stability.py --quick
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.studies import stability


@dataclass(frozen=True)
class Options:
    """Standard deviation over data of the gap, for each of many bandits.

    Args:
        out: folder for the store and the figure.
        quick: fewer bandits and fewer draws of the data.
        arms: number of arms.
        beta: proximal weight.
        iterations: length of the runs.
        bandits: how many of them.
        seeds: draws of the data in every cell, for all bandits together.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/stability")
    quick: bool = False
    arms: int = 5
    beta: float = 5.0
    iterations: int = 10
    bandits: int = 100
    seeds: int = 4000
    seed: int = 0


def main(options: Options) -> None:
    show(
        stability,
        options.out,
        "stability_quick" if options.quick else "stability",
        seeds=640 if options.quick else options.seeds,
        seed=options.seed,
        bandits=40 if options.quick else options.bandits,
        arms=options.arms,
        beta=options.beta,
        iterations=options.iterations,
    )


if __name__ == "__main__":
    start(main, Options)
