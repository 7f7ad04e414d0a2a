"""Write the pages that follow from the code and from the ledger: mkdocs calls it while it builds.

A page a claim, with its last verdict; a page a study, with what came out of it, and a page a
method, from their docstrings; the API reference, which has every public name; the notebooks; and
the list that is the navigation. Figures of claims are those of `results/figures`, where a run of
`make validate` has left them; the studies whose results are shipped draw their own.
"""

import ast
import base64
import functools
import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mkdocs_gen_files
import nbformat
from nbconvert import MarkdownExporter

import apo_sim.methods
from apo_sim.claims import registry
from apo_sim.claims.verdict import CHANGED, Verdict
from apo_sim.claims.words import Quantifier
from apo_sim.report import style
from apo_sim.report.page import number

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "apo_sim"
LEDGER = ROOT / "experiments/reference/claims.json"
FIGURES = ROOT / "results/figures"
EXPERIMENTS = ROOT / "experiments"
# Programs of their own, or data: nobody imports them.
NOT_PUBLIC = {"apo_sim.cli"}

BY_HAND = """
* [Start here](index.md)
* [The ideas](ideas.md)
* [Findings](findings.md)
"""
HOW_TO = {
    "first_claim.md": "Your first claim",
    "run.md": "Run the method on a table",
    "network.md": "Train a network",
    "sweep.md": "Sweep, on one core or a cluster",
    "advise.md": "Choose an extrapolation",
    "certificate.md": "Certify a run",
    "conform.md": "Identify a loss",
    "language_model.md": "Train a language model",
    "llm_scale.md": "Train it on several devices",
    "explain.md": "Explain a run that looks wrong",
    "evaluate.md": "Evaluate a language model",
    "your_own.md": "Bring your own",
}
BACKGROUND = {
    "glossary.md": "Words with two meanings",
    "family_tree.md": "Family tree of methods",
    "conformance.md": "What TRL's losses are",
    "speed.md": "How fast it is",
    "compatibility.md": "Which models load",
    "derivations/leading_order.md": "Derivation: the law of the gap",
}

# Notebooks whose names do not make titles.
TITLES = {"llm": "Language model"}
# Figures in docs/ of long runs of a study.
DRAWN = {
    "phase_diagram": ("phase_diagram.png", "The phase diagram from 100,800 runs at β = 1"),
    "ring": ("ring.png", "The ring task"),
}


@dataclass
class Page:
    """A page of the navigation: its title, its path below docs/, and the pages below it."""

    title: str
    path: str
    below: list["Page"] = field(default_factory=list)


def write(path: str, text: str) -> None:
    with mkdocs_gen_files.open(path, "w") as file:
        file.write(text)


def modules() -> Iterator[tuple[str, Path]]:
    """Public modules by their dotted names, in order."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        private = any(part.startswith("_") for part in name.split("."))
        if not private and not any(name.startswith(hidden) for hidden in NOT_PUBLIC):
            yield name, path


def summary(path: Path) -> str:
    """The first line of a module's docstring."""
    found = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or path.stem
    return found.split("\n\n")[0].replace("\n", " ")


# Claims


def claims(ledger: dict[str, Any]) -> Page:
    rows, below = [], []
    for entry in ledger["claims"]:
        id = entry["id"]
        write(f"claims/{id}.md", claim(entry))
        below.append(Page(f"{id}: {entry['title']}", f"claims/{id}.md"))
        rows.append(
            f"| [{id}]({id}.md) | {_cell(entry['title'])} | {entry['source']} | {_badge(entry)} |"
        )
    write(
        "claims/index.md",
        f"# Claims\n\nThe verdicts are those of version {ledger['version']}, effort "
        f"{ledger['effort']}, seed {ledger['seed']}.\n\n"
        "| id | claim | source | verdict |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n",
    )
    return Page("Claims", "claims/index.md", below)


