"""The methods of the field on the same problems with the same number of labels, each tuned by the
same number of trials: who leaves the least gap where, and what momentum on top of each one adds.

    python experiments/field.py
    python experiments/field.py --quick
    python experiments/field.py --problems games --labels 300 3000 --flipped 0 0.2
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.studies import field


@dataclass(frozen=True)
class Options:
    """Gaps of some twenty methods on bandits and a dozen on games, momentum on top of each.

    Args:
        out: folder for the runs and the figures.
        quick: fewer seeds and numbers of labels.
        problems: bandits, games, or both.
        labels: numbers of labels of a whole run.
        flipped: probabilities of a wrong label.
        seeds: to judge on.
        tuning: seeds to tune on.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/field")
    quick: bool = False
    problems: tuple[str, ...] = ("bandits", "games")
    labels: tuple[int, ...] = field.LABELS
    flipped: tuple[float, ...] = field.FLIPPED
    seeds: int = 1000
    tuning: int = 60
    seed: int = 0


def main(options: Options) -> None:
    for problems in options.problems:
        show(
            field,
            options.out,
            f"field_{problems}_quick" if options.quick else f"field_{problems}",
            problems=problems,
            seeds=100 if options.quick else options.seeds,
            tuning=20 if options.quick else options.tuning,
            seed=options.seed,
            labels=(100, 10_000) if options.quick else options.labels,
            flipped=options.flipped,
        )


if __name__ == "__main__":
    start(main, Options)
