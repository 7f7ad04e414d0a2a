"""Options of `apo-sim explain`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from apo_sim.cli.options.option_kinds import Json


@dataclass(frozen=True)
class Explain:
    """Diagnose a language model's training run from its log. Also: `apo-sim llm explain`.

    The log may be a results file of `apo-sim llm`, a trainer_state.json of TRL, or a CSV or JSONL
    file with the same columns.
    """

    log: tyro.conf.Positional[Path]
    """Log file, or the folder of a run."""
    beta: Annotated[
        float | None, tyro.conf.arg(metavar="X", help_behavior_hint="(default: 0.1)")
    ] = None
    """Proximal weight of the run; logged rewards are divided by it."""
    dtype: Annotated[
        str | None,
        tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: from config.json)"),
    ] = None
    """Floating-point type of the parameters, such as bfloat16."""
    figure: Annotated[
        Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: no figure)")
    ] = None
    """Plot every column of the log in this .png or .svg file."""
    json: Json = False
