"""What can be done with `apo-sim`, on one screen."""

from rich.console import Console
from rich.table import Table

from apo_sim.cli.options import SUBCOMMANDS
from apo_sim.cli.rendering.console import plain, table

ABOUT = (
    "A referee for preference-optimisation theory: state a claim, and apo-sim tells you whether "
    "it holds, how tight it is and where it is vacuous."
)
FIRST_STEPS = {
    "apo-sim claims": "list the claims and their sources",
    "apo-sim show N2": "show one claim and the latest verdict on it",
    "apo-sim validate --claim N2": "judge it in seconds and write a report",
}


def print_overview(console: Console) -> None:
    """Print one line for each subcommand, and the first commands to try."""
    console.print("usage: apo-sim SUBCOMMAND [OPTIONS]\n", markup=False)
    console.print(f"{ABOUT}\n")
    lines = {name: _first_line(options) for name, options in SUBCOMMANDS.items()}
    for heading, rows in (("Subcommands", lines), ("Getting started", FIRST_STEPS)):
        console.print(f"[bold]{heading}[/]")
        console.print(_two_columns(rows), "")
    console.print(
        "Run apo-sim SUBCOMMAND --help for its options, and apo-sim --version for the version."
    )


def _first_line(options: type) -> str:
    return (options.__doc__ or "").partition("\n")[0]


def _two_columns(rows: dict[str, str]) -> Table:
    found = table(show_header=False)
    found.add_column(no_wrap=True, style="cyan")
    found.add_column()
    for left, right in rows.items():
        found.add_row(f"  {plain(left)}", plain(right))
    return found
