"""Three ways to extrapolate a policy over sequences (question 7 of the reviews): whole sequences,
tokens, parameters. How far apart are they, and does the difference matter for the gap?

    python experiments/sequences.py
    python experiments/sequences.py --quick
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.studies import extrapolated_sequences


@dataclass(frozen=True)
class Options:
    """Gap and distance from the exact extrapolation, for two networks and three ways.

    Args:
        out: folder for the checkpoints and the figure.
        quick: 81 sequences, one beta and fewer seeds.
        vocabulary: number of tokens.
        length: tokens in a sequence.
        iterations: length of the runs.
        seeds: runs in every setting, paired.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/sequences")
    quick: bool = False
    vocabulary: int = 4
    length: int = 4
    iterations: int = 20
    seeds: int = 12
    seed: int = 0


def main(options: Options) -> None:
    show(
        extrapolated_sequences,
        options.out,
        "sequences_quick" if options.quick else "sequences",
        seeds=6 if options.quick else options.seeds,
        seed=options.seed,
        vocabulary=3 if options.quick else options.vocabulary,
        length=options.length,
        iterations=options.iterations,
        betas=(1.0,) if options.quick else (1.0, 0.1),
    )


if __name__ == "__main__":
    start(main, Options)
