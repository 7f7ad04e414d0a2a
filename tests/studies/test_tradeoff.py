"""The two errors: planted growth is found, and the step length is that of the weights."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.studies import tradeoff

ALPHAS = (0.0, 0.9)


def planted(growth: float, seeds: int = 50) -> xr.Dataset:
    """Statistical errors that a momentum of 0.9 multiplies by `growth`, of either sign."""
    rng = np.random.default_rng(0)
    axes = {
        "alpha": list(ALPHAS),
        "samples": [100, 1000],
        "seed": np.arange(seeds),
        "iteration": np.arange(1, 21),
    }
    shape = [len(values) for values in axes.values()]
    noise = xr.DataArray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape), axes)
    size = xr.where(noise.alpha > 0, growth, 1.0)
    lost = xr.ones_like(noise) * xr.where(noise.alpha > 0, 0.1, 1.0)
    data = {"paper_difference": size * noise, "paper_optimisation": lost}
    data["suboptimality"] = data["paper_difference"] + lost
    return xr.Dataset(data).assign_coords(beta=5.0, arms=10)


@pytest.mark.parametrize("growth", [0.5, 2.0])
def test_planted_growth_is_found(growth):
    found = tradeoff.times_plain(planted(growth)).sel(alpha=0.9)
    # 40 cells are looked at one by one, so that some intervals may miss.
    inside = (found.low <= growth) & (growth <= found.high)
    assert float(inside.mean()) > 0.8
    np.testing.assert_allclose(found.times.mean(), growth, rtol=0.05)


def test_the_step_is_the_ratio_of_the_total_weights():
    step = tradeoff.times_plain(planted(1.0)).step.sel(alpha=0.9)
    expected = np.cumsum(theory.weights(0.9, 20)) / np.arange(1, 21)
    np.testing.assert_allclose(step, expected)


def test_the_finding_tells_both_errors_early_and_late():
    data = planted(2.0)
    found = tradeoff.finding(data)
    assert found.growths == tradeoff.growths(data) and list(found.growths) == [3, 20]
    assert (found.alphas, found.runs) == ((0.9, 0.0), data.suboptimality.isel(iteration=0).size)
    for t, growth in found.growths.items():
        assert growth.step == pytest.approx(np.sum(theory.weights(0.9, t)) / t)
        assert growth.optimisation.figures == pytest.approx((0.1,) * 3)
        for each in growth.statistical.values():
            assert each.low < each.value < each.high and each.n == data.sizes["seed"]
            assert each.value == pytest.approx(2.0, rel=0.3)
        assert f"{growth.statistical[1000]:.2g} at N = 1,000" in found.text


def test_the_figure_draws():
    figure = Figure(layout="constrained")
    tradeoff.draw(figure, planted(2.0))
    figure.draw_without_rendering()
    assert len(figure.axes) == 4
