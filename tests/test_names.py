"""No name stands for two things: who reads `judge` or `train` somewhere knows which one it is."""

import ast
import importlib
import pkgutil
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import apo_sim
from apo_sim.claims import describe, names

ROOT = Path(__file__).parents[1]
PACKAGES = ("apo_sim", "apo_sim.theory", "apo_sim.losses", "apo_sim.methods", "apo_sim.momentum")

# What is offered under one name in two places, and why.
TWICE = {
    "KTO": "the loss of a single label, and the method that fits it as its paper does",
}


def modules() -> list[pkgutil.ModuleInfo]:
    return list(pkgutil.walk_packages(apo_sim.__path__, "apo_sim."))


def test_no_two_modules_have_one_name():
    count = Counter(each.name.rsplit(".", 1)[1] for each in modules() if not each.ispkg)
    assert [name for name, times in count.items() if times > 1] == []


@pytest.mark.llm
def test_no_public_name_stands_for_two_things():
    pytest.importorskip("tunix")
    packages = ["apo_sim", *(each.name for each in modules() if each.ispkg)]
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for name in packages:
        package = importlib.import_module(name)
        for public in getattr(package, "__all__", []):
            found[public].setdefault(id(getattr(package, public)), name)
    twice = {public: list(places.values()) for public, places in found.items() if len(places) > 1}
    assert twice.keys() == TWICE.keys(), twice


def importers() -> dict[str, set[str]]:
    """What imports each module: the package, the scripts, the notebooks and the site."""
    ours = {each.name for each in modules()}
    found: dict[str, set[str]] = defaultdict(set)
    for path in (
        *ROOT.glob("apo_sim/**/*.py*"),
        *ROOT.glob("docs/**/*.py"),
        *ROOT.glob("experiments/*.py"),
    ):
        if path.suffix not in (".py", ".pyi"):
            continue
        own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in _imported(node, own) & ours:
                found[name].add(own)
    for path in ROOT.glob("notebooks/*.ipynb"):
        for name in set(re.findall(r"apo_sim[.\w]+", path.read_text(encoding="utf-8"))) & ours:
            found[name].add(path.stem)
    return found


def _imported(node: ast.AST, own: str) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if not isinstance(node, ast.ImportFrom):
        return set()
    above = own.split(".")[: -node.level] if node.level else []
    base = ".".join([*above, *([node.module] if node.module else [])])
    return {base, *(f"{base}.{alias.name}" for alias in node.names)}


def test_what_only_its_own_folder_imports_starts_with_an_underscore():
    """Two kinds are looked up by name: the claims, and the parts of the command."""
    imported = importers()
    inside = [
        each.name
        for each in modules()
        if not each.ispkg
        and each.name.count(".") > 1
        and not each.name.startswith(("apo_sim.claims.", "apo_sim.cli."))
        and all(
            user.startswith(each.name.rsplit(".", 1)[0] + ".") and not user.endswith(".__init__")
            for user in imported[each.name]
        )
    ]
    public = [name for name in inside if not name.rsplit(".", 1)[1].startswith("_")]
    assert len(inside) > 40 and public == []


def test_no_claim_is_called_like_something_public():
    public = {name for package in PACKAGES for name in importlib.import_module(package).__all__}
    checks = {describe(id).check.__name__ for id in names()}
    assert checks & public == set()
