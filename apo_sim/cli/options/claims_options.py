"""Options of `apo-sim claims`."""

from dataclasses import dataclass

from apo_sim.cli.options.option_kinds import Json, Module


@dataclass(frozen=True)
class Claims:
    """List all claims, or those of a module, with their ids, titles and sources."""

    module: Module = None
    json: Json = False
