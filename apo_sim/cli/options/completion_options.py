"""Options of `apo-sim completion`."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Completion:
    """Print what makes a shell complete subcommands and options.

    For bash, once: apo-sim completion bash > ~/.local/share/bash-completion/completions/apo-sim.
    For zsh: apo-sim completion zsh > _apo-sim, in a folder of $fpath.
    """

    shell: Annotated[tyro.conf.Positional[Literal["bash", "zsh", "tcsh"]], tyro.conf.arg()]
    """The shell."""
