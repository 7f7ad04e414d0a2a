"""Which geometry of the proximal step has the least gap with sampled preferences, each at its own
best beta and all at a common one; beside it, the rates with exact preferences.

    python experiments/geometries.py
    python experiments/geometries.py --quick
    python experiments/geometries.py --family zipf --arms 30
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.studies import geometry_comparison


@dataclass(frozen=True)
class Options:
    """Gaps of five geometries over N, T and alpha, and how often the best arm loses its mass.

    Args:
        out: folder for the runs and the figure.
        quick: fewer seeds and betas.
        family: of problems, as in `apo-sim sweep`.
        arms: number of arms.
        alphas: extrapolations.
        samples: numbers of preference pairs an iteration.
        seeds: to judge on.
        tuning: seeds to choose beta on.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/geometries")
    quick: bool = False
    family: str = "uniform"
    arms: int = 10
    alphas: tuple[float, ...] = (0.0, 0.3, 0.9)
    samples: tuple[int, ...] = (30, 100, 300, 1000, 3000, 10_000)
    seeds: int = 1000
    tuning: int = 300
    seed: int = 0


def main(options: Options) -> None:
    quick = options.quick
    show(
        geometry_comparison,
        options.out,
        "geometries_quick" if quick else "geometries",
        seeds=200 if quick else options.seeds,
        tuning=60 if quick else options.tuning,
        seed=options.seed,
        family=options.family,
        arms=options.arms,
        alphas=geometry_comparison.ALPHAS if quick else options.alphas,
        samples=geometry_comparison.SAMPLES if quick else options.samples,
        weights=geometry_comparison.WEIGHTS if quick else geometry_comparison.FINE,
    )


if __name__ == "__main__":
    start(main, Options)