def claim(entry: dict[str, Any]) -> str:
    id, scope = entry["id"], entry["scope"]
    check = registry.describe(id).check
    rows = [(name.replace("_", " "), value) for name, value in scope.items() if value]
    parts = [
        f"# {id}: {entry['title']}",
        displayed(entry["statement"]),
        f"## Verdict: {_badge(entry)}",
        _measured(entry),
        displayed(entry["note"] or ""),
        figure(id),
        "## Scope",
        "| setting | value |\n| --- | --- |\n"
        + "\n".join(f"| {n} | {_cell(readable(str(v)))} |" for n, v in rows),
        "## Controls",
        _controls(entry),
        facts(entry["facts"]),
        "## How it is checked",
        f"::: {check.__module__}.{check.__name__}\n{_UNDER_A_HEADING}",
        f"`apo-sim validate --claim {id}` repeats it.",
        _links("Methods", [(stem, f"../methods/{stem}.md") for stem in tried_methods(id)]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_UNDER_A_HEADING = "    options: {show_root_heading: false, heading_level: 3}"


def _links(what: str, pages: list[tuple[str, str]]) -> str:
    """A line of links to other pages, by their names."""
    return f"{what}: {', '.join(f'[{name}]({path})' for name, path in pages)}." if pages else ""


def displayed(text: str) -> str:
    """Text whose displayed formulas are paragraphs of their own, as Markdown wants them."""
    return re.sub(r"\s*\$\$(.+?)\$\$\s*", r"\n\n$$\1$$\n\n", readable(text)).strip()


def readable(text: str) -> str:
    """Text with its figures as a reader writes them; formulas and code as they are.

    Example:
        >>> readable("5% of 10800 runs, off by 5e-15, in $10800$ steps of 1e-09")
        '5 % of 10,800 runs, off by $5\\cdot10^{-15}$, in $10800$ steps of $10^{-9}$'
    """
    parts = re.split(r"(\$\$.*?\$\$|\$[^$]*\$|`[^`]*`)", text, flags=re.DOTALL)
    for at in range(0, len(parts), 2):
        grouped = _LONG.sub(lambda found: f"{int(found[0]):,}", parts[at])
        parts[at] = re.sub(r"(?<=\d)%", " %", _POWER.sub(_power, grouped))
    return "".join(parts)


_POWER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)e([+-]?\d+)(?!\w)")
_LONG = re.compile(r"(?<![\w.,])\d{5,}(?![\w]|[.,]\d)")


def _power(found: re.Match[str]) -> str:
    power = f"10^{{{int(found[2])}}}"
    return f"${power}$" if found[1] == "1" else rf"${found[1]}\cdot{power}$"


def figure(id: str, folder: str = "") -> str:
    """The figure of a claim, if it was drawn, as a page sees it that is `folder` away from it."""
    source = FIGURES / f"{id}.svg"
    if not source.exists():
        return ""
    with mkdocs_gen_files.open(f"claims/{id}.svg", "wb") as file:
        file.write(source.read_bytes())
    return f"![Figure of the claim {id}]({folder}{id}.svg)"


def _measured(entry: dict[str, Any]) -> str:
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


def facts(found: dict[str, Any]) -> str:
    if not found:
        return ""
    rows = "\n".join(f"| {_cell(name)} | {_cell(_value(value))} |" for name, value in found.items())
    return f"## Numbers\n\n| what | value |\n| --- | --- |\n{rows}"


def _value(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value)
    return ", ".join(map(_value, value)) if isinstance(value, list) else readable(str(value))


def _badge(entry: dict[str, Any]) -> str:
    verdict = entry["verdict"]
    return f'<span class="verdict verdict-{verdict.replace(" ", "-")}">{verdict}</span>'


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# Pages from docstrings


def studies() -> dict[str, Path]:
    """Those modules that have a question, by name: what they share has none."""
    parts = ("measure", "finding", "draw")
    return {
        name: path
        for name, path in modules()
        if name.startswith("apo_sim.studies.")
        and all(f"\ndef {part}(" in path.read_text(encoding="utf-8") for part in parts)
    }


def came_out(name: str, ledger: dict[str, Any]) -> str:
    """What came out of a study: the claims that judge it, and the results that are shipped."""
    stem = name.rsplit(".", 1)[-1]
    judged = [
        f"### [{entry['id']}: {entry['title']}](../claims/{entry['id']}.md)\n\n"
        f"Verdict: {_badge(entry)}. {_measured(entry)}\n\n{displayed(entry['note'] or '')}\n\n"
        + figure(entry["id"], "../claims/")
        for entry in ledger["claims"]
        if _uses(registry.module(entry["id"]), stem)
    ]
    scripts = [path for path in sorted(EXPERIMENTS.glob("*.py")) if _uses_in(path, stem)]
    named = ", ".join(f"`experiments/{path.name}`" for path in scripts)
    repeat = f"Scripts that use it: {named}." if named else ""
    return "\n\n".join(
        part for part in ["## What came out", shipped(name), drawn(stem), *judged, repeat] if part
    )


def drawn(stem: str) -> str:
    """The figure of a long run of a study, if one is kept."""
    if stem not in DRAWN:
        return ""
    path, words = DRAWN[stem]
    return f"![{words}](../{path})"


def shipped(name: str) -> str:
    """The finding and the figure of results that come with the package, if some do."""
    study = importlib.import_module(name)
    if not hasattr(study, "read"):
        return ""
    results, stem = study.read(), name.rsplit(".", 1)[-1]
    with mkdocs_gen_files.open(f"studies/{stem}.svg", "wb") as file:
        file.write(style.render(lambda drawn: study.draw(drawn, results), stem)["svg"])
    return f"{study.finding(results).text}\n\n![Figure of the study]({stem}.svg)"


def _uses(module: str, study: str) -> bool:
    return _uses_in(ROOT / f"{module.replace('.', '/')}.py", study)


def _uses_in(path: Path, study: str) -> bool:
    """Whether a file imports a study."""
    imports = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
    ]
    return any(
        node.module == f"apo_sim.studies.{study}"
        or (node.module == "apo_sim.studies" and any(part.name == study for part in node.names))
        for node in imports
    )


