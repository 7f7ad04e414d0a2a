"""Would more than three iterations help? Runs of up to a thousand, with equal labels in every
iteration, or in all.

    python experiments/long_run.py
    python experiments/long_run.py --quick        # runs of up to 200
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.studies import long_run


@dataclass(frozen=True)
class Options:
    """Gap over the length of the run, at both budgets of labels.

    Args:
        out: folder for the store and the figure.
        quick: fewer seeds, and no run of the longest length.
        family: of problems, as in `apo-sim sweep`.
        arms: number of arms.
        alphas: extrapolations.
        betas: proximal weights.
        lengths: numbers of iterations, three among them.
        budget: preference pairs of a run; three iterations have a third each.
        seeds: of every cell.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/long_run")
    quick: bool = False
    family: str = "uniform"
    arms: int = 5
    alphas: tuple[float, ...] = long_run.ALPHAS
    betas: tuple[float, ...] = long_run.BETAS
    lengths: tuple[int, ...] = long_run.LENGTHS
    budget: int = long_run.BUDGET
    seeds: int = 300
    seed: int = 0


def main(options: Options) -> None:
    show(
        long_run,
        options.out,
        "long_run_quick" if options.quick else "long_run",
        seeds=60 if options.quick else options.seeds,
        seed=options.seed,
        family=options.family,
        arms=options.arms,
        alphas=options.alphas,
        betas=options.betas,
        lengths=options.lengths[:-1] if options.quick else options.lengths,
        budget=options.budget,
    )


if __name__ == "__main__":
    start(main, Options)
