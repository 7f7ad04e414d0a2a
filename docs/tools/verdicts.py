"""The page of a claim, and what a page of something else says of it."""

import json
from typing import Any

import mkdocs_gen_files
from package import ROOT, tried_methods
from writing import cell, displayed, readable

from apo_sim.claims import registry
from apo_sim.claims.verdict import CHANGED, Verdict
from apo_sim.claims.words import Quantifier
from apo_sim.report.page import number

LEDGER = json.loads((ROOT / "experiments/reference/claims.json").read_text(encoding="utf-8"))
FIGURES = ROOT / "results/figures"
_UNDER_A_HEADING = "    options: {show_root_heading: false, heading_level: 3}"


def claim(entry: dict[str, Any]) -> str:
    id, scope = entry["id"], entry["scope"]
    check = registry.describe(id).check
    rows = [(name.replace("_", " "), value) for name, value in scope.items() if value]
    parts = [
        f"# {id}: {entry['title']}",
        displayed(entry["statement"]),
        f"## Verdict: {badge(entry)}",
        measured(entry),
        displayed(entry["note"] or ""),
        figure(id),
        "## Scope",
        "| setting | value |\n| --- | --- |\n"
        + "\n".join(f"| {n} | {cell(readable(str(v)))} |" for n, v in rows),
        "## Controls",
        _controls(entry),
        _facts(entry["facts"]),
        "## How it is checked",
        f"::: {check.__module__}.{check.__name__}\n{_UNDER_A_HEADING}",
        f"`apo-sim validate --claim {id}` repeats it.",
        _links("Methods", [(stem, f"../methods/{stem}.md") for stem in tried_methods(id)]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _links(what: str, pages: list[tuple[str, str]]) -> str:
    """A line of links to other pages, by their names."""
    return f"{what}: {', '.join(f'[{name}]({path})' for name, path in pages)}." if pages else ""


def figure(id: str, folder: str = "") -> str:
    """The figure of a claim, if it was drawn, as a page sees it that is `folder` away from it."""
    source = FIGURES / f"{id}.svg"
    if not source.exists():
        return ""
    with mkdocs_gen_files.open(f"claims/{id}.svg", "wb") as file:
        file.write(source.read_bytes())
    return f"![Figure of the claim {id}]({folder}{id}.svg)"


def measured(entry: dict[str, Any]) -> str:
    interval = entry["interval"]
    ends = f", 95 % interval [{number(interval[0])}, {number(interval[1])}]" if interval else ""
    against = "" if entry["bound"] is None else f", held against {number(entry['bound'])}"
    found = f"Measured: {number(entry['measured'])} ({entry['unit']}){ends}{against}"
    if entry["scope"]["quantifier"] == Quantifier.WHERE:
        cells = entry["unit"].capitalize()
        found = f"{cells}: {number(entry['measured'])} of {number(entry['bound'])}"
    return f"{found}; tried on {Verdict.from_json(entry).tried}; {entry['seconds']:.0f} s."


def _controls(entry: dict[str, Any]) -> str:
    lines = [
        f"- {words.capitalize()}: {entry[key]['what']}. It *{entry[key]['verdict']}*."
        for key, words in CHANGED.items()
        if entry[key]
    ]
    return "\n".join(lines)


def _facts(found: dict[str, Any]) -> str:
    if not found:
        return ""
    rows = "\n".join(f"| {cell(name)} | {cell(_value(value))} |" for name, value in found.items())
    return f"## Numbers\n\n| what | value |\n| --- | --- |\n{rows}"


def _value(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value)
    return ", ".join(map(_value, value)) if isinstance(value, list) else readable(str(value))


def badge(entry: dict[str, Any]) -> str:
    verdict = entry["verdict"]
    return f'<span class="verdict verdict-{verdict.replace(" ", "-")}">{verdict}</span>'