def methods() -> dict[str, Path]:
    """The modules of the package's methods, by name."""
    named = {thing.__module__ for thing in classes_of_methods()}
    return {name: path for name, path in modules() if name in named}


def classes_of_methods() -> list[type]:
    found = (getattr(apo_sim.methods, name) for name in apo_sim.methods.__all__)
    return [
        thing
        for thing in found
        if inspect.isclass(thing) and all(hasattr(thing, part) for part in ("step", "behaviour"))
    ]


@functools.cache
def tried_methods(id: str) -> list[str]:
    """Names of the pages of the methods that a claim runs; not of `Proximal`, which most do."""
    path = ROOT / f"{registry.module(id).replace('.', '/')}.py"
    trees = [ast.parse(path.read_text(encoding="utf-8"))]
    for node in ast.walk(trees[0]):  # what several claims share is in modules beside them
        if isinstance(node, ast.ImportFrom):
            places = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for place in places:
                shared = ROOT / f"{(place or '').replace('.', '/')}.py"
                if (place or "").startswith("apo_sim.claims._") and shared.exists():
                    trees.append(ast.parse(shared.read_text(encoding="utf-8")))
    named = {
        part
        for tree in trees
        for node in ast.walk(tree)
        for part in (
            [node.attr]
            if isinstance(node, ast.Attribute)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    pages = {
        thing.__module__.rpartition(".")[2]
        for thing in classes_of_methods()
        if thing.__name__ in named and thing.__module__ in METHODS
    }
    return sorted(pages - {"proximal"})


def judging(name: str) -> str:
    """The claims that run a method, and what came out of them."""
    stem = name.rpartition(".")[2]
    rows = [
        f"| [{entry['id']}: {_cell(entry['title'])}](../claims/{entry['id']}.md) "
        f"| {_badge(entry)} |"
        for entry in LAST["claims"]
        if stem in tried_methods(entry["id"])
    ]
    table = "| claim | verdict |\n| --- | --- |\n" + "\n".join(rows)
    return f"## Claims about it\n\n{table}" if rows else ""


def folder(
    title: str, package: str, shown: dict[str, tuple[str, Path]], first: Callable[[str], str]
) -> Page:
    """A page for each of some modules, by name with their titles, and a list of them.

    A page has what its module is, then what `first` says of it, then what one can call.
    """
    rows, below = [], []
    for name, (named, path) in shown.items():
        parts = [
            f"# {named}",
            f"::: {name}\n{_OF_PACKAGE}",
            first(name),
            "## In Python",
            *(f"::: {name}.{member}\n{_MEMBER}" for member in members(path, named)),
        ]
        write(f"{package}/{path.stem}.md", "\n\n".join(part for part in parts if part) + "\n")
        rows.append(f"| [{named}]({path.stem}.md) | {_cell(summary(path))} |")
        below.append(Page(named, f"{package}/{path.stem}.md"))
    table = "| name | what it is |\n| --- | --- |\n" + "\n".join(rows)
    write(f"{package}/index.md", f"# {title}\n\n{table}\n")
    return Page(title, f"{package}/index.md", below)


def members(path: Path, first: str) -> list[str]:
    """What a module offers: its public classes and functions, in order, but `first` before all."""
    found = [
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    ]
    return sorted(found, key=lambda name: name != first)


def titled(shown: dict[str, Path]) -> dict[str, tuple[str, Path]]:
    """Modules with titles made of their names."""
    return {name: (path.stem.replace("_", " ").capitalize(), path) for name, path in shown.items()}


def titled_methods(shown: dict[str, Path]) -> dict[str, tuple[str, Path]]:
    """Modules with the names of the methods that they define and are named after."""
    named = [thing.__name__ for thing in classes_of_methods()]
    return {
        name: (next(one for one in named if one.lower().startswith(_plain(path.stem))), path)
        for name, path in shown.items()
    }


def _plain(stem: str) -> str:
    return stem.replace("_", "")


_PLAIN = "    options: {show_root_heading: false}\n"
_MEMBER = "    options: {heading_level: 3, show_root_full_path: false}\n"


def reference(elsewhere: set[str]) -> Page:
    """Every public module that has no page already."""
    judged = {registry.module(id) for id in registry.names()}
    rows = []
    for name, path in modules():
        if name not in elsewhere | judged:
            package = path.name == "__init__.py"
            options = _OF_PACKAGE + offered(name) if package else _PLAIN
            write(f"reference/{name}.md", f"# {name}\n\n::: {name}\n{options}")
            rows.append(f"| [{name}]({name}.md) | {_cell(summary(path))} |")
    table = "| module | what it is |\n| --- | --- |\n" + "\n".join(rows)
    write("reference/index.md", f"# Reference\n\n{table}\n")
    return Page("Reference", "reference/index.md")


def offered(package: str) -> str:
    """What a package offers: links to where it is defined, or it itself where that has no page."""
    found = importlib.import_module(package)
    names = {name: getattr(found, name) for name in sorted(getattr(found, "__all__", ()))}
    places = {
        name: f"{thing.__module__}.{thing.__qualname__}"
        for name, thing in names.items()
        if hasattr(thing, "__qualname__") and thing.__module__.startswith("apo_sim")
    }
    here = [
        place for place in places.values() if "._" in place or place.rpartition(".")[0] == package
    ]
    links = [f"[`{name}`][{place}]" for name, place in places.items() if place not in here]
    named = f"\nIt offers {', '.join(links)}.\n" if links else ""
    return named + "".join(f"\n::: {place}\n" for place in here)


_OF_PACKAGE = "    options: {show_root_heading: false, show_root_toc_entry: false, members: []}\n"


def notebooks() -> Iterator[Page]:
    """The notebooks as they were committed: their code, text and pictures."""
    exporter = MarkdownExporter()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        films(notebook, path.stem)
        text, resources = exporter.from_notebook_node(notebook)
        for name, picture in resources["outputs"].items():
            with mkdocs_gen_files.open(f"notebooks/{path.stem}_{name}", "wb") as file:
                file.write(picture)
            text = text.replace(f"]({name})", f"]({path.stem}_{name})")
        write(f"notebooks/{path.stem}.md", text.replace("](../docs/", "](../"))
        title = TITLES.get(path.stem, path.stem.capitalize())
        yield Page(title, f"notebooks/{path.stem}.md")


def films(notebook: nbformat.NotebookNode, stem: str) -> None:
    """Make animations pictures of the page, which the exporter knows nothing of."""
    for at, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            film = output.get("data", {}).get("image/gif")
            if film is not None:
                name = f"{stem}_film_{at}.gif"
                with mkdocs_gen_files.open(f"notebooks/{name}", "wb") as file:
                    file.write(base64.b64decode(film))
                output["data"] = {"text/markdown": f"![Animation]({name})"}


def navigation(sections: dict[str, list[Page]]) -> str:
    lines = [BY_HAND.strip()]
    for section, pages in sections.items():
        lines.append(f"* {section}")
        for page in pages:
            lines.append(f"    * [{page.title}]({page.path})")
            lines += [f"        * [{below.title}]({below.path})" for below in page.below]
    return "\n".join(lines) + "\n"


LAST = json.loads(LEDGER.read_text(encoding="utf-8"))
STUDIES, METHODS = studies(), methods()
write(
    "SUMMARY.md",
    navigation(
        {
            "How to": [Page(title, f"how_to/{name}") for name, title in HOW_TO.items()],
            "Catalogue": [
                claims(LAST),
                folder("Studies", "studies", titled(STUDIES), lambda name: came_out(name, LAST)),
                folder("Methods", "methods", titled_methods(METHODS), judging),
            ],
            "Notebooks": list(notebooks()),
            "Background": [Page(title, name) for name, title in BACKGROUND.items()],
            "API": [reference({*STUDIES, *METHODS})],
        }
    ),
)
