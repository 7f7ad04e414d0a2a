"""Every claim, at quick effort: sound, as in the reference ledger, finite, drawn, readable."""

import json
import math
import pickle
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))
from checked import OURS, check, of_group

from apo_sim.claims import Verdict

REFERENCE = Path(__file__).parents[2] / "experiments/reference/claims.json"
# Other processors round otherwise, which a draw may notice; the README shows two or three digits.
DRIFT = 0.05
ROUNDING = 1e-9  # what is smaller is the rounding of an identity
# Of roots that nearly meet it is the square root of that, and no two programs round alike.
OF_ROOTS, ALIKE = "largest error of the roots", 1.0
# The longest checks of `make validate`, whose verdicts the reference ledger keeps. The networks
# have tests of their own, on planted or small runs.
HEAVY = {"V1", "V5", "V7", "V3", "V8", "Tab3", "T4.4-stat", "B4", "N13", "N14", "N16", "F12"}


@pytest.fixture(scope="module", params=[of_group(id) for id in OURS if id not in HEAVY])
def found(request) -> Verdict:
    return check(request.param)


@pytest.fixture(scope="session")
def reference() -> dict:
    entries = json.loads(REFERENCE.read_text(encoding="utf-8"))["claims"]
    return {entry["id"]: entry for entry in entries}


def test_the_reference_ledger_is_whole_and_sound(reference):
    assert list(reference) == OURS
    assert [id for id, entry in reference.items() if Verdict.from_json(entry).flaw] == []


def test_the_verdict_counts(found):
    assert found.flaw is None
    assert found.control["verdict"] == "fails"
    assert (found.repair is not None) == (found.verdict == "fails")
    assert (found.power is not None) == (found.verdict in ("depends", "not reproduced"))
    assert (found.counterexample is not None) == (found.verdict == "fails")
    if found.verdict == "depends":
        assert found.regions is not None and sum(map(len, found.regions.values())) == found.cells


def test_the_reference_ledger_says_the_same(found, reference):
    entry = reference[found.id]
    for name in ("verdict", "statement", "title", "scope", "control", "repair", "power", "defect"):
        assert found.to_json()[name] == entry[name], name
    if found.regions is not None:
        answers = {answer: set(cells) for answer, cells in entry["regions"].items()}
        assert {answer: set(cells) for answer, cells in found.regions.items()} == answers
    assert found.facts.keys() == entry["facts"].keys()


def leaves(facts, name=""):
    """Every number of nested facts, by its path."""
    if isinstance(facts, dict | list):
        pairs = facts.items() if isinstance(facts, dict) else enumerate(facts)
        for key, value in pairs:
            yield from leaves(value, f"{name}/{key}")
    elif isinstance(facts, int | float):
        yield name, facts


def test_figures_that_are_quoted_are_those_of_the_reference_ledger(found, reference):
    quoted = dict(leaves(reference[found.id]["facts"]))
    for name, figure in leaves(found.to_json()["facts"]):
        if "second" not in name and abs(quoted[name]) > ROUNDING:
            drift = ALIKE if OF_ROOTS in name else DRIFT
            assert figure == pytest.approx(quoted[name], rel=drift), name


def test_measured_and_interval_belong_together(found):
    assert found.measured is not None and found.bound is not None
    if found.interval is not None:
        low, high = found.interval
        assert low is not None and high is not None and low <= found.measured <= high
    assert found.cells >= 1 and found.instances >= 1


def test_the_verdict_is_finite_json(found):
    def numbers(value):
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            return [number for item in value for number in numbers(item)]
        return [value] if isinstance(value, float) else []

    entry = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert all(math.isfinite(number) for number in numbers(entry))


def test_the_verdict_is_sent_to_another_process(found):
    assert pickle.loads(pickle.dumps(found)) == found


def test_a_note_is_short(found):
    assert found.note.count(". ") < 3


def test_the_figure_draws(found):
    matplotlib.use("agg")
    if found.draw is None:
        return
    figure = Figure()
    found.draw(figure)
    figure.draw_without_rendering()
    assert figure.axes
    for axes in figure.axes:
        below = axes.get_shared_x_axes().get_siblings(axes)
        labelled = any(other.get_xlabel() for other in below)
        named = len(axes.get_xticklabels()) and not np.all(
            [label.get_text().replace("−", "-").lstrip("-").replace(".", "").isdigit()
             for label in axes.get_xticklabels()]
        )  # fmt: skip
        assert labelled or named or axes.get_label() == "<colorbar>"
