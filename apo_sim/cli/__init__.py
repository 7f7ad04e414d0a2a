"""The command `apo-sim`: what it is asked, what it does, and how it shows the outcome.

`options` has a file a subcommand, with its options and their help; `commands` a file of the same
name, with the function `run` of these options; `rendering` what they print with. Help, `claims`
and `show` answer without JAX: only a module of `commands` may import it, and only one that is
asked for is imported.
"""

from apo_sim.cli.entry import main
from apo_sim.cli.status import DONE, INTERRUPTED, UNSOUND, USAGE

__all__ = ["DONE", "INTERRUPTED", "UNSOUND", "USAGE", "main"]
