"""Options of `apo-sim validate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from apo_sim.cli.options.option_kinds import Json, Module


@dataclass(frozen=True)
class Validate:
    """Judge the claims and write claims.json, report.html and figures/.

    Exit status: 0 if every check ran and every control passed, 1 otherwise, 2 for wrong usage,
    130 if interrupted. A claim that turns out false is a finding, not an error.
    """

    out: Path = Path("results")
    """Results folder. Updates results of the same version, seed and effort; replaces others."""
    effort: Annotated[str, tyro.conf.arg(metavar="{quick,full}")] = "quick"
    """Time to spend on each claim: seconds (quick) or minutes (full)."""
    seed: int = 0
    """Random seed."""
    claim: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="ID ...", help_behavior_hint="(default: all)")
    ] = ()
    """Ids of the claims to judge; `apo-sim claims` lists them."""
    module: Module = None
    jobs: Annotated[
        int | None,
        tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 2, or 1 on one core)"),
    ] = None
    """Number of worker processes."""
    json: Json = False
