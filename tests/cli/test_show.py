"""`apo-sim claims` and `apo-sim show`: what is claimed, and the last verdict on it."""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
import fake_claims  # noqa: F401  (declares the claims)
from command import run, validate

from apo_sim.claims import registry


def test_claims_lists_them_in_order(capsys, monkeypatch):
    monkeypatch.setattr(registry, "names", lambda: ["LD.2", "fake-true"])
    status, out, _ = run(capsys, "claims")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["id", "LD.2", "fake-true"]


def test_show_before_and_after_a_verdict(capsys, tmp_path):
    status, out, _ = run(capsys, "show", "fake-false", "--out", tmp_path)
    assert status == 0
    assert "Everything is below one" in out and "No verdict" in out and "<script>" in out
    validate(capsys, tmp_path, "fake-false")
    _, out, _ = run(capsys, "show", "fake-false", "--out", tmp_path)
    assert "fails" in out and "the repaired bound halved: fails" in out and "seed 0" in out
    assert re.search(r"^tried on +2 instances, claimed for all *$", out, re.M)
    assert "below three: holds" in out and "for all: two <numbers>; K 2; α 0.5, 2" in out


def test_show_lists_the_cells_of_a_map(capsys, tmp_path):
    validate(capsys, tmp_path, "fake-map")
    _, out, _ = run(capsys, "show", "fake-map", "--out", tmp_path)
    assert re.search(r"^yes +low: -0\.5 \[-0\.5\d+, -0\.4\d+\] *$", out, re.M)
    assert re.search(r"^no +high: 0\.5 \[", out, re.M)
    assert re.search(r"^cells in all +3 *$", out, re.M)


def test_claims_and_show_as_json(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "names", lambda: ["N2", "fake-map"])
    claims = json.loads(run(capsys, "claims", "--json")[1])
    assert [claim["id"] for claim in claims] == ["N2", "fake-map"]
    assert claims[1]["scope"] == {"quantifier": "where", "problems": "three cells"}
    before = json.loads(run(capsys, "show", "fake-map", "--json", "--out", tmp_path)[1])
    assert before == claims[1] | {"verdict": None, "run": None}
    validate(capsys, tmp_path, "fake-map")
    after = json.loads(run(capsys, "show", "fake-map", "--json", "--out", tmp_path)[1])
    assert after["run"]["seed"] == 0 and after["verdict"]["flaw"] is None
    entry = json.loads((tmp_path / "claims.json").read_text())["claims"][0]
    assert {name: after["verdict"][name] for name in entry} == entry
