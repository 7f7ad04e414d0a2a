"""The claims about sampled preferences: the runs that they share."""

import sys
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from checked import group

from apo_sim import claims, theory
from apo_sim.claims import Study, _studies, lc1
from apo_sim.claims._studies import Setting


def test_a_seed_meets_the_same_bandit_and_data_in_every_setting():
    bandits = _studies.uniform_bandits(jax.random.key(0), 3, 5)
    setting = Setting(50, 5.0, 0.3)
    runs = _studies.sampled(jax.random.key(1), [setting, Setting(50), setting], bandits, 20)
    assert np.array_equal(runs.gap[0], runs.gap[2])
    assert not np.array_equal(runs.gap[0], runs.gap[1])
    # The first update has met no momentum yet.
    assert np.array_equal(runs.rewards[0, :, 0], runs.rewards[1, :, 0])


def test_averaging_accumulates_what_extrapolation_outputs():
    bandits = _studies.uniform_bandits(jax.random.key(0), 2, 5)
    rows = [Setting(1e12, 5.0, 0.8), Setting(1e12, 1.0, 0.8, "averaging")]
    runs = _studies.sampled(jax.random.key(1), rows, bandits, 20)
    assert np.abs(runs.log_policy[0, :, 1:6] - runs.behaviour[1, :, 1:6]).max() < 1e-3


def test_extrapolating_from_the_behaviour_is_plain_iteration_with_a_smaller_beta():
    bandits = _studies.uniform_bandits(jax.random.key(0), 4, 5)
    rows = [Setting(1e6, 5.0, 0.6, "from behaviour"), Setting(1e6, 5.0 / 1.6)]
    runs = _studies.sampled(jax.random.key(1), rows, bandits, 20)
    assert np.abs(runs.behaviour[0, :, :6] - runs.behaviour[1, :, :6]).max() < 1e-6


def test_the_statistical_bound_is_that_of_the_theory():
    coverage, bound = np.zeros((2, 3)), np.array([1.0, 2.0])
    setting = Setting(1e5, 5.0, 0.3)
    logs = _studies.log10_tv_bound(coverage, setting, bound, 2.0, 0.05, "corrected")
    for row in range(2):
        expected = theory.tv_statistical(coverage[row], 0.3, 5.0, 1e5, bound[row], 2.0, 0.05)
        assert np.isclose(10 ** logs[row], float(expected))
    needed = _studies.log10_samples_needed(
        coverage, setting, bound, 5, 0.05, "corrected", np.array([1.0, -1.0])
    )
    assert np.isfinite(needed[0]) and np.isinf(needed[1])


def test_ld1_enumerates_the_true_minimiser():
    from apo_sim.claims.ld1 import POLICY, TRUE, _errors

    off = np.array([0.0, 1.0, 0.0])
    grid = np.stack([TRUE, TRUE + off])
    errors = _errors(Study("LD.1").rng(), grid, 20)
    wrong = 2 * (POLICY[1] - POLICY[1] ** 2)
    assert np.all(np.isclose(errors, 0.0) | np.isclose(errors, wrong))
    assert errors[-1].max() == 0.0


@group("LC.1")
def test_a_bound_that_is_lifted_far_enough_is_found_to_hold(monkeypatch):
    printed = lc1.log_bound
    for orders, verdict in ((6.0, "holds"), (0.0, "fails")):

        def lifted(bounds, study, mistake, orders=orders):
            stated = study.variant == "stated"
            return printed(bounds, study, mistake) + (orders if stated else 0.0)

        monkeypatch.setattr(lc1, "log_bound", lifted)
        found = claims.check("LC.1")
        assert (found.verdict, found.flaw) == (verdict, None)
