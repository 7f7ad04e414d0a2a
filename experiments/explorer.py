"""Make the data of the report's explorer again: the gap's two parts over a grid of settings.

    python experiments/explorer.py

It compiles a program for every method, geometry and number of arms: minutes.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from script import console, start

from apo_sim.files import write_bytes
from apo_sim.report import explorer_runs
from apo_sim.report.ledger import surroundings
from apo_sim.version import __version__


@dataclass(frozen=True)
class Options:
    """The gap with exact preferences, and what sampling adds to it.

    Args:
        out: the file.
        seeds: bandits a cell.
        seed: all randomness is folded from it.
    """

    out: Path = Path(explorer_runs.__file__).with_name("explorer.nc")
    seeds: int = explorer_runs.SEEDS
    seed: int = 0


def main(options: Options) -> None:
    data = explorer_runs.measure(seeds=options.seeds, seed=options.seed)
    data = data.assign_attrs(
        made_by="experiments/explorer.py",
        version=__version__,
        seeds=options.seeds,
        seed=options.seed,
        environment=json.dumps(surroundings()),
    )
    write_bytes(options.out, bytes(data.astype(np.float32).to_netcdf(engine="scipy")))
    console.print(f"{options.out}: {options.out.stat().st_size:,} bytes", soft_wrap=True)


if __name__ == "__main__":
    start(main, Options)
