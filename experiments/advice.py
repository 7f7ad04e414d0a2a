"""Is the advice any good? On families of problems that it was not made from.

python experiments/advice.py
python experiments/advice.py --quick
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.advice import elsewhere


@dataclass(frozen=True)
class Options:
    """The advised extrapolation against all others, in many settings of four families.

    Args:
        out: folder for the stores and the figure.
        quick: fewer seeds, and no family of a hundred arms.
        seeds: of every cell; a tenth of them with a hundred arms.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/advice")
    quick: bool = False
    seeds: int = 300
    seed: int = 1


def main(options: Options) -> None:
    families = dict(elsewhere.ELSEWHERE)
    if options.quick:
        families = {"ties": families["ties"]}
    show(
        elsewhere,
        options.out,
        "advice_quick" if options.quick else "advice",
        seeds=40 if options.quick else options.seeds,
        seed=options.seed,
        elsewhere=families,
    )


if __name__ == "__main__":
    start(main, Options)
