"""`apo-sim sweep`."""

import sys
import tomllib
from pathlib import Path
from typing import Any

from rich.console import Console

from apo_sim.cli.commands.precision import float64
from apo_sim.cli.options.sweep_options import Sweep
from apo_sim.cli.rendering.cells import MOST, lines_of_cells
from apo_sim.cli.rendering.console import open_console, say
from apo_sim.cli.status import DONE, INTERRUPTED, UNSOUND
from apo_sim.errors import InvalidArgument
from apo_sim.files import as_path, read_text
from apo_sim.statistics import mean_and_half
from apo_sim.sweep import ClusterLost, sweep


def run(options: Sweep) -> int:
    """Run a grid, keep it, and show the final gaps."""
    float64()
    arguments = _arguments(options)
    console = open_console()
    try:
        dataset = sweep(**arguments)
    except KeyboardInterrupt:
        console.print("Interrupted. Run the same command again to resume.")
        return INTERRUPTED
    except ClusterLost as lost:
        print(f"apo-sim: {lost}", file=sys.stderr)
        return UNSOUND
    if "suboptimality" in dataset:
        _print_gaps(console, dataset.suboptimality.sel(iteration=dataset.iterations))
    say(console, f"Store: {as_path('out', arguments['out'])}")
    return DONE


def _arguments(options: Sweep) -> dict[str, Any]:
    """What the file says, overridden by the flags that were given."""
    arguments = _from_toml(options.file) if options.file else {}
    flags = {n: v for n, v in vars(options).items() if n != "file" and v not in (None, ())}
    for name, value in flags.items():
        single = isinstance(value, tuple) and len(value) == 1 and name != "variables"
        arguments[name] = next(iter(value)) if single else value
    for name in ("out", "seeds"):
        if name not in arguments:
            raise InvalidArgument(name, None, "is missing", f"pass --{name}")
    return arguments


def _from_toml(path: Path) -> dict[str, Any]:
    text = read_text("file", path)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidArgument(
            "file", str(path), f"is not valid TOML ({error})", "correct the file"
        ) from error


def _print_gaps(console: Console, final: Any) -> None:
    one = final.sizes["seed"] == 1
    mean, half = (final.isel(seed=0),) * 2 if one else mean_and_half(final)
    for line in lines_of_cells(mean, half, intervals=not one):
        say(console, line)
    what = "for one seed" if one else "mean and 95 % interval over seeds"
    console.print(f"Final gap ({what}) of the first {MOST} cells:")
