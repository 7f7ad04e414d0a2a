"""Options of `apo-sim completion`."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Completion:
    """Print the script that makes a shell complete subcommands and options.

    To install it for bash, run
    apo-sim completion bash > ~/.local/share/bash-completion/completions/apo-sim once.
    For zsh, run apo-sim completion zsh > _apo-sim in a folder of $fpath.
    """

    shell: Annotated[tyro.conf.Positional[Literal["bash", "zsh"]], tyro.conf.arg()]
    """Shell to print the script for."""
