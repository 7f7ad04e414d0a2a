"""How large must N be before the statistical bound of Lemma C.1 says anything?

python experiments/coverage.py
python experiments/coverage.py --quick
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.studies import coverage


@dataclass(frozen=True)
class Options:
    """Coverage in both definitions, and the N that the printed and the corrected bound need.

    Args:
        out: folder for the stores and the figure.
        quick: fewer seeds, and the two shortest runs only.
        arms: number of arms.
        beta: proximal weight.
        horizons: lengths of the runs.
        seeds: of every cell.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/coverage")
    quick: bool = False
    arms: int = 10
    beta: float = 5.0
    horizons: tuple[int, ...] = coverage.HORIZONS
    seeds: int = 1000
    seed: int = 0


def main(options: Options) -> None:
    show(
        coverage,
        options.out,
        "coverage_quick" if options.quick else "coverage",
        seeds=200 if options.quick else options.seeds,
        seed=options.seed,
        arms=options.arms,
        beta=options.beta,
        horizons=options.horizons[:2] if options.quick else options.horizons,
    )


if __name__ == "__main__":
    start(main, Options)
