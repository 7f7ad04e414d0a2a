"""How far runs stray: planted growth, linear and logarithmic, and small real runs."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from apo_sim import InvalidArgument
from apo_sim.studies import boundedness
from apo_sim.studies.boundedness import exponent, finding, slopes

# One worker measures once, for all of the tests.
pytestmark = pytest.mark.xdist_group("boundedness")

ALPHAS, BETA, UPDATES = (0.0, 0.3), 2.0, 80


def planted(law) -> xr.Dataset:
    """Runs whose R follows `law` of T / (1 - alpha), in units of the range of the rewards."""
    rng = np.random.default_rng(0)
    t = xr.DataArray(np.arange(1, UPDATES + 1), dims="iteration")
    alpha = xr.DataArray(list(ALPHAS), dims="alpha")
    reach = xr.DataArray(rng.uniform(0.5, 2.0, 30), dims="seed")
    noise = xr.DataArray(rng.normal(0, 0.02, (30, UPDATES)), dims=("seed", "iteration"))
    bound = (reach * (law(t / (1 - alpha)) + noise)).expand_dims(samples=[100.0, np.inf])
    data = {
        "least_log_probability": -bound / BETA,
        "bound_of_all_pairs": bound,
        "bound_of_update": bound,
        "reward_range": reach,
    }
    coords = {"alpha": list(ALPHAS), "iteration": t.values, "beta": BETA, "arms": 3}
    return xr.Dataset(data).assign_coords(coords)


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return boundedness.measure(seeds=6, arms=3, iterations=UPDATES, alphas=ALPHAS, samples=[100.0])


def test_linear_growth_has_slope_and_exponent_one():
    found = slopes(planted(lambda steps: steps)).mean("seed")
    np.testing.assert_allclose(found.bound, 1.0, atol=0.01)
    np.testing.assert_allclose(found.log_probability, 1.0, atol=0.01)
    power = exponent(planted(lambda steps: steps), 0.3)
    assert power.low <= power.value <= power.high
    assert power.value == pytest.approx(1.0, abs=0.01)


def test_logarithmic_growth_is_told_apart():
    power = exponent(planted(np.log), 0.3)
    assert power.low < 0.0 < power.high or power.value == pytest.approx(0.0, abs=0.05)
    assert power.high < 0.5
    assert float(slopes(planted(np.log)).bound.max()) < 0.1


def test_exact_runs_grow_linearly_and_sampled_ones_level_off(data):
    found = slopes(data).mean("seed")
    np.testing.assert_allclose(found.sel(samples=np.inf).bound, 1.0, atol=0.05)
    np.testing.assert_allclose(found.sel(samples=np.inf).log_probability, 1.0, atol=0.05)
    assert float(found.bound.sel(samples=100.0).max()) < 0.5


def test_the_range_is_that_of_the_rewards_met(data):
    # Exact R after many updates is the range times beta gamma, which alpha = 0 has equal to T.
    last = data.bound_of_all_pairs.sel(samples=np.inf, alpha=0.0).isel(iteration=-1)
    np.testing.assert_allclose(last, UPDATES * data.reward_range, rtol=0.1)


def test_another_sign_of_alpha_has_another_slope():
    flipped = boundedness.measure(
        seeds=6, arms=3, iterations=UPDATES, alphas=[-0.3], samples=[]
    ).assign_coords(alpha=[0.3])
    assert float(slopes(flipped).bound.mean()) < 0.7


def test_finding_and_figure(data):
    found = finding(data)
    assert (found.runs, found.bandits, list(found.sampled)) == (24, 6, [100.0])
    assert found.exponent == exponent(data, 0.3) and found.slope.n == 6
    last = data.bound_of_all_pairs.isel(iteration=-1).sel(alpha=0.3)
    assert found.sampled[100.0].last.value == pytest.approx(float(last.sel(samples=100.0).mean()))
    # R + 1, and so the logarithm of the factor, is that of exact preferences.
    reached = float(last.sel(samples=np.inf).mean())
    assert found.log10_printed == pytest.approx((1 + reached) / np.log(10), rel=1e-3)
    assert f"T to the power {found.exponent:.3f}" in found.text
    boundedness.draw(Figure(), data)


def test_the_finding_has_what_was_planted():
    found = finding(planted(lambda steps: steps))
    for estimate in (found.slope, found.bound, found.sampled[100.0].rate):
        assert estimate.value == pytest.approx(1.0, abs=0.01)
    # R is `reach` T / (1 - alpha) here, and the least log-probability is -R / beta.
    growth = found.sampled[100.0]
    assert growth.doubling.value == pytest.approx(growth.last.value / BETA / 2, rel=0.01)


def test_short_runs_are_refused():
    with pytest.raises(InvalidArgument, match="iterations"):
        boundedness.measure(seeds=2, iterations=3)
