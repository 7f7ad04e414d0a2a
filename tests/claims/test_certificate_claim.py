"""N17: the certificate holds, is tight, and half of its radius is too little."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from checked import check, group

from apo_sim.claims import n17

pytestmark = group("N17")


def test_it_holds_and_half_of_it_fails():
    verdict = check("N17")
    assert verdict.verdict == "holds"
    assert verdict.flaw is None
    facts = verdict.facts
    assert facts["runs above the bound, finite-sample"] == 0
    assert facts["median excess at N = 2,000"] < 0.3
    assert facts["median excess at N = 20,000"] < 0.1
    assert 1.5 < facts["finite-sample radius over asymptotic at N = 20,000"] < 3


def test_families_are_what_they_are_called():
    for name in n17.FAMILIES:
        reward, log_ref = n17._bandits(name, np.random.default_rng(0), 50)
        np.testing.assert_allclose(np.exp(log_ref).sum(axis=1), 1.0)
        assert np.abs(reward).max() <= n17.REWARD_BOUND
        on_best = np.exp(log_ref)[np.arange(50), reward.argmax(axis=1)]
        assert np.allclose(on_best, 0.01) == (name == "rare best arm")
