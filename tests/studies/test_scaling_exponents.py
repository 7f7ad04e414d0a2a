"""Exponents of the statistical error: planted powers are found, and the control is told apart."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.studies import scaling_exponents
from apo_sim.studies.scaling_exponents import AXES, SIZES, exponents, finding

# One worker measures once, for all of the tests.
pytestmark = pytest.mark.xdist_group("scaling_exponents")

# What is planted, in N, in T and in 1/(1 - alpha).
POWERS = dict(zip(AXES, (-0.4, 0.3, 0.7), strict=True))


def planted(shared: float = 0.3, seeds: int = 60) -> xr.Dataset:
    """Errors that follow `POWERS` up to noise; with shared labels T has its own power."""
    rng = np.random.default_rng(0)
    axes = {
        "draws": ["fresh", "shared"],
        "beta": [1e4, 5.0],
        "alpha": [0.0, 0.5, 0.9],
        "samples": [100.0, 1000.0, 10_000.0],
        "seed": np.arange(seeds),
        "iteration": np.arange(1, 21),
    }
    like = xr.DataArray(np.zeros([len(values) for values in axes.values()]), axes)
    in_t = xr.DataArray([POWERS["iteration"], shared], {"draws": axes["draws"]})
    size = (
        like.samples ** POWERS["samples"]
        * (1 / (1 - like.alpha)) ** POWERS["alpha"]
        * like.iteration**in_t
    ) * np.exp(0.1 * xr.DataArray(rng.normal(size=like.shape), axes))
    signs = xr.DataArray(rng.choice([-1.0, 1.0], like.shape), axes)
    data = {name: size * signs for name in SIZES} | {"average_error": size**2}
    return xr.Dataset(data).assign_coords(arms=10)


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return scaling_exponents.measure(seeds=160, arms=3, iterations=4, alphas=(0.0, 0.5))


@pytest.mark.parametrize("axis", AXES)
def test_planted_powers_are_found(axis):
    found = exponents(planted(), axis).sel(draws="fresh")
    assert found.exponent.shape == (len(SIZES), 2)
    np.testing.assert_allclose(found.exponent, POWERS[axis], atol=0.02)
    assert bool((found.low <= found.exponent).all() and (found.exponent <= found.high).all())
    assert float((found.high - found.low).max()) < 0.1


def test_the_other_two_are_fixed_while_one_varies():
    errors = scaling_exponents.line(planted(), "iteration")
    assert errors.point[0] == 1 and errors.point[-1] == 20
    expected = 1000.0 ** POWERS["samples"]  # alpha = 0, T = 1
    np.testing.assert_allclose(errors.isel(point=0).mean("seed"), expected, rtol=0.1)


def test_a_planted_difference_is_told_apart_and_none_is_not():
    apart = scaling_exponents.what_sharing_adds(planted(shared=0.8))
    np.testing.assert_allclose(apart.exponent, 0.5, atol=0.03)
    assert bool((apart.low > 0).all())
    same = scaling_exponents.what_sharing_adds(planted())
    assert bool((same.low < 0.02).all() and (same.high > -0.02).all())
    told = finding(planted(shared=0.8))
    for beta, added in told.added.items():
        assert added.low > 0 and added.value == pytest.approx(0.5, abs=0.03) and added.n == 60
        averaged = told.exponents[beta, "iteration", "average_error"]
        assert averaged.shared.value - averaged.fresh.value == pytest.approx(added.value)
    assert "not told apart" not in told.text and told.text.count("told apart") == 2
    # Sharing that takes from the exponent adds nothing.
    assert all(added.low < 0 for added in finding(planted(shared=0.0)).added.values())


def test_the_table_widens_its_intervals_for_the_number_of_its_cells():
    one = exponents(planted(), "alpha").sel(draws="fresh")
    many = exponents(planted(), "alpha", 1 - 0.05 / 18).sel(draws="fresh")
    assert bool((many.high - many.low > one.high - one.low).all())
    assert bool((many.exponent == one.exponent).all())


def test_the_finding_marks_on_which_side_of_the_paper_an_exponent_lies():
    found = finding(planted())
    assert (found.runs, found.seeds) == (2 * 2 * 3 * 3 * 60, 60)
    sides = {
        (axis, cell.side)
        for (_, axis, name), cell in found.exponents.items()
        if name == "paper_statistics"
    }
    assert sides == {("samples", 1), ("iteration", -1), ("alpha", -1)}
    rows = [row for row in found.text.splitlines() if "2 DTV to the exact policy  " in row]
    assert [row.split("]")[1].split()[0] for row in rows] == [">", "<", "<"]


def test_independent_errors_have_the_exponents_of_the_effective_number_of_updates():
    found = scaling_exponents.independent(planted(), "alpha", "average_error")
    alphas = np.array([0.0, 0.5, 0.9])
    errors = [1 / np.sqrt(float(theory.effective_updates(jnp.asarray(a), 20))) for a in alphas]
    slope = np.polyfit(-np.log1p(-alphas), np.log(errors), 1)[0]
    assert found == pytest.approx(slope, abs=1e-9)
    assert scaling_exponents.independent(planted(), "iteration", "average_error") == pytest.approx(
        -0.5
    )


def test_where_the_policy_stays_errors_average_unless_labels_are_shared(data):
    found = exponents(data, "iteration").sel(measure="average_error", beta=1e4)
    fresh, shared = found.sel(draws="fresh"), found.sel(draws="shared")
    assert fresh.low < -0.5 < fresh.high
    assert abs(float(shared.exponent)) < 0.01
    policy = exponents(data, "iteration").sel(measure="paper_statistics", beta=1e4, draws="shared")
    assert float(policy.exponent) == pytest.approx(1.0, abs=0.01)
    assert float(scaling_exponents.what_sharing_adds(data).low.sel(measure="average_error")[0]) > 0


def test_the_figure_draws(data):
    figure = Figure(layout="constrained")
    scaling_exponents.draw(figure, data)
    figure.draw_without_rendering()
    assert len(figure.axes) == 6
    assert all(axes.get_xscale() == axes.get_yscale() == "log" for axes in figure.axes)
