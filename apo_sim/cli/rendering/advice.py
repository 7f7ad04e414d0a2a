"""Advice on the extrapolation: the answer in words, and a row for every alpha."""

from typing import TYPE_CHECKING

from rich.console import Console

from apo_sim.cli.rendering.console import plain, say, table

if TYPE_CHECKING:
    from apo_sim.advice import Advice

COLUMNS = ("alpha", "expected gap", "saved vs alpha = 0", "saved vs matched beta", "worse")


def print_advice(console: Console, advice: "Advice") -> None:
    """The headline, the reasons, and the figures of every alpha."""
    headline, *lines = str(advice).splitlines()
    console.print(f"[bold]{plain(headline)}[/]")
    rows = table()
    for name in COLUMNS:
        rows.add_column(name, justify="right", no_wrap=True)
    for alpha in advice.table.alpha.values:
        row = advice.table.sel(alpha=alpha)
        rows.add_row(
            f"{alpha:g}",
            f"{float(row.gap):.3g} ± {float(row.gap * row.gap_half):.2g}",
            *(
                f"{round(100 * float(row[name])):d} % ± {100 * float(row[name + '_half']):.0f}"
                for name in ("over_none", "over_matched")
            ),
            f"{100 * float(row.worse):.0f} %",
            style="bold" if alpha == advice.alpha else None,
        )
    for line in lines:
        say(console, line)
    console.print(rows)
