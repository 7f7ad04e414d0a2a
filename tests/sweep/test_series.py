"""The series that a sweep keeps, against a run of its own; shared draws; replicates."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim import theory
from apo_sim.errors import InvalidArgument
from apo_sim.registry import FAMILIES
from apo_sim.sweep import SERIES, replicate_problem, sweep

# With the other tests of sweeps: they share what is compiled.
pytestmark = pytest.mark.xdist_group("sweep")

SETTINGS: dict[str, Any] = {"beta": 1e5, "arms": 3, "iterations": 4, "seeds": 40, "seed": 2}


@pytest.fixture(scope="module")
def data():
    names = ["update_error", "average_error"]
    return sweep("uniform", samples=400, draws=["fresh", "shared"], variables=names, **SETTINGS)


@pytest.fixture(scope="module")
def own():
    """A run with exact preferences, and what a sweep keeps of it."""
    bandit, _ = replicate_problem(FAMILIES["uniform"], 2, 7, 1, 3)
    momentum = apo.Constant(0.6)
    run = apo.run(bandit, momentum=momentum, beta=2.0, iterations=4, save=("path", "average"))
    settings = {**SETTINGS, "beta": 2.0, "alpha": 0.6}
    return bandit, run, sweep("uniform", variables=list(SERIES), **settings).sel(seed=7)


def test_every_series_is_there_and_finite(own):
    _, _, data = own
    assert set(data.data_vars) == set(SERIES)
    for name in SERIES:
        assert np.isfinite(data[name]).all(), name
        assert data[name].attrs["long_name"] == SERIES[name].long_name


def test_series_are_those_of_a_run(own):
    bandit, run, cell = own
    split = theory.split(bandit, run)
    bounds = theory.visited_bounds(run, 2.0)
    kappa = theory.coverage(
        run.log_policy[-1], theory.exact_policy(bandit, run.gamma[-1]), run.behaviour[:-1]
    )
    after = np.einsum("txk,xk->t", np.exp(run.behaviour[1:]), bandit.reward)
    expected = {
        **{part: getattr(split, part) for part in ("optimisation", "statistics")},
        "paper_statistics": split.paper_statistics,
        "average_suboptimality": run.average_suboptimality,
        "behaviour_suboptimality": float(bandit.reward.max()) - after,
        "bound_of_update": bounds.consecutive,
        "bound_of_all_pairs": bounds.all_pairs,
        "log_coverage_printed": kappa.log_printed,
        "log_coverage_corrected": kappa.log_corrected,
        "least_log_probability": run.log_policy[1:].min(axis=(1, 2)),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(cell[name], values, rtol=1e-6, atol=1e-9, err_msg=name)


def test_the_error_of_a_reward_is_its_variance():
    bandit, _ = replicate_problem(FAMILIES["uniform"], 2, 7, 1, 3)
    assert isinstance(bandit, apo.Bandit)
    wrong = np.random.default_rng(0).normal(size=(5, 1, 3))
    averages = np.cumsum(wrong, axis=0) / np.arange(1, 6)[:, None, None]
    gamma = np.arange(1.0, 6.0)
    moved = gamma[:, None, None] * (averages + bandit.reward)
    run = apo.run(bandit, beta=1.0, iterations=5, save="path")
    path = dataclasses.replace(
        run.path,
        rewards=wrong + bandit.reward + 7.0,  # a constant is no error
        log_policy=jnp.concatenate([jnp.zeros((1, 1, 3)), moved]) - 1.0,
    )
    run = dataclasses.replace(run, series={**run.series, "gamma": jnp.asarray(gamma)}, kept=path)
    update = SERIES["update_error"].of(bandit, run, 1.0)
    average = SERIES["average_error"].of(bandit, run, 1.0)
    np.testing.assert_allclose(update, wrong[:, 0].var(axis=1), rtol=1e-9)
    np.testing.assert_allclose(average, averages[:, 0].var(axis=1), rtol=1e-9)


def test_shared_draws_do_not_average(data):
    error = data.average_error.mean("seed")
    fresh, shared = error.sel(draws="fresh"), error.sel(draws="shared")
    assert float(fresh[0]) == pytest.approx(float(shared[0]), rel=1e-9)
    assert float(fresh[-1] / fresh[0]) == pytest.approx(1 / 4, rel=0.4)
    assert float(shared[-1] / shared[0]) == pytest.approx(1.0, rel=0.01)


def test_a_game_has_no_error_of_the_reward():
    with pytest.raises(InvalidArgument, match="'statistics' needs a reward"):
        sweep("dominant", beta=1.0, iterations=2, seeds=2, variables=["statistics"])
