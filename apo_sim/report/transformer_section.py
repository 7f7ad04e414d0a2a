"""The section of the report on a language model: from a run's results, never computed here."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apo_sim.errors import InvalidArgument
from apo_sim.report import style
from apo_sim.report.figure import Figure, embed
from apo_sim.studies import transformer

# Where `experiments/llm_run.py` writes by default, within the results.
_OWN = Path("llm/full/results.json")
_FIGURES = ("win_rate", "lc_win_rate", "strict", "loose", "characters", "kl")


@dataclass(frozen=True)
class Section:
    """What the page shows.

    Attributes:
        finding: in words, a line each.
        methods: that were run.
        columns: names of the figures.
        rows: policy, and its figures with their intervals.
        figure: as the page embeds it.
        own: whether these are results of this machine, and not those of the package.
        command: makes them again.
    """

    finding: list[str]
    methods: list[str]
    columns: list[str]
    rows: list[tuple[str, list[str]]]
    figure: Figure
    own: bool
    command: str


def section(folder: Path) -> Section:
    """Results in the folder of the report; those of the package where there are none to read."""
    try:
        return _section(transformer.read(folder / _OWN), own=True)
    except InvalidArgument:
        return _of_the_package()


@functools.cache
def _of_the_package() -> Section:
    """Drawn once, however many pages show it."""
    return _section(transformer.read(), own=False)


def _section(results: transformer.Results, *, own: bool) -> Section:
    rows: list[tuple[str, list[str]]] = []
    for seed in dict.fromkeys(run["seed"] for run in results["runs"]):
        runs = [run for run in results["runs"] if run["seed"] == seed]
        rows.append((f"reference, seed {seed}", _cells(runs[0]["rows"][0])))
        rows += [(f"{run['method']}, seed {seed}", _cells(run["rows"][-1])) for run in runs]
    return Section(
        finding=transformer.finding(results).splitlines(),
        methods=list(dict.fromkeys(run["method"] for run in results["runs"])),
        columns=[transformer.FIGURES[name] for name in _FIGURES],
        rows=rows,
        figure=_drawn(results),
        own=own,
        command="python experiments/llm_run.py",
    )


def _cells(row: dict[str, Any]) -> list[str]:
    return [transformer.cell(name, row[name]) for name in _FIGURES]


def _drawn(results: dict[str, Any]) -> Figure:
    draw = functools.partial(transformer.draw, results=results)
    return embed(style.for_page(style.render(draw, "transformer")["png"]))
