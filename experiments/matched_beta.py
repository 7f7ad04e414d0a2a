"""Is momentum more than a smaller beta? Momentum against the beta that takes its path with exact
preferences, and against plain iteration, at the same number of labels. (Claim N6 has two more
rivals of equal gamma_T.)

    python experiments/matched_beta.py
    python experiments/matched_beta.py --quick
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.studies import matched_beta


@dataclass(frozen=True)
class Options:
    """Gaps of momentum, of the matched beta and of neither, over the number of labels.

    Args:
        out: folder for the stores and the figure.
        quick: fewer seeds, and the last alpha only.
        family: of problems, as in `apo-sim sweep`.
        arms: number of arms.
        iterations: length of the runs; shorter ones are their beginnings.
        alphas: extrapolations.
        betas: proximal weights.
        seeds: of every cell.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/matched_beta")
    quick: bool = False
    family: str = "uniform"
    arms: int = 10
    iterations: int = 50
    alphas: tuple[float, ...] = matched_beta.ALPHAS
    betas: tuple[float, ...] = matched_beta.BETAS
    seeds: int = 400
    seed: int = 0


def main(options: Options) -> None:
    show(
        matched_beta,
        options.out,
        "matched_beta_quick" if options.quick else "matched_beta",
        seeds=60 if options.quick else options.seeds,
        seed=options.seed,
        family=options.family,
        arms=options.arms,
        iterations=options.iterations,
        alphas=options.alphas[-1:] if options.quick else options.alphas,
        betas=options.betas,
    )


if __name__ == "__main__":
    start(main, Options)
