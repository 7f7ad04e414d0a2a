"""Exponents of the statistical error in N, in T and in 1/(1 - alpha), beside the paper's, where the
policy hardly moves and at the usual beta.

    python experiments/scaling_exponents.py
    python experiments/scaling_exponents.py --quick
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.studies import scaling_exponents


@dataclass(frozen=True)
class Options:
    """How the statistical error scales, with the control in which errors do not average.

    Args:
        out: folder for the store and the figure.
        quick: fewer seeds.
        family: of bandits, as in `apo-sim sweep`.
        arms: number of arms.
        iterations: length of the runs.
        betas: proximal weights, a column of the table and a row of the figure each.
        seeds: of every cell.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/scaling_exponents")
    quick: bool = False
    family: str = "uniform"
    arms: int = 10
    iterations: int = 20
    betas: tuple[float, ...] = scaling_exponents.BETAS
    seeds: int = 1000
    seed: int = 0


def main(options: Options) -> None:
    show(
        scaling_exponents,
        options.out,
        "scaling_exponents_quick" if options.quick else "scaling_exponents",
        seeds=100 if options.quick else options.seeds,
        seed=options.seed,
        family=options.family,
        arms=options.arms,
        iterations=options.iterations,
        betas=options.betas,
    )


if __name__ == "__main__":
    start(main, Options)
