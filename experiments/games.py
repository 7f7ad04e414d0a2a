"""Does momentum help where preferences are not transitive? SPPO and IPO on random games.

python experiments/games.py
python experiments/games.py --quick
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.studies import momentum_in_games


@dataclass(frozen=True)
class Options:
    """Exploitability of the last and of the average policy, inside and outside Assumption B.1.

    Args:
        out: folder for the stores and the figure.
        quick: fewer seeds, and SPPO only.
        beta: proximal weight.
        iterations: updates with exact preferences.
        sampled_iterations: updates with sampled ones, at most `iterations`.
        seeds: of every cell.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/games")
    quick: bool = False
    beta: float = 5.0
    iterations: int = 2000
    sampled_iterations: int = 300
    seeds: int = 100
    seed: int = 0


def main(options: Options) -> None:
    show(
        momentum_in_games,
        options.out,
        "games_quick" if options.quick else "games",
        seeds=24 if options.quick else options.seeds,
        seed=options.seed,
        beta=options.beta,
        iterations=options.iterations,
        sampled_iterations=options.sampled_iterations,
        losses=momentum_in_games.LOSSES[:1] if options.quick else momentum_in_games.LOSSES,
    )


if __name__ == "__main__":
    start(main, Options)
