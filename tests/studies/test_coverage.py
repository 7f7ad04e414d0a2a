"""The N that the statistical bound needs: against the bound itself, and planted coverage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.studies import coverage
from apo_sim.studies.coverage import DELTA, FLAVOURS, finding, shares, understated

# One worker measures once, for all of the tests.
pytestmark = pytest.mark.xdist_group("coverage")

ARMS, HORIZON = 3, 4
SMALL = {"seeds": 8, "arms": ARMS, "horizons": [HORIZON], "alphas": [0.0, 0.6], "samples": [50.0]}


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return coverage.measure(**SMALL)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_bound_is_one_at_the_number_of_pairs_needed(data, flavour):
    where = {"samples": 50.0, "iterations": HORIZON, "alpha": 0.6, "seed": 3}
    run = data.sel(where)
    n = 10.0 ** float(run.log10_needed.sel(flavour=flavour))
    bound = float(run.bound_of_all_pairs[-1])
    log_tv = theory.log_tv_statistical(
        jnp.asarray(run[FLAVOURS[flavour]].values),
        0.6,
        float(data.beta),
        n,
        bound,
        theory.tabular_entropy(ARMS, n, bound),
        DELTA,
        flavour=flavour,
    )
    tolerance = 1e-6 if jax.config.read("jax_enable_x64") else 1e-3
    assert float(log_tv) == pytest.approx(0.0, abs=tolerance)


def test_printed_coverage_and_its_bound_are_never_larger(data):
    rounding = 1e-6
    assert bool((understated(data) >= -rounding).all())
    needed = data.log10_needed
    assert bool((needed.sel(flavour="printed") < needed.sel(flavour="corrected")).all())
    # With exact preferences the run is the exact policy, and both ratios peak at the same arm.
    assert float(understated(data.sel(samples=np.inf)).max()) < 1e-4
    assert float(understated(data.sel(samples=50.0)).max()) > 0.01


def test_a_hundred_times_the_coverage_needs_a_hundred_times_the_pairs(data):
    worse = data.assign(log_coverage_corrected=data.log_coverage_corrected + np.log(100.0))
    needed = [coverage._log10_needed(each, HORIZON, "corrected") for each in (data, worse)]
    more = needed[1] - needed[0]
    assert bool(((more > 2.0) & (more < 2.6)).all())  # and a little for the finer grid
    np.testing.assert_allclose(shares(worse).coverage - shares(data).coverage, 2.0, atol=1e-4)
    np.testing.assert_allclose(shares(worse).slope, shares(data).slope)


def test_finding_and_figure(data):
    found = finding(data)
    assert (found.runs, found.seeds, found.samples) == (16, 8, 50.0)
    assert list(found.needed) == [(HORIZON, 0.0), (HORIZON, 0.6)]
    cell = data.sel(samples=50.0, iterations=HORIZON, alpha=0.6)
    for flavour, estimate in found.needed[HORIZON, 0.6].items():
        needed = cell.log10_needed.sel(flavour=flavour)
        assert estimate.value == pytest.approx(float(needed.mean())) and estimate.n == 8
    assert found.slope.value == pytest.approx(float(shares(cell).slope.mean()))
    assert found.understated.value == pytest.approx(float(understated(cell).mean()))
    assert set(found.enough.values()) == {0}
    plenty = finding(data.assign(log10_needed=0.0 * data.log10_needed))
    assert set(plenty.enough.values()) == {16}
    assert "T = 4, alpha = 0.6" in found.text
    coverage.draw(Figure(), data)
