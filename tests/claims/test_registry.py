"""Claims: how they are declared, found, run twice, and turned into plain data."""

import dataclasses
import json
import math
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import fake_claims

from apo_sim import claims
from apo_sim.claims import ClaimError, Finding, Study, registry
from apo_sim.claims.verdict import Verdict
from apo_sim.errors import InvalidArgument, UnknownName

PAPER = ["T4.1", "E3.6", "T4.4-opt", "T4.4-stat", "T4.4", "A4.2", "A4.3", "A4.6", "AB.1"]
PAPER += ["T4.8-opt", "T4.8", "TB.2", "LD.1", "LD.2", "LC.1", "LC.2", "R4.5", "RB.3", "ExPO"]
PAPER += ["Tab3"]
REVIEWS = ["V1", "V2", "V3", "V4", "V4-gain", "V5", "V6", "V7", "V8", "V9"]
OURS = [f"N{i}" for i in range(1, 13)]
OURS += ["R4.4", "N13", "N14", "N15", "N16", "N17", *(f"N{i}" for i in range(18, 24)), "V1b"]
KEYS = ["id", "title", "source", "statement", "verdict", "measured", "bound", "ratio", "interval"]
KEYS += ["unit", "instances", "counterexample", "control", "seconds", "figure", "note"]
KEYS += ["scope", "cells", "regions", "repair", "power", "defect", "facts", "estimates"]


@pytest.fixture
def declare():
    """Declares claims from a check function, and takes them back afterwards."""
    ids = []

    def decorator(check, id="temporary"):
        claims.claim(id=id, title="", source="ours", statement="", control="")(check)
        ids.append(id)
        return id

    yield decorator
    for id in ids:
        registry.forget(id)


def test_names_are_in_the_order_of_the_paper():
    assert claims.names()[: len(PAPER + REVIEWS + OURS)] == PAPER + REVIEWS + OURS


