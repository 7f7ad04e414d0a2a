"""How many updates the averaged reward averages, beside N5: where the policy hardly moves, where it
moves, and where labels are shared between iterations.

    python experiments/effective_samples.py
    python experiments/effective_samples.py --quick
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.studies import effective_samples


@dataclass(frozen=True)
class Options:
    """Measured T_eff over alpha and T, with the control in which errors do not average.

    Args:
        out: folder for the store and the figure.
        quick: fewer seeds.
        family: of bandits, as in `apo-sim sweep`.
        arms: number of arms.
        samples: preference pairs an iteration.
        iterations: length of the runs.
        betas: proximal weights, a panel each; the first is to be large.
        seeds: of every cell.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/effective_samples")
    quick: bool = False
    family: str = "uniform"
    arms: int = 10
    samples: float = effective_samples.SAMPLES
    iterations: int = 40
    betas: tuple[float, ...] = effective_samples.BETAS
    seeds: int = 3000
    seed: int = 0


def main(options: Options) -> None:
    show(
        effective_samples,
        options.out,
        "effective_samples_quick" if options.quick else "effective_samples",
        seeds=100 if options.quick else options.seeds,
        seed=options.seed,
        family=options.family,
        arms=options.arms,
        samples=options.samples,
        iterations=options.iterations,
        betas=options.betas,
    )


if __name__ == "__main__":
    start(main, Options)
