"""The page that a person reads: one self-contained HTML file."""

import base64
import functools
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from apo_sim.claims import registry
from apo_sim.claims.registry import describe
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Verdict
from apo_sim.report import _documentation, _explorer, _subjects, _transformer_section
from apo_sim.report._figure import Figure, read_figure
from apo_sim.report.ledger import Ledger
from apo_sim.report.mathematics import mathematics

# Every verdict, with its mark (never colour alone), how it is counted, and what it means.
LEGEND = {
    "holds": ("✓", ("holds", "hold"), "no instance tried contradicts it"),
    "fails": ("✗", ("fails", "fail"), "an instance or a measurement contradicts it"),
    "depends": (
        "◐",
        ("depends on the setting", "depend on the setting"),
        "yes in some cells and not in others: the map says where",
    ),
    "vacuous": ("○", ("is vacuous", "are vacuous"), "true, but it excludes nothing anywhere"),
    "not reproduced": (
        "~",
        ("was not reproduced", "were not reproduced"),
        "the data decide neither way",
    ),
    "broken": (
        "!",
        ("check is broken", "checks are broken"),
        "it raised, or a control did not come out as it must",
    ),
}
SOURCES = {
    "paper": "The paper",
    "reviews": "Its reviews",
    "ours": "Beyond paper and reviews",
    "": "Not loaded",
}


def render_page(ledger: Ledger, folder: Path) -> str:
    """The report on a ledger, with the figures that lie in its folder inside the page.

    What the package found out itself, the explorer and the runs of a language model, is left out of
    a report on the reader's own claims alone.

    Args:
        ledger: the verdicts.
        folder: the results folder, for the figures that the verdicts name.

    Returns:
        HTML that needs nothing else: no network and no other files. Its scripts filter, sort and
        draw the explorer; without them everything but that is there all the same. The browser is
        told to run them alone.

    Example:
        >>> from apo_sim.claims import check
        >>> from apo_sim.report.ledger import new_ledger
        >>> page = render_page(new_ledger([check("LD.2")], seed=0, effort="quick"), Path("."))
        >>> "<math" in page and "LD.2" in page
        True
    """
    entries = [_entry(verdict, ledger, folder) for verdict in ledger.verdicts]
    own = _of_the_reader(ledger)
    titles = {**SOURCES, "ours": "Yours"} if own else SOURCES
    groups = [
        (title, [entry for entry in entries if entry.verdict.source == source])
        for source, title in titles.items()
    ]
    scripts = [_asset("filter.js")] + ([] if own else [_asset("explorer.js")])
    return _template().render(
        ledger=ledger,
        own=own,
        groups=[group for group in groups if group[1]],
        errata=[entry for entry in entries if entry.errata],
        legend=[(name, row[0], ledger.counts[name], row[2]) for name, row in LEGEND.items()],
        summary=_summary(ledger),
        defects=_defects(ledger),
        seconds=duration(sum((v.seconds for v in ledger.verdicts), start=0.0)),
        transformer=None if own else _transformer_section.section(folder),
        sources=_sources(ledger, titles),
        methods=_methods(entries),
        pages=_documentation.pages(folder),
        **({} if own else _explored()),
        style=Markup(_asset("page.css")),
        scripts=[Markup(script) for script in scripts],
        policy=_policy(scripts),
    )


@dataclass(frozen=True)
class Entry:
    """A verdict with what the page shows beside it.

    Attributes:
        answers: its regions, as text.
        methods: that it is about.
        pages: of the documentation about it.
    """

    verdict: Verdict
    badge: str
    mark: str
    anchor: str
    errata: str | None
    figure: Figure | None
    meter: float | None
    command: str
    scope: Scope | None
    answers: list[tuple[str, list[str]]]
    methods: list[str]
    pages: list[_documentation.Page]


def number(value: Any, digits: int = 4) -> Markup:
    """A figure to a few significant digits, as HTML; a dash for None.

    Example:
        >>> print(number(0.125), number(1234567.0), number(None))
        0.125 1.235 × 10<sup>6</sup> –
    """
    if value is None:
        return Markup("–")
    if isinstance(value, int):
        return _signed(f"{value:,}")
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    exponent = int(power)
    if -4 < exponent < 5:
        return _signed(f"{float(f'{mantissa}e{power}'):.{max(0, digits - 1 - exponent)}f}")
    mantissa = _signed(mantissa)
    power = Markup("10<sup>{}</sup>").format(_signed(str(exponent)))
    return power if mantissa == "1" else Markup("{} × {}").format(mantissa, power)


