"""`apo-sim advise`."""

from apo_sim.advice import advise
from apo_sim.cli.commands.precision import float64
from apo_sim.cli.options.advise_options import Advise
from apo_sim.cli.rendering.advice import print_advice
from apo_sim.cli.rendering.console import open_console
from apo_sim.cli.rendering.data import print_json
from apo_sim.cli.status import DONE


def run(options: Advise) -> int:
    """Ask for advice and print it."""
    float64()
    arguments = {name: value for name, value in vars(options).items() if name != "json"}
    advice = advise(**arguments)
    if options.json:
        print_json(advice)
    else:
        print_advice(open_console(), advice)
    return DONE
