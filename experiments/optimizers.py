"""Whether the optimiser matters, and whether extrapolation gains what Adam's momentum gains: ring
and sequences, every optimiser at its own best learning rate; regret and loss curves.

    python experiments/optimizers.py
    python experiments/optimizers.py --quick
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from script import console, show, start

from apo_sim.report import style
from apo_sim.studies import optimizer_comparison
from apo_sim.studies.ring_protocol import Protocol


@dataclass(frozen=True)
class Options:
    """AdamW, RMSProp and SGD, with momentum of their own or not, with extrapolation or not.

    Args:
        out: folder for checkpoints and figures.
        quick: shorter runs of the ring on a coarser lattice, fewer seeds and learning rates.
        tuning: networks and data on which the learning rates are chosen.
        seeds: networks and data of every optimiser and variant.
        seed: all randomness is folded from it.
        fresh: let the optimiser start afresh in every iteration, in place of keeping its state.
    """

    out: Path = Path("results/optimizers")
    quick: bool = False
    tuning: int = 4
    seeds: int = 20
    seed: int = 0
    fresh: bool = False


def main(options: Options) -> None:
    name = "optimizers" + "_fresh" * options.fresh + "_quick" * options.quick
    protocol = dataclasses.replace(Protocol(), keep_state=not options.fresh)
    if options.quick:
        data = show(
            optimizer_comparison,
            options.out,
            name,
            seeds=5,
            seed=options.seed,
            tuning=1,
            rates=3,
            iterations={"ring": 60, "sequences": 20},
            protocol=dataclasses.replace(protocol, side=15),
        )
    else:
        data = show(
            optimizer_comparison,
            options.out,
            name,
            seeds=options.seeds,
            seed=options.seed,
            tuning=options.tuning,
            protocol=protocol,
        )
    path = style.save(
        lambda figure: optimizer_comparison.draw_losses(figure, data), f"{name}_losses", options.out
    )
    console.print(f"Losses: {path}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    start(main, Options)
