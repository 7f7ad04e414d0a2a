"""The section of the report on a language model: from a run's results, never computed here."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apo_sim.errors import InvalidArgument
from apo_sim.explain import Explanation, diagnosed, draw
from apo_sim.explain.course import Course
from apo_sim.explain.log import Collector, Log
from apo_sim.report import style
from apo_sim.report._figure import Figure, embed
from apo_sim.report._transformer_power_section import Powered, powered
from apo_sim.studies import transformer
from apo_sim.transformer_rows import PolicyRow, StepRow

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
        course: what the logs of the first seed show, step by step.
        runs: names of those logs.
        courses: name of a column of theirs, and its first and last level in each.
        seen: what `explain` says of each log, in a line.
        own: whether these are results of this machine, and not those of the package.
        command: makes them again.
        powered: the study with more runs, of a smaller model.
    """

    finding: list[str]
    methods: list[str]
    columns: list[str]
    rows: list[tuple[str, list[str]]]
    figure: Figure
    course: Figure
    runs: list[str]
    courses: list[tuple[str, list[str]]]
    seen: list[str]
    own: bool
    command: str
    powered: Powered


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


def _section(results: transformer.TransformerResults, *, own: bool) -> Section:
    rows: list[tuple[str, list[str]]] = []
    for seed in dict.fromkeys(run.seed for run in results.runs):
        runs = [run for run in results.runs if run.seed == seed]
        rows.append((f"reference, seed {seed}", _cells(runs[0].rows[0])))
        rows += [(f"{run.method}, seed {seed}", _cells(run.end)) for run in runs]
    first = results.runs[0].seed
    shown = {run.method: run for run in results.runs if run.seed == first}
    logs = {method: _log(run.steps) for method, run in shown.items()}
    # Rewards of a schedule are read by its largest beta: what is seen, is seen at every other.
    found = {name: diagnosed(log, max(shown[name].beta)) for name, log in logs.items()}
    return Section(
        finding=transformer.finding(results).text.splitlines(),
        methods=results.methods,
        columns=[transformer.FIGURES[name] for name in _FIGURES],
        rows=rows,
        figure=_drawn(functools.partial(transformer.draw, results=results), "transformer"),
        course=_drawn(functools.partial(draw, logs=logs), "transformer-steps"),
        runs=[f"{method}, seed {first}" for method in logs],
        courses=_courses(found),
        seen=[f"{name}: {one.summary}." for name, one in found.items()],
        own=own,
        command="python experiments/llm_run.py",
        powered=powered(),
    )


def _cells(row: PolicyRow) -> list[str]:
    return [transformer.cell(row, name) for name in _FIGURES]


def _log(steps: Sequence[StepRow]) -> Log:
    collector = Collector("steps")
    for step in steps:
        collector.add(dataclasses.asdict(step))
    return collector.log()


def _courses(found: dict[str, Explanation]) -> list[tuple[str, list[str]]]:
    """Every column that some log has, with a cell for each log."""
    by_label = [{one.label: one for one in explained.courses} for explained in found.values()]
    labels = list(dict.fromkeys(label for part in by_label for label in part))
    return [(label, [_from_to(part.get(label)) for part in by_label]) for label in labels]


def _from_to(course: Course | None) -> str:
    return "" if course is None else f"{course.first:.3g} → {course.last:.3g}"


def _drawn(fill: Callable[[Any], object], name: str) -> Figure:
    return embed(style.for_page(style.render(fill, name)["png"]))
