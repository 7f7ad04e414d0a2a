"""`apo-sim conform MODULE:FUNCTION`."""

from apo_sim.cli.commands.precision import float64
from apo_sim.cli.options.conform_options import Conform
from apo_sim.cli.rendering.console import open_console, say
from apo_sim.cli.rendering.data import print_json
from apo_sim.cli.status import DONE
from apo_sim.conformance import identify, identify_update, load_loss
from apo_sim.conformance.policy_updates import is_update
from apo_sim.errors import InvalidArgument


def run(options: Conform) -> int:
    """Say what a loss is."""
    float64()
    settings = dict(_setting(text) for text in options.settings)
    loss = load_loss(options.loss)
    if is_update(loss):
        opponent = None if options.opponent is None else load_loss(options.opponent)
        found = identify_update(loss, opponent, **settings)
    else:
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
        raise InvalidArgument("settings", text, "is not a setting", remedy) from None
