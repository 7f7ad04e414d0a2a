"""Certified runs: planted failures are counted, families are what they are called."""

import jax
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import apo_sim as apo
from apo_sim.preferences import draw_counts
from apo_sim.studies import few_labels
from apo_sim.studies.certified_runs import (
    ARMS,
    FAMILIES,
    HARD,
    LEAD,
    VERSIONS,
    balls,
    bandits,
    certified,
    sampled,
)
from apo_sim.studies.few_labels import finding, half_failed, rates

# One worker measures once, for all of the tests.
pytestmark = pytest.mark.xdist_group("certificate")

FEW, MANY = 30.0, 2000.0


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    families = ["uniform", "rare best arm"]
    return few_labels.measure(
        seeds=14, families=families, horizons=[2], alphas=[0.3], samples=[FEW, MANY], progress=False
    )


def test_bounds_cover_and_tighten(data):
    excess = data.bound - few_labels.gaps_of_whole(data)
    assert int(data.failed.sum()) <= 4
    few, many = (
        excess.sel(samples=n).median(("whole", "alpha", "iterations")) for n in (FEW, MANY)
    )
    assert bool((many < few).all())
    each = excess.median([name for name in excess.dims if name != "version"])
    assert each.sel(version="finite-sample") > 1.2 * each.sel(version="asymptotic")
    # With so few labels many arms of little mass are unseen, and with more of them hardly any.
    assert data.unseen.sel(samples=FEW).mean() > data.unseen.sel(samples=MANY).mean()
    assert bool((data.paper > 2.0).all())


def test_a_bandit_stays_along_the_samples(data):
    one = data.exact_gap.sel(family="uniform")
    assert one.std("samples").max() == 0.0 and float(one.std("seed").min()) > 0.01
    np.testing.assert_allclose(
        data.effect.sel(samples=FEW), data.effect.sel(samples=MANY) * MANY / FEW
    )


def test_planted_failures_are_counted(data):
    planted = data.assign(failed=data.failed & False)
    planted.failed.loc[{"version": "asymptotic", "family": "uniform", "samples": FEW}] = True
    cells = rates(planted.failed)
    assert int(cells.failures.sum()) == 14 == int(cells.runs)
    assert float(cells.low.sel(version="asymptotic", family="uniform", samples=FEW)) > 0.7
    found = finding(planted)
    assert (found.runs, found.cell_runs) == (56, 14)
    assert found.failures == {"asymptotic": 14, "finite-sample": 0}
    assert found.cells["uniform", FEW].failures == found.failures
    assert found.cells["uniform", MANY].failures == {"asymptotic": 0, "finite-sample": 0}
    assert found.highest == 1.0 and found.papers.samples == MANY
    gap = data.gap.sel(family="uniform", samples=MANY)
    assert found.papers.gap.value == pytest.approx(float(gap.mean())) and found.papers.gap.n == 14
    assert found.unseen["uniform"] == float(data.unseen.sel(family="uniform", samples=FEW).mean())
    assert "14 (asymptotic), in 0 (finite-sample)" in found.text


def test_half_the_radius_fails_where_the_gap_is_between(data):
    middle = (data.estimate + data.bound) / 2
    above = data.assign(estimate=data.estimate - middle + middle.max(), bound=data.bound * 0 + 9.0)
    gap = few_labels.gaps_of_whole(data)
    np.testing.assert_array_equal(half_failed(data), gap > middle)
    assert not half_failed(above).any()


def test_a_run_whose_labels_refute_the_range_has_no_certificate(monkeypatch):
    problems = bandits("uniform", np.random.default_rng(0), 4, 30)
    runs = sampled(jax.random.key(0), problems, iterations=2, samples=MANY, beta=1.0, alpha=0.3)
    assert not any(ball.refuted.any() for ball in balls(runs).values())
    monkeypatch.setattr("apo_sim.studies.certified_runs.REWARD_BOUND", 0.01)
    assert all(ball.refuted.all() for ball in balls(runs).values())


def test_counts_are_those_of_the_run():
    reward, log_ref = bandits("uniform", np.random.default_rng(1), 1, 30)
    key = jax.random.key(5)
    runs = sampled(key, (reward, log_ref), iterations=2, samples=50.0, beta=1.0, alpha=0.0)
    bandit, own = apo.Bandit(reward[0], log_ref[0]), jax.random.split(key, 1)[0]
    first = draw_counts(jax.random.fold_in(own, 0), apo.Pairwise(), bandit, bandit.log_ref, 50.0)
    assert runs.wins.sum() == 100
    assert (runs.wins[0] >= np.asarray(first)).all()
    expected = reward.max() - np.sum(np.exp(runs.log_policy) * reward)
    assert runs.gap[0] == pytest.approx(expected)


def test_families_are_what_they_are_called():
    for name in FAMILIES:
        reward, log_ref = bandits(name, np.random.default_rng(0), 50, 100)
        assert reward.shape == log_ref.shape == (50, 4 if name == "four contexts" else 1, ARMS)
        np.testing.assert_allclose(np.exp(log_ref).sum(axis=-1), 1.0)
        assert np.abs(reward).max() <= 1.0
        on_best = np.take_along_axis(np.exp(log_ref), reward.argmax(axis=-1)[..., None], axis=-1)
        assert np.allclose(on_best, 0.01) == (name == "rare best arm")
        assert (len(np.unique(reward)) == 3) == (name == "ties")


def test_the_hard_family_leads_by_standard_errors():
    reward, _ = bandits(HARD, np.random.default_rng(0), 2, 20_000)
    lead = reward[0, 0, 0] - reward[0, 0, 1]
    # 2 N / K^2 pairs with each of the nine others, each of information 1/4.
    information = 0.25 * 2 * 20_000 * (ARMS - 1) / ARMS**2
    assert lead == pytest.approx(LEAD * np.sqrt(2 / information))
    assert np.ptp(bandits(HARD, np.random.default_rng(0), 1, 1)[0]) == 2.0


def test_certificates_are_those_of_the_library():
    problems = bandits("uniform", np.random.default_rng(2), 2, 30)
    runs = sampled(jax.random.key(1), problems, iterations=2, samples=MANY, beta=1.0, alpha=0.3)
    for version, finite_sample in VERSIONS.items():
        found = certified(runs, version, [1])
        one = apo.certify(
            runs.wins[1], runs.log_policy[1], reward_bound=1.0, finite_sample=finite_sample
        )
        assert found.bound[0] == pytest.approx(float(one.bound), abs=1e-8)


def test_the_figure_draws(data):
    figure = Figure(layout="constrained")
    few_labels.draw(figure, data)
    figure.draw_without_rendering()
    assert len(figure.axes) == 1 + 3
