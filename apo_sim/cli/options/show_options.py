"""Options of `apo-sim show`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from apo_sim.cli.options.option_kinds import Json


@dataclass(frozen=True)
class Show:
    """Print a claim's statement, its source and the last verdict on it."""

    id: tyro.conf.Positional[str]
    """Claim, such as N2."""
    out: Path = Path("results")
    """Folder of the run to look the verdict up in."""
    json: Json = False
