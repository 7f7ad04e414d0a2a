"""Effective number of updates: planted errors, independent and not, and small real runs."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.studies import effective_samples
from apo_sim.studies.effective_samples import LARGEST, errors, finding, formula, inflation, worst

# One worker measures once, for all of the tests.
pytestmark = pytest.mark.xdist_group("effective_samples")

ALPHAS, UPDATES, ARMS = (0.0, 0.9), 12, 10


def planted(seeds: int = 400) -> xr.Dataset:
    """Errors of updates drawn independently, or one error for all updates of a run."""
    rng = np.random.default_rng(0)
    fresh = rng.normal(size=(seeds, UPDATES, ARMS))
    kinds = {"fresh": fresh, "shared": np.broadcast_to(fresh[:, :1], fresh.shape)}
    shape = (2, 1, len(ALPHAS), seeds, UPDATES)
    one, average = np.zeros(shape), np.zeros(shape)
    for kind, learned in enumerate(kinds.values()):
        for index, alpha in enumerate(ALPHAS):
            one[kind, 0, index] = np.mean(learned**2, axis=-1)
            for t in range(1, UPDATES + 1):
                weights = np.asarray(theory.weights(alpha, UPDATES))[:t][::-1]
                mean = np.einsum("t,stk->sk", weights, learned[:, :t]) / weights.sum()
                average[kind, 0, index, :, t - 1] = np.mean(mean**2, axis=-1)
    dims = ("draws", "beta", "alpha", "seed", "iteration")
    coords = {
        "draws": list(kinds),
        "beta": [1e4],
        "alpha": list(ALPHAS),
        "iteration": np.arange(1, UPDATES + 1),
    }
    data = {"update_error": (dims, one), "average_error": (dims, average)}
    return xr.Dataset(data, coords).assign_coords(arms=ARMS, samples=100.0)


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return effective_samples.measure(
        seeds=1000, arms=3, iterations=4, alphas=(0.0, 0.95), betas=(1e4,)
    )


def test_the_formula_is_that_of_the_theory():
    found = formula([0.0, 0.5, 0.99], [1, 7])
    for alpha in found.alpha.values:
        for t in found.iteration.values:
            number = float(theory.effective_updates(jnp.asarray(alpha), int(t)))
            cell = float(found.sel(alpha=alpha, iteration=t))
            assert cell == pytest.approx(np.sqrt(t / number), rel=1e-9)
            assert 1 - 1e-9 <= cell < LARGEST


def test_independent_errors_inflate_by_the_formula():
    cells = inflation(errors(planted())).sel(draws="fresh").isel(beta=0)
    expected = formula(cells.alpha.values, cells.iteration.values)
    np.testing.assert_allclose(cells.inflation, expected, atol=0.04)
    assert float(((cells.low <= expected) & (expected <= cells.high)).mean()) > 0.6


def test_one_error_for_all_updates_does_not_average():
    cells = inflation(errors(planted())).sel(draws="shared").isel(beta=0)
    expected = np.sqrt(cells.iteration).broadcast_like(cells.inflation)
    np.testing.assert_allclose(cells.inflation, expected, rtol=1e-9)
    assert float(worst(errors(planted()).sel(draws="shared").isel(beta=0)).low) > LARGEST


def test_the_place_of_the_worst_is_chosen_on_other_seeds():
    # Seeds 0, 2, ... say that the worst is at alpha = 0, T = 2; the others are much better there.
    found = errors(planted()).sel(draws="fresh").isel(beta=0).copy(deep=True)
    found.average.loc[{"alpha": 0.0, "iteration": 2}] = 1e-6
    found.average[{"seed": slice(0, None, 2), "alpha": 0, "iteration": 0}] = 1e3
    cell = worst(found)
    assert float(cell.alpha) == 0.0 and int(cell.iteration) == 2
    assert float(cell.high) < 0.01


def test_the_finding_tells_both_kinds_of_draws_apart():
    data = planted()
    found = finding(data)
    (averaging,) = found.by_beta.values()
    assert (averaging.fresh.side, averaging.shared.side) == (-1, 1)
    # One error for all updates: of T of them one is effective.
    assert averaging.shared.effective_updates == pytest.approx(1.0)
    assert (averaging.shared.iterations, averaging.plain_iterations) == (UPDATES, UPDATES)
    assert averaging.plain.value == pytest.approx(1.0, abs=0.04)
    cells = inflation(errors(data)).sel(draws="fresh").isel(beta=0)
    assert averaging.cells == cells.inflation.size and averaging.fresh.inflation.n == 200
    assert averaging.off < 0.05 and averaging.inside > 0.6 * averaging.cells
    assert f"the largest is {averaging.fresh.inflation:.3f}, below 2/sqrt(3)" in found.text


def test_where_the_policy_stays_runs_average_unless_labels_are_shared(data):
    cells = inflation(errors(data)).sel(beta=1e4, iteration=4)
    fresh = cells.sel(draws="fresh")
    expected = formula(data.alpha.values, [4]).sel(iteration=4)
    # Four standard errors, of which a 95 % interval is four wide.
    width = fresh.high - fresh.low
    assert float(width.max()) < 0.06
    assert bool((abs(fresh.inflation - expected) < width).all())
    np.testing.assert_allclose(cells.inflation.sel(draws="shared"), 2.0, atol=0.05)


def test_the_figure_draws(data):
    figure = Figure(layout="constrained")
    effective_samples.draw(figure, data)
    figure.draw_without_rendering()
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]