def duration(seconds: float) -> str:
    """A time in words short enough for a table.

    Example:
        >>> duration(0.25), duration(42.0), duration(150.0)
        ('250 ms', '42.0 s', '2 min 30 s')
    """
    if seconds < 60:
        return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def _entry(verdict: Verdict, ledger: Ledger, folder: Path) -> Entry:
    badge = str(verdict.verdict) if verdict.sound else "broken"
    return Entry(
        verdict=verdict,
        badge=badge,
        mark=LEGEND[badge][0],
        anchor="claim-" + re.sub(r"[^A-Za-z0-9]+", "-", verdict.id),
        errata=_errata(verdict.id),
        figure=read_figure(folder / verdict.figure) if verdict.figure else None,
        meter=_meter(verdict.ratio),
        command=f"{registry.command(verdict.id)} --seed {ledger.seed} --effort {ledger.effort}",
        scope=None if verdict.scope is None else Scope(**verdict.scope),
        answers=[(a, _cells(cells)) for a, cells in (verdict.regions or {}).items() if cells],
        methods=_subjects.methods(verdict),
        pages=_documentation.pages(folder, verdict.id),
    )


def _cells(cells: dict[str, list[float | None]]) -> list[str]:
    """The cells of a map with their figures: name, value and interval."""
    listed = []
    for name, figures in cells.items():
        value, low, high = (str(number(figure, 3).striptags()) for figure in figures)
        listed.append(f"{name}: {value} [{low}, {high}]")
    return listed


def _errata(id: str) -> str | None:
    try:
        return describe(id).errata
    except Exception:  # a claim of someone else's, or one that is broken: it has its own entry
        return None


def _meter(ratio: float | None) -> float | None:
    """Where a ratio lies on a scale of logarithms from 10^-4 (0) over 1 (80) to 10 (100)."""
    if ratio is None or ratio < 0:
        return None
    return round(min(100.0, max(0.0, 80 + 20 * math.log10(max(ratio, 1e-9)))), 1)


def _signed(text: str) -> Markup:
    """Decimal digits without needless zeros, and with a minus instead of a hyphen."""
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return escape(text.replace("-", "−"))


def _summary(ledger: Ledger) -> str:
    """The counts in a sentence."""
    counts = ledger.counts
    parts = [
        f"{counts[name]} {forms[counts[name] != 1]}"
        for name, (_, forms, _) in LEGEND.items()
        if counts[name]
    ]
    return _listed(parts)


def _of_the_reader(ledger: Ledger) -> bool:
    """Whether all claims are of the reader's own."""
    return bool(ledger.verdicts) and all(registry.is_own(each.id) for each in ledger.verdicts)


def _explored() -> dict[str, Any]:
    """What the explorer is made of."""
    return {
        "dials": _explorer.dials(),
        "explorer_seeds": _explorer.read().attrs["seeds"],
        "explorer_data": Markup(_explorer.embedded()),
    }


def _sources(ledger: Ledger, titles: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """What the claims can be filtered by: source, its title, and how many claims have it."""
    counts = Counter(verdict.source for verdict in ledger.verdicts)
    return [(name, title, counts[name]) for name, title in titles.items() if name and counts[name]]


def _methods(entries: Iterable[Entry]) -> list[tuple[str, int]]:
    """The methods that claims are about, and how many are, the most frequent first."""
    return Counter(method for entry in entries for method in entry.methods).most_common()


def _defects(ledger: Ledger) -> list[tuple[str, list[str]]]:
    """What several claims fail for, with their ids: one defect, however often it is met."""
    shared: dict[str, list[str]] = {}
    for verdict in ledger.verdicts:
        if verdict.defect and verdict.verdict == "fails":
            shared.setdefault(verdict.defect, []).append(verdict.id)
    return [(defect, ids) for defect, ids in shared.items() if len(ids) > 1]


def _listed(parts: list[str]) -> str:
    return " and ".join([*filter(None, [", ".join(parts[:-1])]), *parts[-1:]]) or "none was judged"


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FunctionLoader(_asset),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        mathematics=mathematics, number=number, duration=duration, rows=_rows
    )
    return environment.get_template("template.html.j2")


def _asset(name: str) -> str:
    """A file beside this module."""
    return resources.files("apo_sim.report").joinpath(name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """What a browser may do with the page: run its own scripts, show what it holds, and no more.

    Scripts are allowed by their digests, so that no text of a claim could become one.
    """
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _rows(data: Any, path: str = "") -> Iterable[tuple[str, str]]:
    """Plain data as pairs of a name and a short text, nested names joined by dots."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield from _rows(value, f"{path}.{name}".lstrip("."))
    else:
        yield path, _short(data)


def _short(data: Any) -> str:
    if isinstance(data, float):
        return f"{data:.10g}"
    if isinstance(data, list):
        shown = [_short(item) for item in data[:12]]
        more = [f"… {len(data)} in all"] if len(data) > 12 else []
        return "[" + ", ".join(shown + more) + "]"
    return "not finite" if data is None else str(data)
