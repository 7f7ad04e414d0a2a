"""Options of `apo-sim conform`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from apo_sim.cli.options.option_kinds import Json


@dataclass(frozen=True)
class Conform:
    """Say what a loss really is: its name, its parameters, and in what it differs.

    It is fed random log-probabilities, and its value and gradient are compared with those of the
    library's losses.
    """

    loss: tyro.conf.Positional[str]
    """MODULE:FUNCTION, called with policy_chosen_logps, policy_rejected_logps, ref_chosen_logps,
    ref_rejected_logps by name, or with these four by position; or trl:dpo, trl:ipo, trl:kto and
    others of TRL's (extra `bench`)."""
    settings: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME=X ...", help_behavior_hint="")
    ] = ()
    """What its parameters are meant to be, such as beta=0.1 label_smoothing=0.1."""
    json: Json = False
