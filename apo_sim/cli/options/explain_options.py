"""Options of `apo-sim explain`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from apo_sim.cli.options.option_kinds import Json


@dataclass(frozen=True)
class Explain:
    """Name what the log of a language model's training shows. Also: `apo-sim llm explain`.

    Reads the results of `apo-sim llm`, TRL's trainer_state.json, CSV and JSONL of such columns.
    """

    log: tyro.conf.Positional[Path]
    """A file, or the folder of a run."""
    beta: Annotated[
        float | None, tyro.conf.arg(metavar="X", help_behavior_hint="(default: 0.1)")
    ] = None
    """Proximal weight, by which rewards are divided."""
    dtype: Annotated[
        str | None,
        tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: that of config.json)"),
    ] = None
    """Of the parameters, such as bfloat16."""
    figure: Annotated[
        Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: not)")
    ] = None
    """Draw every column that the log has into a .png or .svg."""
    json: Json = False
