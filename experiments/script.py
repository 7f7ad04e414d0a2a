"""What every script does: read its options, say what is wrong with them, end cleanly."""

import sys
from collections.abc import Callable
from typing import Any

import tyro
from rich.console import Console

from apo_sim import InvalidArgument

console = Console(highlight=False)


def start(main: Callable[[Any], None], options: type) -> None:
    """Run a script. Exit status 2 for wrong usage, 130 if interrupted."""
    try:
        main(tyro.cli(options))
    except InvalidArgument as error:
        console.print(str(error), soft_wrap=True, markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("Interrupted; what is stored is kept, and the same command goes on from it.")
        sys.exit(130)
