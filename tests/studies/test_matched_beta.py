"""Momentum against the matched beta and against none: who wins is known in planted data."""

import jax
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from apo_sim.statistics import student
from apo_sim.studies import matched_beta
from apo_sim.studies.matched_beta import (
    CONTENDERS,
    Won,
    better,
    contenders,
    disagreement,
    winners,
)

# With the other studies: they share what is compiled.
pytestmark = pytest.mark.xdist_group("studies")


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    with jax.enable_x64(True):
        return matched_beta.measure(
            seeds=6, arms=3, iterations=6, alphas=[0.3, 0.9], betas=[1.0], samples=[30, 1000]
        )


def planted(means: tuple[float, float, float], noise: float = 0.01) -> xr.DataArray:
    """Gaps (contender, seed) with the given means, and noise that is not common to all."""
    values = np.random.default_rng(0).normal(np.array(means)[:, None], noise, (3, 40))
    return xr.DataArray(values, {"contender": list(CONTENDERS)}, ("contender", "seed"))


def test_exact_preferences_know_no_difference(data):
    assert data.exact.sel(alpha=0.9).max() > 0
    assert disagreement(data) < 1e-9
    assert not np.allclose(*data.suboptimality.sel(alpha=0.9).values, rtol=1e-3)


def test_a_beta_that_is_not_matched_is_noticed(data):
    # The control: without momentum and with the same beta the path is another one.
    plain = data.exact.sel(beta_schedule="constant", alpha=0.0)
    wrong = xr.where(data.beta_schedule == "matched", plain, data.exact)
    assert disagreement(data.assign(exact=wrong)) > 0.1


def test_the_contenders_meet_the_same_labels_where_nothing_tells_them_apart(data):
    gaps = contenders(data.suboptimality)
    plain = data.suboptimality.sel(alpha=0.0)
    assert np.array_equal(*plain.values)
    assert gaps.sel(contender=CONTENDERS[2]).equals(
        gaps.sel(contender=CONTENDERS[2]).sel(alpha=[0.3, 0.3]).assign_coords(alpha=[0.3, 0.9])
    )


@pytest.mark.parametrize("winner", range(3))
def test_the_winner_is_found(winner):
    means = [0.3, 0.3, 0.3]
    means[winner] = 0.2
    assert int(winners(planted((means[0], means[1], means[2])))) == winner


def test_nobody_wins_where_two_are_equal():
    gaps = planted((0.2, 0.2, 0.3))
    assert int(winners(gaps)) == -1
    sure = better(gaps)
    assert bool(sure.sel(contender=CONTENDERS[0], rival=CONTENDERS[2]))
    assert not bool(sure.sel(contender=CONTENDERS[0], rival=CONTENDERS[1]))


def test_what_all_share_hides_no_difference():
    # Paired: noise a hundred times the difference is common to all three.
    common = np.random.default_rng(1).normal(0.0, 10.0, 40)
    assert int(winners(planted((0.3, 0.2, 0.3)) + xr.DataArray(common, dims="seed"))) == 1


@given(st.integers(0, 10_000))
def test_at_most_one_wins_and_nobody_beats_itself(seed):
    values = np.random.default_rng(seed).normal(size=(3, 5))
    gaps = xr.DataArray(values, {"contender": list(CONTENDERS)}, ("contender", "seed"))
    sure = better(gaps).transpose("rival", "contender").values
    assert not np.any(sure & sure.T)
    won = int(winners(gaps))
    assert won == -1 or sure[:, won].sum() == 2


def test_the_more_cells_are_judged_the_surer_a_difference_must_be():
    # A lead of three standard errors: sure in one cell, not where it is one of many.
    noise = np.random.default_rng(2).normal(size=400)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    lead = np.stack([-3.0 / 20 + noise, 0.0 * noise, 9.0 + 0.0 * noise])
    one = xr.DataArray(lead, {"contender": list(CONTENDERS)}, ("contender", "seed"))
    assert int(winners(one)) == 0
    many = one.expand_dims(samples=100)
    assert not bool((winners(many) == 0).any())


def test_the_finding_counts_the_cells(data):
    # Every gap is moved, so that who wins in which cell is known.
    moved = data.suboptimality + 10.0 * (data.beta_schedule == "matched")
    better_at_30 = xr.where(data.samples == 30, -1.0, 1.0)
    moved = moved + better_at_30 * (data.beta_schedule == "constant") * (data.alpha > 0)
    found = matched_beta.finding(data.assign(suboptimality=moved))
    assert (found.cells, found.runs, found.longest) == (4, 2 * 3 * 2 * 6, 6)
    assert list(found.better) == list(found.worse) == [3, 6]
    _, matched, none = CONTENDERS
    for t in (3, 6):
        assert found.better[t] == {matched: 4, none: 2}
        assert found.worse[t] == {matched: 0, none: 2}
        assert found.won[t, 1.0] == {
            "momentum": Won(2, 4, 30, 30),
            "no momentum": Won(2, 4, 1000, 1000),
        }
    assert (
        "T = 6, beta = 1, momentum in 2 of 4 (N = 30) and no momentum in 2 of 4 (N = 1,000)."
        in found.text
    )


def test_the_cells_of_the_trial_are_told_where_they_were_measured(data):
    assert matched_beta.finding(data).quoted == {}
    long = data.isel(iteration=[0] * 20).assign_coords(iteration=np.arange(1, 21))
    found = matched_beta.finding(long)
    assert list(found.quoted) == [(1000, 20)]
    cell = contenders(long.suboptimality).sel(alpha=0.9, beta=1.0, samples=1000, iteration=20)
    momentum, matched, _ = cell.transpose("contender", "seed").values
    quoted = found.quoted[1000, 20]
    assert quoted.gap["momentum"].figures == pytest.approx(
        (momentum.mean(), *student(momentum)), abs=1e-12
    )
    assert quoted.lead["matched beta"].value == pytest.approx((momentum - matched).mean())
    assert quoted.lead["matched beta"].n == 6
    assert "N = 1,000, T = 20: gap of momentum" in found.text


def test_the_figure_draws(data):
    figure = Figure(layout="constrained")
    matched_beta.draw(figure, data)
    figure.draw_without_rendering()
    assert len(figure.axes) == 3
