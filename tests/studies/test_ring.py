"""The ring: planted series, one small training, and a search that finds what was planted."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from apo_sim.statistics import mean_and_half
from apo_sim.studies import ring, ring_search
from apo_sim.studies.ring import EXACT, EXTRAPOLATION, LONGER, MATCHED, METHODS, STANDARD
from apo_sim.studies.ring_protocol import REPORTED, SEGMENT, Protocol, segments, setup
from apo_sim.training import train

SMALL = Protocol(side=5, width=8, samples=16, learning_rate=0.05)


def planted(ratio: float, seeds: int = 12) -> xr.Dataset:
    """The reported rows, extrapolation's times a factor, with a hundredth of noise."""
    rng = np.random.default_rng(0)
    standard = np.repeat(REPORTED["standard"], SEGMENT)
    faster = ratio * np.repeat(REPORTED["extrapolation"], SEGMENT)
    rows = np.stack([standard, faster, standard, standard, faster])[:, None]
    regret = rows * (1 + 0.01 * rng.normal(size=(5, seeds, rows.shape[-1])))
    dims = ("variant", "seed", "iteration")
    names = ("behaviour_suboptimality", "suboptimality", "kl_to_exact", "tv_to_exact", "moved")
    data = xr.Dataset(
        {name: (dims, regret) for name in names},
        {"variant": list(METHODS), "iteration": 1 + np.arange(regret.shape[-1])},
        {"radius": 0.4},
    )
    pictures = rng.uniform(size=(2, 3, 25))
    coordinates = {"pictured": [STANDARD, EXTRAPOLATION], "frame": [0, 10, 20]}
    dims = ("pictured", "frame", "action")
    return data.assign(policy=xr.DataArray(pictures, coordinates, dims))


def test_segments_are_averages_of_sixty():
    found = segments(np.arange(120.0))
    np.testing.assert_allclose(found, [29.5, 89.5])


@pytest.mark.parametrize(
    ("ratio", "near", "places"), [(1.0, 5, [1, 2, 3, 4, 5]), (2.0, 0, [3, 4, 5])]
)
def test_finding_tells_what_was_planted(ratio, near, places):
    data = planted(ratio)
    found = ring.finding(data)
    assert (found.near(STANDARD), found.near(EXTRAPOLATION)) == (5, near)
    assert found.ahead == places and found.seeds == 12
    for place, estimate in enumerate(found.regret[EXTRAPOLATION]):
        reported = ring.REPORTED[EXTRAPOLATION][place]
        assert estimate.value / reported == pytest.approx(ratio, rel=0.01)
    first = ring.regret(data).isel(segment=0).mean("seed")
    lead = first.sel(variant=EXTRAPOLATION) - first.sel(variant=MATCHED)
    assert found.over_rivals[MATCHED][0].value == pytest.approx(float(lead))
    assert f"{5 + near} of 10 figures" in found.text
    table = ring.compared(data)
    np.testing.assert_allclose(table.factor.sel(variant=EXTRAPOLATION), ratio, rtol=0.01)


def test_ahead_needs_intervals_apart():
    data = planted(1.0)
    assert ring.ahead(data, EXTRAPOLATION, STANDARD).all()
    assert not ring.ahead(data, STANDARD, MATCHED).any()


def test_finding_of_the_spaces():
    found = ring.finding_spaces(planted(1.0))
    assert len(found.apart) == len(found.over_exact) == 5
    assert found.steps == pytest.approx([1.0] * 5)
    assert found.apart[4].value == pytest.approx(0.0025, rel=0.02)
    assert "segment 5: 0.0025 +- " in found.text


def test_figures_and_animation(tmp_path):
    data = planted(1.0)
    for draw, panels in ((ring.draw, 2), (ring.draw_spaces, 2), (ring.draw_policies, 10)):
        figure = Figure()
        draw(figure, data)
        assert len(figure.axes) == panels
    film = ring.animate(data, tmp_path / "film.gif")
    assert film.read_bytes()[:3] == b"GIF"


