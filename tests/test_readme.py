"""The README's code runs as a reader pastes it, and what it says was found is in the ledger."""

import contextlib
import io
import json
import pathlib
import re
import sys

import pytest

from apo_sim import claims
from apo_sim.claims import registry

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "experiments"))
import readme

README = readme.README.read_text(encoding="utf-8")
LEDGER = json.loads(readme.REFERENCE.read_text(encoding="utf-8"))


def test_every_python_block_runs() -> None:
    namespace: dict = {"__name__": "readme"}
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
            exec(block, namespace)
    assert shown.getvalue().rstrip().endswith("holds")


def test_what_the_pages_show_is_in_the_reference_ledger() -> None:
    for path, text in readme.pages(readme.Claims(LEDGER)).items():
        assert path.read_text(encoding="utf-8") == text, path


def test_a_figure_that_is_changed_in_the_ledger_changes_the_pages() -> None:
    # Otherwise a figure changed by hand on a page would not be noticed either.
    entries = [
        entry | {"facts": {**entry["facts"], "statistical error where the paper is": 3 * [0.5]}}
        if entry["id"] == "V4"
        else entry
        for entry in LEDGER["claims"]
    ]
    for path, text in readme.pages(readme.Claims(LEDGER | {"claims": entries})).items():
        assert path.read_text(encoding="utf-8") != text, path


def test_the_table_has_every_claim_once() -> None:
    _, table = readme.FINDINGS.read_text(encoding="utf-8").split("| id | claim | quantifier |")
    rows = re.findall(r"^\| ([\w.-]+) \| [^|]+ \| [a-z ]+ \| ", table, flags=re.MULTILINE)
    ours = [id for id in claims.names() if registry.module(id).startswith("apo_sim.")]
    assert rows == ours


@pytest.mark.parametrize(
    "template", [readme.HEADLINES, readme.TEMPLATE], ids=lambda path: path.stem
)
def test_every_sentence_of_a_finding_names_the_claims_that_it_comes_from(template) -> None:
    text = template.read_text(encoding="utf-8")
    bullets = next(part for part in text.split("\n\n") if part.startswith("- "))
    for bullet in re.split(r"^- ", bullets, flags=re.MULTILINE)[1:]:
        answer = re.sub(r"\*\*.*?\*\*", "", bullet, flags=re.DOTALL)
        sentences = re.split(r"(?<=[a-z)\]}])\.\s+(?=[A-Z])", answer.strip())
        assert all("cite(" in sentence or "fact(" in sentence for sentence in sentences), bullet
        assert bullet.rstrip().endswith(") }})."), bullet


def test_a_figure_or_verdict_that_is_gone_stops_the_findings() -> None:
    changed = {"N2": {"verdict": "fails"}, "T4.4-opt": {"facts": {}}}
    for id, change in changed.items():
        entries = [entry | change if entry["id"] == id else entry for entry in LEDGER["claims"]]
        with pytest.raises((ValueError, KeyError)):
            readme.pages(readme.Claims(LEDGER | {"claims": entries}))


def test_it_is_short_and_names_both_commands() -> None:
    assert len(README.splitlines()) < 150
    assert "make validate" in README
    assert "make test" in README
