"""No name stands for two things: who reads `judge` or `train` somewhere knows which one it is."""

import importlib
import pkgutil
from collections import Counter, defaultdict

import pytest

import apo_sim

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
