"""The index of the command says what the modules declare."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))
sys.path.insert(0, str(Path(__file__).parents[1]))
import command_index
import fake_claims  # noqa: F401  (declares the claims)

from apo_sim import claims
from apo_sim.claims import registry
from apo_sim.cli import index
from apo_sim.errors import UnknownName


def test_it_is_what_is_declared():
    stored = json.loads(index.FILE.read_text(encoding="utf-8"))
    assert stored == command_index.made(), "run python experiments/command_index.py"


def test_an_entry_is_read_as_it_was_declared():
    assert index.from_entry(index.to_entry(claims.describe("fake-false"))).scope == (
        claims.describe("fake-false").scope
    )


def test_a_claim_that_is_not_indexed_is_asked_for(monkeypatch):
    assert index.declaration("fake-true").errata == claims.describe("fake-true").errata
    monkeypatch.setattr(index, "_stored", lambda: {"claims": {}, "names": {}})
    assert index.declaration("LD.2") == claims.describe("LD.2")


def test_what_has_been_imported_is_newer_than_the_index(monkeypatch):
    claims.describe("LD.2")
    stale = {"LD.2": index.to_entry(claims.describe("LD.2")) | {"title": "old"}}
    monkeypatch.setattr(index, "_stored", lambda: {"claims": stale, "names": {}})
    assert index.declaration("LD.2").title == claims.describe("LD.2").title
    monkeypatch.setattr(registry, "module", lambda id: "elsewhere")
    assert index.declaration("LD.2").title == "old"


def test_an_unknown_registry_offers_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'LOSSES'"):
        index.names_of("LOSES")
