"""`apo-sim completion SHELL`."""

import contextlib

from apo_sim.cli.options.completion_options import Completion
from apo_sim.cli.parsing import parse
from apo_sim.cli.status import DONE


def run(options: Completion) -> int:
    """Print the script that the parser writes for a shell."""
    with contextlib.suppress(SystemExit):  # with which the parser ends after it
        parse(["--tyro-print-completion", options.shell])
    return DONE
