"""Make the stored surface that `apo-sim advise` reads: a phase diagram over beta and K too.

python experiments/advice_surface.py             # hours on two cores; it resumes
python experiments/advice_surface.py --quick     # few seeds, into another file
"""

from dataclasses import dataclass
from pathlib import Path

from script import console, start

from apo_sim.advice import surface


@dataclass(frozen=True)
class Options:
    """The surface of `apo_sim.advise`.

    Args:
        out: folder for the stores.
        quick: three arms and few seeds.
        seeds: of every cell, a number for each number of arms.
        seed: all randomness is folded from it.
        file: where the surface goes.
    """

    out: Path = Path("results/advice_surface")
    quick: bool = False
    seeds: tuple[int, ...] = tuple(surface.SEEDS.values())
    seed: int = 0
    file: Path = Path(str(surface.__file__)).with_name(surface.FILE)


def main(options: Options) -> None:
    seeds = {3: 4} if options.quick else dict(zip(surface.SEEDS, options.seeds, strict=True))
    made = surface.make(seed=options.seed, out=options.out, seeds=seeds)
    file = options.out / "quick.nc" if options.quick else options.file
    surface.save(made, file)
    console.print(
        f"{made.attrs['runs']:,} runs, {file.stat().st_size / 1024:.0f} KiB: {file}", markup=False
    )


if __name__ == "__main__":
    start(main, Options)
