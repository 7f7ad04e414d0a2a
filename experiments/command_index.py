"""Write `apo_sim/cli/index.json`: what the command lists without importing what it lists.

Run it when a claim has been added or says something else, and when a registry has a new name; a
test says so if it was forgotten.
"""

import json
from typing import Any

from apo_sim import registry as registries
from apo_sim.claims import registry as claims
from apo_sim.cli import index
from apo_sim.files import write_text
from apo_sim.llm.training import objectives
from apo_sim.registry import Registry


def made() -> dict[str, Any]:
    """The index of what is declared now."""
    ours = [id for id in claims.names() if claims.module(id).startswith("apo_sim.")]
    every = {name: getattr(registries, name) for name in registries.__all__}
    names = {name: list(one) for name, one in every.items() if isinstance(one, Registry)}
    return {
        "claims": {id: index.to_entry(claims.describe(id)) for id in ours},
        "names": {**names, "OBJECTIVES": list(objectives.NAMED)},
    }


def main() -> None:
    """Write it."""
    write_text(index.FILE, json.dumps(made(), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
