"""What few labels cost: the law of the mean gap, certificates from the labels and the paper's bound
on the same runs, and how often a certificate fails, with the control of half its radius.

    python experiments/certify.py
    python experiments/certify.py --quick
"""

from dataclasses import dataclass
from pathlib import Path

from script import show, start

from apo_sim.report import style
from apo_sim.studies import few_labels


@dataclass(frozen=True)
class Options:
    """Certificates of many runs, of six families of bandits.

    Args:
        out: folder for the stores and the figures, one for the curves of each family.
        quick: fewer seeds.
        seeds: of every cell; there are 216 cells.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/certificate")
    quick: bool = False
    seeds: int = 100
    seed: int = 0


def main(options: Options) -> None:
    name = "certificate_quick" if options.quick else "certificate"
    seeds = 12 if options.quick else options.seeds
    data = show(few_labels, options.out, name, seeds=seeds, seed=options.seed)
    for family in data.family.values[1:]:
        style.save(
            lambda figure, family=family: few_labels.draw(figure, data, family),
            f"{name}_{family.replace(' ', '_').replace(',', '')}",
            options.out,
        )


if __name__ == "__main__":
    start(main, Options)
