"""The subcommands of `apo-sim`: one file each, with its options and their help.

The table below lists the subcommands in their order. The code that runs one is in the module of the
same name in `apo_sim.cli.commands`. Nothing here may import JAX, directly or indirectly.
"""

from typing import Annotated, Any, Union

import tyro

from apo_sim.cli.options.advise_options import Advise
from apo_sim.cli.options.claims_options import Claims
from apo_sim.cli.options.completion_options import Completion
from apo_sim.cli.options.conform_options import Conform
from apo_sim.cli.options.evaluate_options import Evaluate
from apo_sim.cli.options.explain_options import Explain
from apo_sim.cli.options.llm_options import Llm
from apo_sim.cli.options.show_options import Show
from apo_sim.cli.options.sweep_options import Sweep
from apo_sim.cli.options.validate_options import Validate

SUBCOMMANDS: dict[str, type] = {
    "claims": Claims,
    "show": Show,
    "validate": Validate,
    "advise": Advise,
    "conform": Conform,
    "sweep": Sweep,
    "llm": Llm,
    "evaluate": Evaluate,
    "explain": Explain,
    "completion": Completion,
}

# One of them, as the parser wants it.
Command: Any = Union[  # noqa: UP007  (of a list that is made here)
    tuple(Annotated[options, tyro.conf.subcommand(name)] for name, options in SUBCOMMANDS.items())
]
