"""From the words of a command line to the options of a subcommand."""

import os
from collections.abc import Sequence
from typing import Any

import tyro

from apo_sim.cli.options import Command
from apo_sim.errors import InvalidArgument


def parse(arguments: Sequence[str]) -> Any:
    """The options of a subcommand, an instance of one of `apo_sim.cli.options`.

    Raises:
        SystemExit: after help, and for usage that the parser has explained.
        InvalidArgument: a word is empty, as that of a variable that is not set: for a path it would
            be the folder one stands in.
    """
    for word in arguments:
        if not word or (word.startswith("--") and word.endswith("=")):
            raise InvalidArgument("arguments", list(arguments), "hold an empty value", "fill it in")
    if list(arguments[:2]) == ["llm", "explain"]:  # under both names
        arguments = arguments[1:]
    # On a terminal, the parser would colour its help all the same.
    tyro._experimental_options["ansi_codes"] = not os.environ.get("NO_COLOR")
    return tyro.cli(
        Command,
        prog="apo-sim",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )
