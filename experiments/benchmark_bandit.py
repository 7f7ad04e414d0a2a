"""Time the exact and the sampled path against NumPy, choix, evalica and PyTorch, on one core.

    python experiments/benchmark_bandit.py            # everything
    python experiments/benchmark_bandit.py --quick    # seconds to minutes a part
    python experiments/benchmark_bandit.py --part sampled --arms 10 30

All sides run in one process, which has one core, one after the other, round after round; a ratio
is the median of the ratios within a round, with the smallest and the largest.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from paired import on_one_core, print_machine, run_parts, use_one_core
from script import start
from speed_cost import cost
from speed_data import contexts, data
from speed_exact import exact
from speed_hard import hard
from speed_sampled import sampled

PARTS = {
    "exact": exact,
    "sampled": sampled,
    "data": data,
    "contexts": contexts,
    "hard": hard,
    "cost": cost,
}


@dataclass(frozen=True)
class Options:
    """Paired medians of apo_sim against its peers on one core.

    Args:
        quick: fewer seeds and rounds, for a look; ratios are rougher.
        part: which part to run: the exact path; the sampled one on easy data, on other data of the
            field, in many contexts, on hard data; its cost against N; or all.
        arms: numbers of arms of the sampled parts.
        out: where the figures go, as JSON.
    """

    quick: bool = False
    arms: tuple[Literal[4, 10, 30, 100, 200], ...] = (4, 10, 30, 100, 200)
    part: Literal["exact", "sampled", "data", "contexts", "hard", "cost", "all"] = "all"
    out: Path = Path("results/benchmark_bandit.json")


def main(options: Options) -> None:
    use_one_core()
    print_machine()
    run_parts(PARTS, options, options.out)


if __name__ == "__main__":
    on_one_core()
    start(main, Options)
