"""What every script does: read its options, run its study, say what is wrong, end cleanly."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import tyro
from rich.console import Console

from apo_sim import InvalidArgument
from apo_sim.files import as_path
from apo_sim.interruption import interruptible
from apo_sim.report import style
from apo_sim.sweep import use_cores

console = Console(highlight=False, emoji=False)


def start(main: Callable[[Any], None], options: type) -> None:
    """Run a script. Exit status 2 for wrong usage, 130 if interrupted."""
    jax.config.update("jax_enable_x64", True)
    use_cores()
    try:
        with interruptible():
            main(_with_whole_paths(tyro.cli(options)))
    except InvalidArgument as error:
        console.print(str(error), soft_wrap=True, markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("Interrupted; what is stored is kept, and the same command goes on from it.")
        sys.exit(130)


def _with_whole_paths(options: Any) -> Any:
    """The same options, with `~` and links resolved."""
    given = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    paths = {n: as_path(n, value) for n, value in given.items() if isinstance(value, Path)}
    return dataclasses.replace(options, **paths)


def show(study: ModuleType, out: Path, name: str = "", **arguments: Any) -> Any:
    """Measure, print the finding, draw the figure.

    Args:
        study: a module of `apo_sim.studies`.
        out: folder of the figure, and of the stores in a folder `name` within it.
        name: of the figure; by default that of the study.
        **arguments: what `study.measure` takes.

    Returns:
        The data, for more figures.
    """
    name = name or study.__name__.split(".")[-1]
    data = study.measure(out=out / name, **arguments)
    path = style.save(lambda figure: study.draw(figure, data), name, out)
    console.print(study.finding(data).text, soft_wrap=True, markup=False)
    console.print(f"Figure: {path}", soft_wrap=True, markup=False)
    return data
