"""From the words of a command line to the options of a subcommand."""

import os
from collections.abc import Sequence
from typing import Any

import tyro

from apo_sim.cli.options import Command


def parse(arguments: Sequence[str]) -> Any:
    """The options of a subcommand, an instance of one of `apo_sim.cli.options`.

    Raises:
        SystemExit: after help, and for usage that the parser has explained.
    """
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
