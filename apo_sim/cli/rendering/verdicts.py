"""Claims and the verdicts on them, as tables and as JSON."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from apo_sim.cli.rendering.console import plain, table

if TYPE_CHECKING:
    from apo_sim.claims.registry import Declaration
    from apo_sim.claims.verdict import Control, Verdict
    from apo_sim.report.ledger import Ledger

COLOURS = {
    "holds": "green",
    "fails": "red",
    "depends": "blue",
    "vacuous": "yellow",
    "not reproduced": "magenta",
    "broken": "bold white on red",
}


def table_of_claims(claims: "Sequence[Declaration]") -> Table:
    """A row a claim: id, title, source."""
    rows = table()
    rows.add_column("id", no_wrap=True)
    rows.add_column("title")
    rows.add_column("source", no_wrap=True)
    for claim in claims:
        rows.add_row(plain(claim.id), plain(claim.title), plain(claim.source))
    return rows


def print_declaration(console: Console, claim: "Declaration") -> None:
    """What a claim says, and where."""
    console.print(f"[bold]{claim.id}[/]  {plain(claim.title)}  [dim]({claim.source})[/]\n")
    console.print(plain(claim.statement), "\n")
    if claim.scope is not None:
        settings = [f"{symbol} {values}" for symbol, values in claim.scope.settings().items()]
        scope = "; ".join([f"{claim.scope.quantifier}: {claim.scope.problems}", *settings])
        console.print(f"[dim]Scope, {plain(scope)}[/]\n")


def table_of_verdict(verdict: "Verdict", ledger: "Ledger", errata: str | None) -> Table:
    """A row a figure of one verdict."""
    rows = table(show_header=False)
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column()
    rows.add_row("verdict", _coloured(verdict))
    rows.add_row("measured", _number(verdict.measured) + f"  {plain(verdict.unit)}".rstrip())
    rows.add_row("bound" if verdict.regions is None else "cells in all", _number(verdict.bound))
    rows.add_row("ratio", _number(verdict.ratio))
    rows.add_row("95 % interval", _interval(verdict))
    rows.add_row("tried on", verdict.tried)
    for answer, cells in (verdict.regions or {}).items():
        if cells:
            lines = (
                f"{name}: {_number(value)} [{_number(low)}, {_number(high)}]"
                for name, (value, low, high) in cells.items()
            )
            rows.add_row(answer, plain("\n".join(lines)))
    for name, control in _controls(verdict).items():
        rows.add_row(name, f"{plain(control['what'])}: {control['verdict'] or 'not run'}")
    rows.add_row("note", plain(verdict.note))
    if verdict.flaw and verdict.verdict:
        rows.add_row("broken", plain(verdict.flaw))
    if errata:
        rows.add_row("erratum", plain(errata))
    rows.add_row("run", f"seed {ledger.seed}, effort {ledger.effort}, {ledger.created}")
    return rows


def print_verdicts(console: Console, verdicts: "Sequence[Verdict]") -> None:
    """A row a verdict, and a line for every one that does not count."""
    rows = table()
    for name in ("id", "title", "verdict"):
        rows.add_column(name, no_wrap=name != "title")
    for name in ("measured", "bound", "ratio"):
        rows.add_column(name, justify="right", no_wrap=True)
    rows.add_column("95 % interval", no_wrap=True)
    rows.add_column("controls", no_wrap=True)
    for v in verdicts:
        rows.add_row(
            plain(v.id),
            plain(v.title),
            _coloured(v),
            _number(v.measured),
            _number(v.bound),
            _number(v.ratio),
            _interval(v),
            ", ".join(control["verdict"] or "not run" for control in _controls(v).values()),
        )
    console.print(rows)
    for v in verdicts:
        if not v.sound:
            console.print(f"[bold red]{v.id} is broken[/]: {plain(str(v.flaw))}", soft_wrap=True)


def summary(verdict: "Verdict") -> dict[str, Any]:
    """What the table has of a verdict, as data; all of it is in `claims.json`."""
    names = ("id", "title", "source", "verdict", "sound", "flaw", "measured", "bound", "ratio")
    found = {name: getattr(verdict, name) for name in (*names, "interval", "unit", "seconds")}
    return found | {"controls": _controls(verdict)}


def state(verdict: "Verdict") -> str:
    """The verdict if it counts, and `"broken"` if it does not."""
    return str(verdict.verdict) if verdict.sound else "broken"


def _controls(verdict: "Verdict") -> "dict[str, Control]":
    """The controls that were run: made wrong, and repaired or planted where that applies."""
    named = {"wrong": verdict.control, "repaired": verdict.repair, "planted": verdict.power}
    return {name: control for name, control in named.items() if control is not None}


def _coloured(verdict: "Verdict") -> str:
    return f"[{COLOURS[state(verdict)]}]{state(verdict)}[/]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _interval(verdict: "Verdict") -> str:
    if verdict.interval is None:
        return "-"
    return plain(f"[{_number(verdict.interval[0])}, {_number(verdict.interval[1])}]")
