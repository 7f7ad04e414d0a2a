"""`apo-sim conform MODULE:FUNCTION`."""

import sys

from apo_sim.cli.commands.precision import float64
from apo_sim.cli.options.conform_options import Conform
from apo_sim.cli.rendering.console import open_console, say
from apo_sim.cli.rendering.data import print_json
from apo_sim.cli.status import DONE, USAGE
from apo_sim.conformance import identify, load
from apo_sim.errors import InvalidArgument


def run(options: Conform) -> int:
    """Say what a loss is."""
    float64()
    settings = dict(_setting(text) for text in options.settings)
    try:
        loss = load(options.loss)
    except ImportError as error:
        print(f"apo-sim: {error}", file=sys.stderr)
        return USAGE
    found = identify(loss, **settings)
    if options.json:
        print_json(found)
    else:
        say(open_console(), str(found))
    return DONE


def _setting(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name.strip(), float(number)
    except ValueError:
        remedy = "write NAME=NUMBER, such as beta=0.1"
        raise InvalidArgument("settings", text, "is no setting", remedy) from None
