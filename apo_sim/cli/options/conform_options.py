"""Options of `apo-sim conform`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from apo_sim.cli.options.option_kinds import Json


@dataclass(frozen=True)
class Conform:
    """Identify a loss function: its name, its parameters and how it differs from the standard one.

    The command evaluates the loss at random log-probabilities and compares its values and gradients
    with those of the library's losses.
    """

    loss: tyro.conf.Positional[str]
    """MODULE:FUNCTION, or a loss of TRL: trl:dpo, trl:ipo, trl:kto, ...
    (with the extra `bench`). The function takes policy_chosen_logps,
    policy_rejected_logps, ref_chosen_logps and ref_rejected_logps,
    by name or in this order; or policy_logps with rewards or win_rates,
    for losses such as those of PPO and Nash-MD."""
    settings: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME=X ...", help_behavior_hint="")
    ] = ()
    """Intended values of its parameters, such as beta=0.1 label_smoothing=0.1."""
    opponent: Annotated[
        str | None,
        tyro.conf.arg(metavar="MODULE:FUNCTION", help_behavior_hint="(default: the policy)"),
    ] = None
    """Policy that win_rates are against, such as the mixture of Nash-MD."""
    json: Json = False
