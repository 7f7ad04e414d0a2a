"""The claims on exact preferences: what each must find, and that it can fail."""

import json

import numpy as np
import pytest

from apo_sim import claims, theory
from apo_sim.claims import instances
from apo_sim.report.mathematics import mathematics

EXPECTED = {
    "T4.1": "holds",
    "E3.6": "holds",
    "T4.4-opt": "fails",
    "T4.8-opt": "holds",
    "ExPO": "holds",
    "V2": "fails",
    "N1": "holds",
    "N2": "holds",
    "N3": "holds",
    "N4": "holds",
    "N7": "holds",
    "N9": "holds",
}
# These compile in a moment; the others climb, or draw samples.
LIGHT = ("ExPO", "N1", "N7", "N9", "T4.1", "V2")
_verdicts: dict[tuple[str, int], claims.Verdict] = {}


def check(id: str, seed: int = 0) -> claims.Verdict:
    if (id, seed) not in _verdicts:
        _verdicts[id, seed] = claims.check(id, seed=seed)
    return _verdicts[id, seed]


def cases():
    for id in EXPECTED:
        yield pytest.param(id, 0, marks=[] if id in LIGHT else [pytest.mark.slow], id=id)
        if id in (*LIGHT, "T4.4-opt"):
            yield pytest.param(id, 7, marks=[pytest.mark.slow], id=f"{id}-another-seed")


@pytest.mark.parametrize(("id", "seed"), list(cases()))
def test_verdict_and_control(id, seed):
    verdict = check(id, seed)
    assert verdict.verdict == EXPECTED[id]
    assert verdict.control["verdict"] == "fails"
    assert verdict.sound
    assert (verdict.counterexample is not None) == (verdict.verdict == "fails")
    entry = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    assert entry["measured"] is not None
    assert entry["bound"] is not None
    assert verdict.note.count(". ") < 3, "a note has at most three sentences"


@pytest.mark.parametrize("id", EXPECTED)
def test_texts_convert(id):
    claim = claims.describe(id)
    for text in (claim.statement, claim.control, claim.errata or ""):
        # LaTeX that does not convert is shown as it is written.
        assert "\\" not in mathematics(text)


@pytest.mark.slow
def test_sharp_claims_are_attained():
    assert check("N2").ratio == pytest.approx(1, abs=1e-9)
    assert check("N3").ratio == pytest.approx(1, abs=1e-9)
    assert check("T4.8-opt").ratio == pytest.approx(1 / np.sqrt(2), abs=2e-3)


@pytest.mark.slow
def test_counterexample_to_the_printed_rate_can_be_checked_by_hand():
    found = check("T4.4-opt").counterexample
    assert found is not None
    reward, reference = np.array(found["reward"]), np.array(found["reference"])
    k = np.arange(1, found["iterations"] + 1)
    gamma = np.sum((1 - found["alpha"] ** k) / (1 - found["alpha"])) / found["beta"]
    policy = reference * np.exp(gamma * (reward - reward.max()))
    gap = policy @ (reward.max() - reward) / policy.sum()
    p = reference[np.argmax(reward)]
    assert gap == pytest.approx(found["gap"], rel=1e-9)
    assert gap > 1.5 * np.log((1 - p) / p) / gamma > 0


def test_counterexample_to_logarithmic_growth_is_linear():
    found = check("V2").counterexample
    assert found is not None
    reward = np.sort(found["reward"])
    slope = (reward[-1] - reward[-2]) / (found["beta"] * (1 - found["alpha"]))
    assert found["minus_log_probability"] == pytest.approx(slope * found["iterations"], rel=0.02)


def test_slip_is_recomputed():
    note = check("T4.1").note
    assert f"{float(theory.gamma(0.6, 0.7, 6)[-1]):.5f}" in note
    assert f"{float(theory.gamma_printed(0.6, 0.7, 6)[-1]):.5f}" in note


@pytest.mark.parametrize("seed", range(3))
def test_instances_are_proper_problems(seed):
    rng = np.random.default_rng(seed)
    for drawn in (instances.random(rng, 500), instances.leading(rng, 500)):
        assert np.all(np.abs(drawn.reward) <= 1)
        np.testing.assert_allclose(np.logaddexp.reduce(drawn.log_ref, axis=-1), 0, atol=1e-12)
        assert np.all((drawn.alpha >= 0) & (drawn.alpha < 1) & (drawn.beta > 0))
        assert np.all(drawn.log_p <= np.log(0.999) + 1e-9)
