"""The series that a sweep keeps, against a run of its own; shared draws; replicates."""

import jax
import numpy as np
import pytest

import apo_sim as apo
from apo_sim import theory
from apo_sim.errors import InvalidArgument
from apo_sim.sweep import NAMED, SERIES, replicate_problem, sweep

# With the other tests of sweeps: they share what is compiled.
pytestmark = pytest.mark.xdist_group("sweep")

SETTINGS = {"beta": 1e5, "samples": 400, "arms": 3, "iterations": 5, "seeds": 40, "seed": 2}


@pytest.fixture(scope="module")
def data():
    return sweep("uniform", draws=["fresh", "shared"], variables=list(SERIES), **SETTINGS)


@pytest.fixture(scope="module")
def own():
    bandit, key = replicate_problem(NAMED["uniform"], 2, 7, 1, 3)
    run = apo.run(bandit, beta=1e5, iterations=5, samples=400, key=key, save=("path", "average"))
    return bandit, run


def test_every_series_is_there_and_finite(data):
    assert set(data.data_vars) == set(SERIES)
    for name in SERIES:
        assert np.isfinite(data[name]).all(), name
        assert data[name].attrs["long_name"] == SERIES[name].long_name


def test_series_are_those_of_a_run(data, own):
    bandit, run = own
    cell = data.sel(seed=7, draws="fresh")
    split = theory.split(bandit, run)
    bounds = theory.visited_bounds(run, 1e5)
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


def test_the_error_of_a_reward_is_its_variance(data, own):
    bandit, run = own
    cell = data.sel(seed=7, draws="fresh")
    wrong = np.asarray(run.rewards - bandit.reward)[:, 0]
    np.testing.assert_allclose(cell.update_error, wrong.var(axis=1), rtol=1e-6)
    averages = np.cumsum(wrong, axis=0) / np.arange(1, 6)[:, None]
    np.testing.assert_allclose(cell.average_error, averages.var(axis=1), rtol=1e-4)


def test_shared_draws_do_not_average(data):
    error = data.average_error.mean("seed")
    fresh, shared = error.sel(draws="fresh"), error.sel(draws="shared")
    assert float(fresh[0]) == pytest.approx(float(shared[0]), rel=1e-9)
    assert float(fresh[-1] / fresh[0]) == pytest.approx(1 / 5, rel=0.4)
    assert float(shared[-1] / shared[0]) == pytest.approx(1.0, rel=0.01)


def test_one_key_an_iteration():
    bandit = apo.families.uniform_bandit(jax.random.key(0), 1, 3)
    key = jax.random.key(5)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, np.arange(4))
    given = {"beta": 2.0, "iterations": 4, "samples": 50}
    one, many = (apo.run(bandit, key=k, **given).suboptimality for k in (key, keys))
    np.testing.assert_allclose(one, many, rtol=0, atol=1e-12)
    other = apo.run(bandit, key=keys[::-1], **given).suboptimality
    assert np.abs(one - other).max() > 1e-6


def test_a_game_has_no_error_of_the_reward():
    with pytest.raises(InvalidArgument, match="'statistics' needs a latent reward"):
        sweep("dominant", beta=1.0, iterations=2, seeds=2, variables=["statistics"])
