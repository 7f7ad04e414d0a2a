"""Write the pages that follow from the code and from the ledger: mkdocs calls it while it builds.

A page a claim, with its last verdict; a page a study, with what came out of it, and a page a
method, from their docstrings; the API reference, which has every public name; the notebooks; and
the list that is the navigation. Figures of claims are those of `results/figures`, where a run of
`make validate` has left them; the studies whose results are shipped draw their own.
"""

import base64
import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mkdocs_gen_files
import nbformat
from nbconvert import MarkdownExporter

from apo_sim.claims import registry
from apo_sim.report import style

sys.path.insert(0, str(Path(__file__).parent))
from package import (
    ROOT,
    claim_uses,
    classes_of_methods,
    imports_study,
    members,
    methods,
    modules,
    studies,
    summary,
    tried_methods,
)
from verdicts import LEDGER, badge, claim, figure, measured
from writing import cell, displayed, write

EXPERIMENTS = ROOT / "experiments"

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


# Claims


def claims() -> Page:
    rows, below = [], []
    for entry in LEDGER["claims"]:
        id = entry["id"]
        write(f"claims/{id}.md", claim(entry))
        below.append(Page(f"{id}: {entry['title']}", f"claims/{id}.md"))
        rows.append(
            f"| [{id}]({id}.md) | {cell(entry['title'])} | {entry['source']} | {badge(entry)} |"
        )
    write(
        "claims/index.md",
        f"# Claims\n\nThe verdicts are those of version {LEDGER['version']}, effort "
        f"{LEDGER['effort']}, seed {LEDGER['seed']}.\n\n"
        "| id | claim | source | verdict |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n",
    )
    return Page("Claims", "claims/index.md", below)


# Pages from docstrings


def came_out(name: str) -> str:
    """What came out of a study: the claims that judge it, and the results that are shipped."""
    stem = name.rsplit(".", 1)[-1]
    judged = [
        f"### [{entry['id']}: {entry['title']}](../claims/{entry['id']}.md)\n\n"
        f"Verdict: {badge(entry)}. {measured(entry)}\n\n{displayed(entry['note'] or '')}\n\n"
        + figure(entry["id"], "../claims/")
        for entry in LEDGER["claims"]
        if claim_uses(registry.module(entry["id"]), stem)
    ]
    scripts = [path for path in sorted(EXPERIMENTS.glob("*.py")) if imports_study(path, stem)]
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


def judging(name: str) -> str:
    """The claims that run a method, and what came out of them."""
    stem = name.rpartition(".")[2]
    rows = [
        f"| [{entry['id']}: {cell(entry['title'])}](../claims/{entry['id']}.md) | {badge(entry)} |"
        for entry in LEDGER["claims"]
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
        rows.append(f"| [{named}]({path.stem}.md) | {cell(summary(path))} |")
        below.append(Page(named, f"{package}/{path.stem}.md"))
    table = "| name | what it is |\n| --- | --- |\n" + "\n".join(rows)
    write(f"{package}/index.md", f"# {title}\n\n{table}\n")
    return Page(title, f"{package}/index.md", below)


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
            rows.append(f"| [{name}]({name}.md) | {cell(summary(path))} |")
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
    for at, part in enumerate(notebook.cells):
        for output in part.get("outputs", []):
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


STUDIES, METHODS = studies(), methods()
write(
    "SUMMARY.md",
    navigation(
        {
            "How to": [Page(title, f"how_to/{name}") for name, title in HOW_TO.items()],
            "Catalogue": [
                claims(),
                folder("Studies", "studies", titled(STUDIES), came_out),
                folder("Methods", "methods", titled_methods(METHODS), judging),
            ],
            "Notebooks": list(notebooks()),
            "Background": [Page(title, name) for name, title in BACKGROUND.items()],
            "API": [reference({*STUDIES, *METHODS})],
        }
    ),
)
