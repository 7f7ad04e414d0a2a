"""What the code says of itself: its modules, and which of them are studies, methods, or use one."""

import ast
import functools
import inspect
from collections.abc import Iterator
from pathlib import Path

import apo_sim.methods
from apo_sim.claims import registry

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "apo_sim"
# Programs of their own, or data: nobody imports them.
NOT_PUBLIC = {"apo_sim.cli"}


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


def members(path: Path, first: str) -> list[str]:
    """What a module offers: its public classes and functions, in order, but `first` before all."""
    found = [
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    ]
    return sorted(found, key=lambda name: name != first)


def studies() -> dict[str, Path]:
    """Those modules that have a question, by name: what they share has none."""
    parts = ("measure", "finding", "draw")
    return {
        name: path
        for name, path in modules()
        if name.startswith("apo_sim.studies.")
        and all(f"\ndef {part}(" in path.read_text(encoding="utf-8") for part in parts)
    }


@functools.cache
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
    """Names of the modules of the methods that a claim runs; not of `Proximal`, which most do."""
    named = {name for tree in _judged_in(id) for node in ast.walk(tree) for name in _named(node)}
    pages = {
        thing.__module__.rpartition(".")[2]
        for thing in classes_of_methods()
        if thing.__name__ in named and thing.__module__ in methods()
    }
    return sorted(pages - {"proximal"})


def _judged_in(id: str) -> Iterator[ast.Module]:
    """The code of a claim, and what it shares with others in modules beside it."""
    own = _parsed(registry.module(id))
    yield own
    for node in ast.walk(own):
        if isinstance(node, ast.ImportFrom) and node.module:
            for place in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                if place.startswith("apo_sim.claims._") and _file(place).exists():
                    yield _parsed(place)


def _named(node: ast.AST) -> list[str]:
    """What a node imports, or looks up in a module."""
    if isinstance(node, ast.ImportFrom):
        return [alias.name for alias in node.names]
    return [node.attr] if isinstance(node, ast.Attribute) else []


def _file(module: str) -> Path:
    return ROOT / f"{module.replace('.', '/')}.py"


def _parsed(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text(encoding="utf-8"))


def claim_uses(module: str, study: str) -> bool:
    """Whether the claim of a module imports a study."""
    return imports_study(_file(module), study)


def imports_study(path: Path, study: str) -> bool:
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
