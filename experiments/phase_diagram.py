"""Where momentum helps: over the number of labels N and of iterations T, for several beta and K.

python experiments/phase_diagram.py                # a hundred thousand runs a panel
python experiments/phase_diagram.py --quick        # under a minute
python experiments/phase_diagram.py --betas 1 5 --arms 4 10
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.studies import phase_diagram


@dataclass(frozen=True)
class Options:
    """Best extrapolation, and gain over none and over a matched beta, for each N and T.

    Args:
        out: folder for the stores and the figures.
        quick: fewer seeds, and the first beta and number of arms only.
        family: of problems, as in `apo-sim sweep`.
        arms: numbers of arms, a figure each.
        betas: proximal weights, a figure each.
        iterations: the longest run.
        seeds: of every cell; 1,200 make a hundred thousand runs a figure.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/phase_diagram")
    quick: bool = False
    family: str = "uniform"
    arms: tuple[int, ...] = (10, 4)
    betas: tuple[float, ...] = (1.0, 5.0)
    iterations: int = 50
    seeds: int = 1200
    seed: int = 0


def main(options: Options) -> None:
    panels = [(arms, beta) for arms in options.arms for beta in options.betas]
    for arms, beta in panels[:1] if options.quick else panels:
        show(
            phase_diagram,
            options.out,
            f"K_{arms}_beta_{beta:g}{'_quick' if options.quick else ''}",
            seeds=100 if options.quick else options.seeds,
            seed=options.seed,
            family=options.family,
            arms=arms,
            beta=beta,
            iterations=options.iterations,
        )


if __name__ == "__main__":
    start(main, Options)
