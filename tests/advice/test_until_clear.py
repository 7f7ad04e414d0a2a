"""A simulation that goes on until the best alpha is clear, on planted runs."""

import numpy as np
import pytest
import xarray as xr

from apo_sim.advice import _evidence
from apo_sim.advice._setting import Draws, Setting
from apo_sim.advice.surface import ALPHAS
from apo_sim.registry import FAMILIES

DRAWS = Draws(Setting(100, 10, 5.0, 10, 1.0, 1), FAMILIES.chosen("tied"), seed=3)


class Planted:
    """In place of the sweep: gaps of known means, and a record of what was asked for."""

    def __init__(self, means, noise):
        self.means, self.noise, self.asked = dict(zip(ALPHAS, means, strict=True)), noise, []

    def __call__(self, draws, seeds, seed, progress, alphas=ALPHAS, beta_schedule=("a", "b")):
        names = ["constant", "matched"][: len(beta_schedule)]
        self.asked.append((seeds, seed, tuple(alphas), tuple(beta_schedule)))
        shape = len(names), len(alphas), seeds
        centres = np.array([self.means[alpha] for alpha in alphas])[:, None]
        runs = centres * self.noise(np.random.default_rng(seed), shape)
        coords = {"beta_schedule": names, "alpha": list(alphas)}
        return xr.DataArray(runs, coords, ("beta_schedule", "alpha", "seed"))


def found(monkeypatch, means, noise):
    planted = Planted(means, noise)
    monkeypatch.setattr(_evidence, "_runs", planted)
    return _evidence.simulated_until_clear(DRAWS, progress=False), planted


def even(rng, shape):
    return np.ones(shape)


def uneven(rng, shape):
    return rng.exponential(size=shape)


def test_a_clear_case_is_not_run_again(monkeypatch):
    clear, planted = found(monkeypatch, (0.9, 0.8, 0.7, 0.6, 0.5, 0.4), even)
    assert (clear.best, len(planted.asked)) == (0.9, 1)
    assert clear.source == "a simulation of 1,200 runs of the family tied"


def test_only_what_is_in_question_is_run_again(monkeypatch):
    clear, planted = found(monkeypatch, (5.0, 5.0, 5.0, 0.50, 0.43, 0.40), uneven)
    first, second = planted.asked
    assert first[:3] == (100, 3, ALPHAS)
    # Other problems, no rivals, no alpha that is out of the question.
    assert second[0] == 400 and second[1] != 3 and second[2:] == ((0.5, 0.7, 0.9), ("constant",))
    assert clear.best == 0.9
    assert np.isinf(clear.excess[:, :3]).all() and np.isfinite(clear.excess[:, 3:]).all()
    # The figures of what is in question are those of all runs, the others' of the first ones.
    assert clear.table.alpha.values.tolist() == list(ALPHAS)
    half = clear.table.gap_half
    assert float(half[-1]) < 0.6 * float(half[0])
    assert float(clear.table.gap[-1]) == pytest.approx(0.4, rel=0.2)


def test_few_runs_without_a_collapse_are_not_trusted(monkeypatch):
    def one_collapses(rng, shape):
        runs = np.ones(shape)
        runs[0, 0, 0] = 1000.0
        return runs

    # The collapse is one of alpha = 0; it may as well hit the best.
    best = found(monkeypatch, (0.001,) * 5 + (0.0001,), one_collapses)
    assert len(best[1].asked) == 2


def test_slow_runs_are_fewer():
    slow = Setting(100, 50, 5.0, 100, 1.0, 1)
    assert _evidence._affordable(slow) == _evidence.FEWEST
    assert _evidence._affordable(DRAWS.setting) == _evidence.MOST