def test_bands_and_bars_are_whole_intervals_where_they_reach_zero():
    data = planted(1.0, seeds=4).assign_coords(seed=range(4))
    late = (data.iteration > 4 * SEGMENT) & (data.seed == 0)
    regret = data.behaviour_suboptimality
    wild = xr.where(late, 50 * regret, regret).transpose(*regret.dims)
    data = data.assign(behaviour_suboptimality=wild)
    figure = Figure()
    ring.draw(figure, data)
    left, right = figure.axes
    assert "95 % intervals of the mean over 4 networks" in figure.get_suptitle()
    mean, half = mean_and_half(data.behaviour_suboptimality.isel(iteration=-1))
    low = mean - half
    assert bool((low < 0).all())
    for band, expected in zip(left.collections, low.values, strict=True):
        corners = np.asarray(band.get_paths()[0].vertices)
        assert corners[corners[:, 0] == 5 * SEGMENT, 1].min() == pytest.approx(expected)
    mean, half = mean_and_half(ring.regret(data).sel(segment=5))
    bars: Any = right.containers
    for bar, method in zip(bars, REPORTED, strict=True):
        (_, low), (_, high) = bar.lines[2][0].get_segments()[-1]
        assert (low + high) / 2 == pytest.approx(float(mean.sel(variant=method)))
        assert (high - low) / 2 == pytest.approx(float(half.sel(variant=method)))


@pytest.fixture(scope="module")
def trained():
    return ring.measure(seeds=2, protocol=SMALL, iterations=SEGMENT, progress=False)


@pytest.mark.xdist_group("ring")
def test_a_lane_is_a_training(trained):
    lane = {"replicate": ring.FIRST, "alpha": 0.3, "beta": 1.0}
    alone = train(**setup(SMALL, 0)(lane), iterations=10).behaviour_suboptimality
    here = trained.behaviour_suboptimality.sel(variant=EXTRAPOLATION)[0, :10]
    # In single precision; later on, another rounding lets another response win.
    np.testing.assert_allclose(here, alone, rtol=5e-3)


@pytest.mark.xdist_group("ring")
def test_variants_share_the_start_and_differ_later(trained):
    regret = trained.behaviour_suboptimality
    # The first update is the same for all; the matched beta begins with beta itself.
    alike = [name for name in METHODS if name != LONGER]
    first = trained.suboptimality.isel(iteration=0).sel(variant=alike)
    np.testing.assert_allclose(first, first.sel(variant=[STANDARD]).values.repeat(4, 0), rtol=1e-4)
    assert float(abs(regret.isel(iteration=-1).diff("variant")).min()) > 0
    assert float(trained.kl_to_exact.sel(variant=[STANDARD, EXACT]).max()) < 1e-5
    assert float(trained.kl_to_exact.sel(variant=EXTRAPOLATION).max()) > 1e-5
    np.testing.assert_allclose(trained.policy.sum("action"), 1.0, rtol=1e-4)
    assert not any(bool(values.isnull().any()) for values in trained.values())


def fake(setup, lanes, **_):
    """Regret that is the reported row where the learning rate is 0.01, and higher elsewhere."""
    off = np.abs(np.log(lanes["learning_rate"] / 0.01))
    rows = np.repeat(REPORTED["standard"], SEGMENT) * np.exp(off)[:, None]
    return {"behaviour_suboptimality": rows, "diverged": (lanes["radius"] == 0.3).astype(int)}


def test_the_search_finds_the_planted_rate_and_resumes(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        ring_search,
        "trainings",
        lambda *args, **kwargs: (calls.append(1), fake(*args, **kwargs))[1],
    )
    options = {"seeds": 3, "progress": False, "batches": 4, "draws": 5}
    data = ring_search.measure(**options, out=tmp_path)
    planned = 4 + 2 * ring_search.FINALISTS
    assert len(calls) == planned and data.sizes["trial"] == 5 * 4 + 5 * 6 + 6
    nearest = ring_search.nearest_protocol(data)
    assert nearest.radius != 0.3
    best = data.isel(trial=int(data.distance.values.argmin()))
    assert nearest.learning_rate == float(best.learning_rate)
    assert 0.007 < nearest.learning_rate < 0.015
    found = ring_search.finding(data)
    assert (found.trials, found.protocol) == (data.sizes["trial"], nearest)
    assert found.diverged == int((data.diverged > 0).sum())
    assert found.factor == pytest.approx(np.exp(ring_search.distance(np.array(found.row))))
    assert "The nearest of those tried again" in found.text
    figure = Figure()
    nowhere = np.flatnonzero(data.diverged == 0)[0]
    ring_search.draw(
        figure, data.assign(distance=data.distance.where(data.trial != nowhere, np.inf))
    )
    assert len(figure.axes) == 2
    shown = [np.asarray(line.get_ydata()) for line in figure.axes[0].lines[:-1]]
    factors = np.concatenate(shown)
    assert factors.size == int((data.diverged == 0).sum()) and factors.max() == ring_search.FARTHEST
    # A line that was cut off is done again, the others are read.
    log = tmp_path / ring_search.FILE
    log.write_text(log.read_text()[:-40])
    calls.clear()
    resumed = ring_search.measure(**options, out=tmp_path)
    assert len(calls) == 1
    xr.testing.assert_identical(resumed, data)
