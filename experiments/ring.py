"""The ring task of the reviews: a network, 300 iterations, with and without extrapolation; the ten
reported figures beside their reproduction, pictures of the policy, an animation.

    python experiments/ring.py
    python experiments/ring.py --quick
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from script import console, show, start

from apo_sim.report import style
from apo_sim.studies import ring


@dataclass(frozen=True)
class Options:
    """Standard, extrapolated, and the rivals of extrapolation.

    Args:
        out: folder for checkpoints, figures and the animation.
        quick: fewer seeds.
        alpha: extrapolation.
        seeds: networks and data of every method.
        seed: all randomness is folded from it.
    """

    out: Path = Path("results/ring")
    quick: bool = False
    alpha: float = ring.ALPHA
    seeds: int = 200
    seed: int = 0


def main(options: Options) -> None:
    name = "ring_quick" if options.quick else "ring"
    seeds = 8 if options.quick else options.seeds
    data = show(ring, options.out, name, seeds=seeds, seed=options.seed, alpha=options.alpha)
    console.print(ring.finding_spaces(data).text, soft_wrap=True, markup=False)
    draws = {"policies": ring.draw_policies, "spaces": ring.draw_spaces}
    for part, draw in draws.items():
        path = style.save(partial(draw, data=data), f"{name}_{part}", options.out)
        console.print(f"Figure: {path}", soft_wrap=True, markup=False)
    film = ring.animate(data, options.out / f"{name}.gif")
    console.print(f"Animation: {film}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    start(main, Options)