def test_an_unknown_claim_offers_the_nearest():
    with pytest.raises(UnknownName, match=r"'LD\.2'"):
        claims.check("ld2")
    with pytest.raises(UnknownName, match="claim = 'N99'"):
        claims.describe("N99")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"effort": "ful"}, "did you mean 'full'"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**32}, "is not a valid seed"),
        ({"seed": True}, "is not a valid seed"),
    ],
)
def test_bad_effort_and_seed(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        claims.check("fake-true", **arguments)


def test_check_runs_the_claim_and_its_control():
    verdict = claims.check("fake-true")
    assert verdict.verdict == "holds"
    assert verdict.control == {"what": "the sign of $x^2$", "verdict": "fails"}
    assert verdict.sound
    assert verdict.instances == 10
    assert claims.check("fake-true", effort="full").instances == 100


def test_a_claim_that_fails_is_run_on_its_repair():
    verdict = claims.check("fake-false")
    assert verdict.repair == {"what": "below three", "verdict": "holds"}
    assert verdict.power is None and verdict.flaw is None
    assert claims.check("fake-true").repair is None


def test_a_question_is_answered_by_a_map_and_shown_a_planted_effect():
    verdict = claims.check("fake-map")
    assert verdict.verdict == "depends" and verdict.sound
    assert verdict.regions is not None
    assert {answer: list(cells) for answer, cells in verdict.regions.items()} == {
        "yes": ["low"],
        "no": ["high"],
        "undecided": ["middle"],
    }
    assert verdict.power == {"what": "one less than it is", "verdict": "holds"}
    assert verdict.cells == 3
    assert f"depends: 1 of 3 {verdict.unit}; tried on" in str(verdict)


@pytest.mark.parametrize(
    ("id", "flaw"),
    [
        ("fake-lax", "its negative control came out 'holds' in place of 'fails'"),
        ("fake-always-failing", "its repair came out 'fails' in place of 'holds'"),
        ("fake-weak", "its power came out 'not reproduced' in place of 'holds'"),
        ("fake-unrepaired", "it fails, and no repaired statement shows that the check can pass"),
    ],
)
def test_what_makes_a_verdict_unsound(id, flaw):
    verdict = claims.check(id)
    assert (verdict.sound, verdict.flaw) == (False, flaw)


def test_every_claim_of_the_package_declares_its_scope():
    ours = [id for id in claims.names() if registry.module(id).startswith("apo_sim.")]
    for id in ours:
        scope = claims.describe(id).scope
        assert scope is not None and scope.problems, id
        # An inequality of numbers and a count of bytes know none of the method's settings.
        assert bool(scope.settings()) != (id in ("LD.2", "V9")), id


def test_the_scope_is_shown_with_the_verdict():
    assert claims.check("fake-false").scope == {
        "quantifier": "for all",
        "problems": "two <numbers>",
        "arms": "2",
        "iterations": None,
        "beta": None,
        "samples": None,
        "alpha": "0.5, 2",
    }


def test_a_claim_for_all_says_on_how_many_it_was_tried():
    universal, mapped = claims.check("fake-false"), claims.check("fake-map")
    assert universal.tried == f"{universal.instances} instances, claimed for all"
    assert f"tried on {universal.tried}\n" in str(universal)
    assert mapped.tried == "1 instance"
    unscoped = dataclasses.replace(universal.claim, scope=None)
    assert (
        dataclasses.replace(universal, claim=unscoped).tried == f"{universal.instances} instances"
    )


def test_a_claim_found_false_is_sound_and_keeps_its_counterexample():
    verdict = claims.check("fake-false")
    assert (verdict.verdict, verdict.sound) == ("fails", True)
    assert verdict.counterexample == {"x": 2.0, "deep": {"list": [1, None]}}


def test_a_control_that_does_not_fail_is_not_sound():
    assert not claims.check("fake-lax").sound


def test_check_raises_what_the_claim_raises():
    with pytest.raises(ValueError, match="no convergence"):
        claims.check("fake-raising")


def test_nan_is_an_error_that_names_the_claim():
    with pytest.raises(ClaimError, match="claim fake-nan: measured is NaN"):
        claims.check("fake-nan")


def test_nan_of_a_control_is_an_error_too(declare):
    declare(lambda study: Finding("fails", bound=math.nan if study.wrong else 1.0))
    with pytest.raises(ClaimError, match="bound is NaN"):
        claims.check("temporary")


def test_a_check_must_return_a_finding(declare):
    declare(lambda study: "holds")
    with pytest.raises(ClaimError, match="returned a str"):
        claims.check("temporary")


def test_json_is_exactly_the_contract_and_comes_back():
    verdict = claims.check("fake-false")
    entry = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    assert list(entry) == KEYS
    assert Verdict.from_json(entry) == verdict


def test_infinities_become_null_and_arrays_lists(declare):
    def check(study):
        return Finding(
            "fails",
            measured=jnp.asarray(1.0),
            bound=np.float32(np.inf),
            interval=(-np.inf, 2),
            counterexample={"x": jnp.arange(2.0), "n": np.int64(3), "ok": np.bool_(True)},
        )

    declare(check)
    entry = claims.check("temporary").to_json()
    assert (entry["measured"], entry["bound"], entry["interval"]) == (1.0, None, [None, 2.0])
    assert entry["counterexample"] == {"x": [0.0, 1.0], "n": 3, "ok": True}


def test_a_counterexample_that_json_cannot_hold_is_an_error(declare):
    declare(lambda study: Finding("fails", counterexample={"x": [object()]}))
    with pytest.raises(ClaimError, match=r"counterexample\.x\[0\] is a object"):
        claims.check("temporary")


def test_an_id_of_the_package_is_taken_before_its_claim_is_imported(monkeypatch):
    monkeypatch.delitem(registry._claims, "N2", raising=False)
    mine = claims.claim(id="N2", title="", source="ours", statement="$1 < 0$", control="")
    with pytest.raises(InvalidArgument, match=r"'N2' is already used by apo_sim\.claims\.n2"):
        mine(lambda study: Finding("holds"))


def test_an_id_belongs_to_one_function(declare):
    declare(lambda study: Finding("holds"))

    def other(study):
        return Finding("holds")

    with pytest.raises(InvalidArgument, match="is already used by"):
        declare(other)


@pytest.mark.parametrize("id", ["../mine", "a/b", "", "a b", "-x", "x" * 65])
def test_an_id_is_a_plain_name(id):
    with pytest.raises(InvalidArgument, match=r"id = .* is not the name of a claim"):
        claims.claim(id=id, title="", source="ours", statement="", control="")


def test_a_source_is_one_of_three():
    with pytest.raises(UnknownName, match="did you mean 'paper'"):
        claims.claim(id="x", title="", source="papers", statement="", control="")


def test_a_catalogued_module_must_declare_its_claim(monkeypatch):
    monkeypatch.setitem(registry._modules, "nowhere", "apo_sim.errors")
    with pytest.raises(ClaimError, match=r"apo_sim\.errors does not declare it"):
        claims.describe("nowhere")


def test_checks_run_in_double_precision_whatever_is_set_outside(declare):
    declare(lambda study: Finding("fails", note=str(jnp.ones(1).dtype)))
    with jax.enable_x64(False):
        assert claims.check("temporary").note == "float64"
        assert jnp.ones(1).dtype == jnp.float32


def test_randomness_depends_on_seed_and_claim_only():
    study = Study("N2", seed=3)
    assert (
        study.rng(1).normal() == Study("N2", effort="full", seed=3, variant="wrong").rng(1).normal()
    )
    assert study.rng(1).normal() != study.rng(2).normal()
    assert study.rng(1).normal() != Study("N3", seed=3).rng(1).normal()
    assert study.subkey(1) == Study("N2", seed=3, variant="wrong").subkey(1)
    assert study.subkey(1) != study.subkey(2)
    assert study.key != Study("N2", seed=4).key


def test_the_same_seed_gives_the_same_verdict():
    first, second = claims.check("fake-true", seed=5), claims.check("fake-true", seed=5)
    assert first.measured == second.measured
    assert first.measured != claims.check("fake-true", seed=6).measured


def test_the_fakes_are_claims_of_this_registry():
    assert registry.module("fake-true") == fake_claims.__name__
