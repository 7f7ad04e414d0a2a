"""`apo-sim explain LOG`."""

from apo_sim.cli.options.explain_options import Explain
from apo_sim.cli.rendering.console import open_console, say
from apo_sim.cli.rendering.data import print_json
from apo_sim.cli.status import DONE
from apo_sim.explain import explain


def run(options: Explain) -> int:
    """Say what the log shows."""
    found = explain(options.log, beta=options.beta, dtype=options.dtype)
    if options.json:
        print_json(found)
    else:
        say(open_console(), str(found))
    return DONE
