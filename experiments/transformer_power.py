"""Twelve contenders on a small transformer that has learned a generated language, each with the
learning rate that a small search finds for it: who wins by how much, and what could have been seen.

    python experiments/transformer_power.py
    python experiments/transformer_power.py --quick
    python experiments/transformer_power.py --iterations 6 --out results/six
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.studies import transformer_power


@dataclass(frozen=True)
class Options:
    """Some 260 runs, each of a few seconds; every one is kept, so that the study may be stopped.

    Args:
        out: folder of the runs and the figure.
        quick: two seeds, few prompts, two learning rates.
        seeds: runs of each contender with each ranker.
        seed: of the first.
        iterations: T.
        prompts: of an iteration.
        held_out: to judge on.
        contenders: who takes part, DPO among them.
    """

    out: Path = Path("results/transformer_power")
    quick: bool = False
    seeds: int = 5
    seed: int = 0
    iterations: int = 3
    prompts: int = 200
    held_out: int = 400
    contenders: tuple[str, ...] = tuple(transformer_power.CONTENDERS)


def main(options: Options) -> None:
    quick = options.quick
    show(
        transformer_power,
        options.out,
        "transformer_power_quick" if quick else "transformer_power",
        seeds=2 if quick else options.seeds,
        seed=options.seed,
        iterations=options.iterations,
        prompts=40 if quick else options.prompts,
        held_out=40 if quick else options.held_out,
        rates=(3e-4, 1e-3) if quick else transformer_power.RATES,
        contenders=options.contenders,
    )


if __name__ == "__main__":
    start(main, Options)
