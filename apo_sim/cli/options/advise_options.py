"""Options of `apo-sim advise`."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from apo_sim.cli.options.option_kinds import Json, listed


@dataclass(frozen=True)
class Advise:
    """Recommend an extrapolation for a planned run, and predict what it gains.

    The recommendation comes from the leading-order law where it is accurate enough, and otherwise
    from stored runs or, for families other than uniform, from a simulation. Pass --simulate to
    simulate exactly this setting.
    """

    samples: Annotated[int, tyro.conf.arg(metavar="N")]
    """Number of preference pairs per iteration, over all contexts."""
    iterations: Annotated[int, tyro.conf.arg(metavar="T")]
    """Number of iterations."""
    beta: float
    """Proximal weight: the larger, the smaller the step."""
    arms: int = 10
    """Number of arms."""
    spread: float = 1.0
    """Size of the rewards, which lie in [-spread, spread]."""
    contexts: int = 1
    """Number of contexts; each one learns only from its share of the samples."""
    simulate: Annotated[
        int, tyro.conf.arg(metavar="RUNS", help_behavior_hint="(default: 0, as many as needed)")
    ] = 0
    """Simulate this setting with this many runs for each alpha."""
    family: Annotated[str, listed("Problem family", "FAMILIES", "uniform")] = "uniform"
    methods: Literal["momentum", "all"] = "momentum"
    """Pass `all` to list other methods that leave a smaller gap with the same number of labels."""
    seed: int = 0
    """Random seed of the problems and of the simulation."""
    json: Json = False
