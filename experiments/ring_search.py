"""Which protocol of the ring task gives the reported row of the standard method? Every trial is
logged; extrapolation is not looked at. `reference/ring_trials.csv` is what it found.

    python experiments/ring_search.py
    python experiments/ring_search.py --quick
"""

from dataclasses import dataclass
from pathlib import Path

from script import console, show, start

from apo_sim.studies import ring_search


@dataclass(frozen=True)
class Options:
    """Combinations of choices, then numbers near the best, then the best with new seeds.

    Args:
        out: folder for the log of trials and the figure.
        quick: a handful of trials.
        batches: combinations, out of all 120 in random order.
        draws: learning rates, radii and decays for each combination.
        seeds: of those that are tried again.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/ring_search")
    quick: bool = False
    batches: int = 60
    draws: int = 8
    seeds: int = 20
    seed: int = 0


def main(options: Options) -> None:
    data = show(
        ring_search,
        options.out,
        "ring_search_quick" if options.quick else "ring_search",
        seeds=2 if options.quick else options.seeds,
        seed=options.seed,
        batches=3 if options.quick else options.batches,
        draws=4 if options.quick else options.draws,
    )
    path = options.out / "trials.csv"
    ring_search.table(data).to_csv(path, index=False)
    console.print(f"All trials: {path}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    start(main, Options)
