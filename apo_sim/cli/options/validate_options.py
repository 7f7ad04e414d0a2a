"""Options of `apo-sim validate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from apo_sim.cli.options.option_kinds import Json


@dataclass(frozen=True)
class Validate:
    """Check the claims and write claims.json, report.html and figures/.

    Exit status: 0 when every check ran and every control came out as it must (a claim
    found false is a finding, not an error), 1 otherwise, 2 for wrong usage, 130 if interrupted.
    """

    out: Path = Path("results")
    """Folder to write. A run of some claims updates their entries in a run of the same version,
    seed and effort; a run of other settings replaces it."""
    effort: Annotated[str, tyro.conf.arg(metavar="{quick,full}")] = "quick"
    """Seconds or minutes a claim."""
    seed: int = 0
    """All randomness is folded from it."""
    claim: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="ID ...", help_behavior_hint="(default: all)")
    ] = ()
    """Claims to check; `apo-sim claims` lists them."""
    jobs: Annotated[
        int | None,
        tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 2, or 1 on one core)"),
    ] = None
    """Worker processes."""
    json: Json = False
