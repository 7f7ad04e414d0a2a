"""The public names come when they are used, and are what a plain import would give."""

import ast
import importlib
import multiprocessing
import pickle
import subprocess
import sys
import types
from pathlib import Path

import pytest

import apo_sim
import apo_sim.report

STUBBED = (apo_sim, apo_sim.report)


def places(package):
    """From a public name to the module that the stub says defines it, None for a module."""
    stub = Path(package.__file__).with_suffix(".pyi")
    found = {}
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            module = node.module and f"{package.__name__}.{node.module}"
            found |= {alias.asname or alias.name: module for alias in node.names}
    return found


@pytest.mark.parametrize("package", STUBBED, ids=lambda package: package.__name__)
def test_every_name_is_there_and_is_the_one_meant(package):
    defined = places(package)
    assert sorted(defined) == sorted(package.__all__)
    assert set(dir(package)) >= {*defined}
    for name, module in defined.items():
        value = getattr(package, name)
        if module is None:
            assert isinstance(value, types.ModuleType)
        else:
            assert value is getattr(importlib.import_module(module), name)


def test_all_of_them_come_with_a_star():
    namespace = {}
    exec("from apo_sim import *", namespace)
    assert {*dir(apo_sim)} <= {*namespace}
    assert namespace["DPO"] is apo_sim.losses.DPO
    assert apo_sim.claims.judge is importlib.import_module("apo_sim.claims.judge")


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="slove"):
        _ = apo_sim.slove  # pyright: ignore[reportAttributeAccessIssue]
    assert not hasattr(apo_sim, "nowhere")


# `sweep` is a function in a package of the same name.
PROGRAM = """
import sys
import apo_sim, apo_sim.report
heavy = [name for name in ("jax", "numpy", "scipy", "xarray") if name in sys.modules]
assert not heavy, heavy
assert {"solve", "claims"} <= {*dir(apo_sim)}
import apo_sim.sweep.series
assert callable(apo_sim.sweep) and "jax" in sys.modules
"""


def test_nothing_comes_before_it_is_used():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_they_are_pickled_and_used_in_new_processes():
    loss = apo_sim.IPO(tau=0.5)
    assert pickle.loads(pickle.dumps((loss, apo_sim.solve))) == (loss, apo_sim.solve)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(repr, (loss,)) == "IPO(tau=0.5)"
