"""The README's code runs, in order, as a reader would paste it, and its table is complete."""

import contextlib
import io
import pathlib
import re

from apo_sim import claims
from apo_sim.claims import registry

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_every_python_block_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 3
    namespace: dict = {"__name__": "readme"}
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            for block in blocks:
                exec(block, namespace)
    finally:
        claims.forget("mine")
    assert shown.getvalue().rstrip().endswith("holds")


def test_the_table_has_every_claim_once() -> None:
    rows = re.findall(r"^\| ([A-Za-z]+[\d.]+(?:-\w+)?|ExPO) \|", README, flags=re.MULTILINE)
    ours = [id for id in claims.names() if registry.module(id).startswith("apo_sim.")]
    assert rows == ours


def test_both_commands_are_named() -> None:
    assert "make validate" in README
    assert "make test" in README
