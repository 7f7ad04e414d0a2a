"""The README's code runs, in order, as a reader would paste it, and its table is complete."""

import contextlib
import io
import json
import pathlib
import re
import sys

import numpy as np
import pytest

from apo_sim import claims
from apo_sim.claims import registry
from apo_sim.studies import transformer

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "experiments"))
import readme

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


def test_findings_and_table_are_those_of_the_reference_ledger() -> None:
    claims_found = readme.Claims(json.loads(readme.REFERENCE.read_text(encoding="utf-8")))
    assert readme.written(README, readme.findings(claims_found)) == README


def test_the_table_has_every_claim_once() -> None:
    _, table = README.split("| id | claim | quantifier |")
    rows = re.findall(r"^\| ([\w.-]+) \| [^|]+ \| [a-z ]+ \| ", table, flags=re.MULTILINE)
    ours = [id for id in claims.names() if registry.module(id).startswith("apo_sim.")]
    assert rows == ours


def test_every_sentence_of_a_finding_names_the_claims_that_it_comes_from() -> None:
    bullets = readme.TEMPLATE.read_text(encoding="utf-8").split("\n\n")[0]
    for bullet in re.split(r"^- ", bullets, flags=re.MULTILINE)[1:]:
        answer = re.sub(r"\*\*.*?\*\*", "", bullet, flags=re.DOTALL)
        sentences = re.split(r"(?<=[a-z)\]}])\.\s+(?=[A-Z])", answer.strip())
        assert all("cite(" in sentence or "fact(" in sentence for sentence in sentences), bullet
        assert bullet.rstrip().endswith(") }}).")


def test_a_figure_or_verdict_that_is_gone_stops_the_findings() -> None:
    ledger = json.loads(readme.REFERENCE.read_text(encoding="utf-8"))
    changed = {"N2": {"verdict": "fails"}, "T4.4-opt": {"facts": {}}}
    for id, change in changed.items():
        entries = [entry | change if entry["id"] == id else entry for entry in ledger["claims"]]
        with pytest.raises((ValueError, KeyError)):
            readme.findings(readme.Claims(ledger | {"claims": entries}))


def test_the_language_model_rows_are_the_stored_results() -> None:
    results = transformer.read()
    for method in ("DPO", "APO"):
        runs = [run for run in results["runs"] if run["method"] == method]
        last = [run["rows"][-1] for run in runs]
        won = [row["win_rate"][0] for row in last]
        kl = [row["kl"][0] for row in last]
        row = next(line for line in README.splitlines() if line.startswith(f"| {method} |"))
        assert f"| {np.mean(won):.2f} ({', '.join(f'{w:.2f}' for w in sorted(won))}) |" in row
        assert f"| {np.mean(kl):.1f} (" in row


def test_both_commands_are_named() -> None:
    assert "make validate" in README
    assert "make test" in README
