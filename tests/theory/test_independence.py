import ast
from pathlib import Path

import apo_sim.theory

ALLOWED = {"problems", "checks", "errors", "geometry", "pytree", "self_checking", "theory"}


def test_theory_imports_nothing_that_runs_the_method():
    for path in Path(apo_sim.theory.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("apo_sim"):
                assert (node.module or "").split(".")[1] in ALLOWED, (path.name, node.module)
            if isinstance(node, ast.Import):
                assert not any(name.name.startswith("apo_sim") for name in node.names)


def test_every_public_name_is_documented():
    for name in apo_sim.theory.__all__:
        if name != "Flavour":
            assert getattr(apo_sim.theory, name).__doc__, name
