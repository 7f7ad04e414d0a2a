"""Options of `apo-sim claims`."""

from dataclasses import dataclass

from apo_sim.cli.options.option_kinds import Json


@dataclass(frozen=True)
class Claims:
    """List all claims with their ids, titles and sources."""

    json: Json = False
