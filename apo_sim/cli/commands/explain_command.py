"""`apo-sim explain LOG`."""

from pathlib import Path

from apo_sim.cli.options.explain_options import Explain
from apo_sim.cli.rendering.console import open_console, say
from apo_sim.cli.rendering.data import print_json
from apo_sim.cli.status import DONE
from apo_sim.errors import InvalidArgument
from apo_sim.explain import draw, explain, read_log
from apo_sim.files import as_path, cannot_write, write_bytes
from apo_sim.report import style


def run(options: Explain) -> int:
    """Say what the log shows."""
    picture = None if options.figure is None else _picture(options.figure)
    found = explain(options.log, beta=options.beta, dtype=options.dtype)
    if options.json:
        print_json(found)
    else:
        say(open_console(), str(found))
    if picture is not None:
        _draw(picture, options.log, f"{Path(found.source).name}: {found.summary.partition(';')[0]}")
    return DONE


def _picture(given: Path) -> Path:
    """The file to draw into, which says the format."""
    file = as_path("figure", given)
    if file.suffix not in (".png", ".svg"):
        raise InvalidArgument(
            "figure",
            str(file),
            "is neither .png nor .svg",
            "pass a file name with one of these endings",
        )
    return file


def _draw(file: Path, log: Path, note: str) -> None:
    drawn = style.render(lambda figure: draw(figure, {"": read_log(log)}, note), file.stem)
    try:
        write_bytes(file, drawn[file.suffix[1:]])
    except OSError as error:
        raise cannot_write("figure", file, error) from None
