"""Options of `apo-sim advise`."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from apo_sim.cli.options.option_kinds import Json, listed


@dataclass(frozen=True)
class Advise:
    """Say which extrapolation to use in a run about to start, and what to expect of it.

    By the law of leading order where it decides; else read from stored runs, or simulated for
    another family; --simulate runs the setting itself.
    """

    samples: Annotated[int, tyro.conf.arg(metavar="N")]
    """Preference pairs an iteration, over all contexts."""
    iterations: Annotated[int, tyro.conf.arg(metavar="T")]
    """Number of updates."""
    beta: float
    """Proximal weight."""
    arms: int = 10
    """Number of arms."""
    spread: float = 1.0
    """Rewards lie in [-spread, spread]."""
    contexts: int = 1
    """Number of contexts; each learns from its own share of the samples."""
    simulate: Annotated[
        int, tyro.conf.arg(metavar="RUNS", help_behavior_hint="(default: 0, as many as it takes)")
    ] = 0
    """Simulate this setting, so many runs of every alpha."""
    family: Annotated[str, listed("Problem family", "FAMILIES", "uniform")] = "uniform"
    methods: Literal["momentum", "all"] = "momentum"
    """all: say as well where another method leaves a smaller gap from as many labels."""
    seed: int = 0
    """Of the problems drawn, and of the simulation."""
    json: Json = False
