"""Options of `apo-sim show`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from apo_sim.cli.options.option_kinds import Json, Module


@dataclass(frozen=True)
class Show:
    """Print the statement and source of a claim, and the latest verdict on it."""

    id: tyro.conf.Positional[str]
    """Id of the claim, such as N2."""
    out: Path = Path("results")
    """Results folder that holds the verdict."""
    module: Module = None
    json: Json = False
