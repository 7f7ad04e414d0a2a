"""Make the stored comparison of methods that `apo-sim advise --methods all` reads.

python experiments/field.py              # first: the runs
python experiments/advice_methods.py     # what advice needs of them
"""

from dataclasses import dataclass
from pathlib import Path

from script import console, start

from apo_sim.advice import methods
from apo_sim.studies import field


@dataclass(frozen=True)
class Options:
    """The comparison behind `apo_sim.advise(methods="all")`; runs that are missing are made.

    Args:
        out: folder of the runs, that of `experiments/field.py`.
        seeds: to judge on.
        tuning: seeds to tune on.
        folder: where the files go.
    """

    out: Path = Path("results/field")
    seeds: int = 1000
    tuning: int = 60
    folder: Path = Path(str(methods.__file__)).parent


def main(options: Options) -> None:
    for kind in methods.PAPER:
        data = field.measure(
            problems=kind,
            seeds=options.seeds,
            tuning=options.tuning,
            out=options.out / f"field_{kind}",
        )
        file = options.folder / methods.FILE.format(kind)
        methods.save(methods.reduced(data), file)
        console.print(f"{file.stat().st_size / 1024:.0f} KiB: {file}", markup=False)


if __name__ == "__main__":
    start(main, Options)
