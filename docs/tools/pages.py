"""Write the pages that follow from the code and from the ledger: mkdocs calls it while it builds.

A page a claim, with its last verdict; a page a study, with what came out of it, and a page a
method, from their docstrings; the API reference, which has every public name; the notebooks; and
the list that is the navigation. Figures of claims are those of `results/figures`, where a run of
`make validate` has left them; the studies whose results are shipped draw their own.
"""

import ast
import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mkdocs_gen_files
from nbconvert import MarkdownExporter

import apo_sim.methods
from apo_sim.claims import registry
from apo_sim.claims.verdict import CHANGED, Verdict
from apo_sim.report import style

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
    "first_claim.md": "Your first claim",
}
BACKGROUND = {
    "glossary.md": "Words with two meanings",
    "family_tree.md": "Family tree of methods",
    "conformance.md": "What TRL's losses are",
    "speed.md": "How fast it is",
    "compatibility.md": "Which models load",
    "derivations/leading_order.md": "Derivation: the law of the gap",
}

Page = tuple[str, str]
"""A title, and the path of a page below docs/."""


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
    rows = []
    for entry in ledger["claims"]:
        id = entry["id"]
        write(f"claims/{id}.md", claim(entry))
        rows.append(
            f"| [{id}]({id}.md) | {_cell(entry['title'])} | {entry['source']} | {_badge(entry)} |"
        )
    write(
        "claims/index.md",
        f"# Claims\n\nThe verdicts are those of version {ledger['version']}, effort "
        f"{ledger['effort']}, seed {ledger['seed']}.\n\n"
        "| id | claim | source | verdict |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n",
    )
    return "Claims", "claims/index.md"


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
        "| of | what |\n| --- | --- |\n" + "\n".join(f"| {n} | {_cell(str(v))} |" for n, v in rows),
        "## Controls",
        _controls(entry),
        facts(entry["facts"]),
        "## How it is checked",
        f"::: {check.__module__}.{check.__name__}\n{_UNDER_A_HEADING}",
        f"`apo-sim validate --claim {id}` repeats it.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_UNDER_A_HEADING = "    options: {show_root_heading: false, heading_level: 3}"


def displayed(text: str) -> str:
    """Text whose displayed formulas are paragraphs of their own, as Markdown wants them."""
    return re.sub(r"\s*\$\$(.+?)\$\$\s*", r"\n\n$$\1$$\n\n", text).strip()


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
    ends = f", 95 % interval [{interval[0]:.4g}, {interval[1]:.4g}]" if interval else ""
    against = "" if entry["bound"] is None else f", held against {entry['bound']:.4g}"
    return (
        f"Measured: {entry['measured']:.4g} ({entry['unit']}){ends}{against}; "
        f"tried on {Verdict.from_json(entry).tried}; {entry['seconds']:.0f} s."
    )


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
    return f"## Figures\n\n| what | value |\n| --- | --- |\n{rows}"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(_value, value)) if isinstance(value, list) else str(value)


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
    return "\n\n".join(["## What came out", *judged, shipped(name), repeat]) + "\n"


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
    found = (getattr(apo_sim.methods, name) for name in apo_sim.methods.__all__)
    named = {
        thing.__module__
        for thing in found
        if inspect.isclass(thing) and all(hasattr(thing, part) for part in ("step", "behaviour"))
    }
    return {name: path for name, path in modules() if name in named}


def folder(title: str, package: str, shown: dict[str, Path], more: Callable[[str], str]) -> Page:
    """A page for each of some modules, with `more` at its end, and a list of them."""
    rows = []
    for name, path in shown.items():
        write(f"{package}/{path.stem}.md", f"# {path.stem}\n\n::: {name}\n{_PLAIN}\n{more(name)}")
        rows.append(f"| [{path.stem}]({path.stem}.md) | {_cell(summary(path))} |")
    table = "| name | what it is |\n| --- | --- |\n" + "\n".join(rows)
    write(f"{package}/index.md", f"# {title}\n\n{table}\n")
    return title, f"{package}/index.md"


_PLAIN = "    options: {show_root_heading: false}\n"


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
    return "Reference", "reference/index.md"


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


_OF_PACKAGE = "    options: {show_root_heading: false, members: []}\n"


def notebooks() -> Iterator[Page]:
    """The notebooks as they were committed: their code, text and pictures."""
    exporter = MarkdownExporter()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text, resources = exporter.from_filename(str(path))
        for name, picture in resources["outputs"].items():
            with mkdocs_gen_files.open(f"notebooks/{path.stem}_{name}", "wb") as file:
                file.write(picture)
            text = text.replace(f"]({name})", f"]({path.stem}_{name})")
        write(f"notebooks/{path.stem}.md", text.replace("](../docs/", "](../"))
        yield path.stem.capitalize(), f"notebooks/{path.stem}.md"


def navigation(sections: dict[str, list[Page]]) -> str:
    lines = [BY_HAND.strip()]
    for section, pages in sections.items():
        lines.append(f"* {section}")
        lines += [f"    * [{title}]({path})" for title, path in pages]
    return "\n".join(lines) + "\n"


LAST = json.loads(LEDGER.read_text(encoding="utf-8"))
STUDIES, METHODS = studies(), methods()
write(
    "SUMMARY.md",
    navigation(
        {
            "How to": [(title, f"how_to/{name}") for name, title in HOW_TO.items()],
            "Catalogue": [
                claims(LAST),
                folder("Studies", "studies", STUDIES, lambda name: came_out(name, LAST)),
                folder("Methods", "methods", METHODS, lambda name: ""),
            ],
            "Notebooks": list(notebooks()),
            "Background": [(title, name) for name, title in BACKGROUND.items()],
            "API": [reference({*STUDIES, *METHODS})],
        }
    ),
)
