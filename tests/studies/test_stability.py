"""The scatter over data: planted values, and one bandit for many seeds."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from apo_sim.studies import stability
from apo_sim.studies.stability import ALPHAS, EARLY


def planted(ratio: float) -> xr.Dataset:
    """Scatter 1 + alpha for momentum from the output, and `ratio` times that from behaviour."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(1, 1, 1, 1200, 3))
    scale = np.array([1.0, ratio])[:, None] * (1.0 + np.array(ALPHAS))
    # Bandits differ far more than their data do.
    bandit = np.arange(1200) % 30
    gap = 10.0 * bandit[:, None] + scale[:, :, None, None, None] * noise
    return xr.Dataset(
        {"behaviour_suboptimality": (("momentum", "alpha", "samples", "seed", "iteration"), gap)},
        {
            "momentum": ["constant", "from_behaviour"],
            "alpha": list(ALPHAS),
            "samples": [300],
            "iteration": [1, 2, 3],
            "bandit": ("seed", bandit),
        },
    )


def test_scatter_is_within_bandits():
    spread = stability.scatter(planted(1.5))
    assert spread.sizes["seed"] == 30
    expected = xr.DataArray(1.0 + np.array(ALPHAS), dims="alpha")
    found = spread.sel(momentum="constant").mean("seed") / expected
    np.testing.assert_allclose(found, 1.0, atol=0.1)


def test_a_bandit_met_once_is_left_out():
    data = planted(1.0).isel(seed=slice(0, 31))  # the 31st seed is the second of one bandit
    assert stability.scatter(data).sizes["seed"] == 1


@pytest.mark.parametrize("ratio", [1.5, 1.0])
def test_finding_tells_what_was_planted(ratio):
    data = planted(ratio)
    found = stability.finding(data)
    assert found.raw.figures == pytest.approx((ratio,) * 3, abs=1e-9)
    assert (found.raw.unit, found.raw.n, found.bandits) == ("ratio", 30, 30)
    way = stability.moved(data, EARLY).sel(alpha=found.alpha)
    fair = ratio * float(way.sel(momentum="constant") / way.sel(momentum="from_behaviour"))
    assert found.for_gamma.figures == pytest.approx((fair,) * 3, abs=1e-9)
    assert found.best[EARLY].steadiest == 0.0
    assert f"{found.raw:.3f} times" in found.text
    spread = stability.scatter(data).sel(samples=300, iteration=EARLY, momentum="constant")
    assert stability.steadiest(spread) == 0.0


def test_seeds_share_bandits_but_no_data():
    data = stability.measure(
        seeds=24, bandits=3, arms=3, iterations=2, alphas=[0.0, 0.5], samples=[100]
    )
    assert set(data.bandit.values.tolist()) == {0, 1, 2}
    gap = data.behaviour_suboptimality.isel(samples=0)
    assert len(np.unique(gap.sel(momentum="constant", alpha=0.5, iteration=2))) > 12
    # Without momentum the two are one.
    plain = gap.sel(alpha=0.0)
    assert bool((plain.sel(momentum="constant") == plain.sel(momentum="from_behaviour")).all())
    assert float(abs(gap.sel(alpha=0.5, iteration=EARLY).diff("momentum")).max()) > 1e-6


def test_a_scatter_in_step_with_gamma_is_the_same_for_each_unit_of_it():
    data = planted(1.0)
    way = stability.moved(data, EARLY)
    # 2 + 2 alpha + alpha^2 after two updates of the method, 2 + 2 alpha of its rival.
    alpha = np.array(ALPHAS)
    np.testing.assert_allclose(way.sel(momentum="constant"), 2 + 2 * alpha + alpha**2)
    np.testing.assert_allclose(way.sel(momentum="from_behaviour"), 2 + 2 * alpha)
    in_step = stability.scatter(data) / (1.0 + data.alpha) * way
    fair = (in_step / way).sel(alpha=0.6, samples=300, iteration=EARLY)
    ratio, low, high = stability.ratio(fair).figures
    assert ratio == pytest.approx(1.0, abs=1e-9) and low <= ratio <= high


def test_draw():
    figure = Figure()
    stability.draw(figure, planted(1.0).assign_coords(arms=5, beta=5.0))
    assert len(figure.axes) == 2
