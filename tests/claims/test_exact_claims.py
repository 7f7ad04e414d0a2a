"""The claims on exact preferences: what each must find, by hand where that can be done."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from checked import check, of_group

from apo_sim import theory
from apo_sim.claims import instances

# These compile in a moment; the others climb, or draw samples.
LIGHT = ("ExPO", "N1", "N7", "N9", "T4.1", "V2")


@pytest.mark.slow
@pytest.mark.parametrize("id", [of_group(id) for id in (*LIGHT, "T4.4-opt")])
def test_another_seed_finds_the_same(id):
    found, other = check(id), check(id, 7)
    assert other.verdict == found.verdict and other.flaw is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("id", "ratio", "within"),
    [
        of_group("N2", 1.0, 1e-9),
        of_group("N3", 1.0, 1e-9),
        of_group("T4.8-opt", 1 / np.sqrt(2), 2e-3),
    ],
)
def test_a_sharp_bound_is_attained(id, ratio, within):
    assert check(id).ratio == pytest.approx(ratio, abs=within)


@pytest.mark.slow
@pytest.mark.xdist_group("T4.4-opt")
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


@pytest.mark.xdist_group("V2")
def test_counterexample_to_logarithmic_growth_is_linear():
    found = check("V2").counterexample
    assert found is not None
    reward = np.sort(found["reward"])
    slope = (reward[-1] - reward[-2]) / (found["beta"] * (1 - found["alpha"]))
    assert found["minus_log_probability"] == pytest.approx(slope * found["iterations"], rel=0.02)


@pytest.mark.xdist_group("T4.1")
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
