"""Planted gaps: the marks of every panel are what the legend says, and the finding counts them."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from apo_sim.errors import InvalidArgument
from apo_sim.studies import phase_diagram
from apo_sim.studies.phase_diagram import COMPARISONS, MARKS, Verdicts, horizons, judged

ALPHAS, SAMPLES, LENGTH, SEEDS = (0.0, 0.5, 0.9), (10, 100), 4, 40
CELLS = len(SAMPLES) * (LENGTH - 1)
BEST = 0.5
# Differences of gaps in units of their standard error, momentum's gain being above zero; an
# interval of one cell ends at 2.09, one that is corrected for six cells at 2.93.
GAIN, HARM, ALONE = 9.0, -9.0, 2.5


def planted(differences: dict[str, dict[tuple[int, int], float]]) -> xr.Dataset:
    """Gaps whose best alpha is `BEST`, chosen on the even seeds, with known signs on the odd ones.

    Args:
        differences: for a comparison and a cell (N, T), how far momentum lies below its rival on
            the seeds that judge, in standard errors; 0 where nothing is said.
    """
    noise = np.random.default_rng(0).normal(size=SEEDS // 2)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    shape = (2, len(ALPHAS), len(SAMPLES), SEEDS, LENGTH)
    coords = {"beta_schedule": ["constant", "matched"], "alpha": list(ALPHAS)}
    coords |= {"samples": list(SAMPLES), "iteration": 1 + np.arange(LENGTH)}
    gap = xr.DataArray(
        np.ones(shape), coords, ("beta_schedule", "alpha", "samples", "seed", "iteration")
    )
    gap.loc[{"beta_schedule": "constant", "alpha": BEST}][..., ::2, :] = 0.5
    level = 0.01 * noise
    unit = 0.01 / (SEEDS // 2) ** 0.5

    def below(name: str, n: int, t: int) -> np.ndarray:
        return level + unit * differences.get(name, {}).get((n, t), 0.0)

    for n in SAMPLES:
        for t in range(1, LENGTH + 1):
            cell = gap.sel(samples=n, iteration=t)
            best = 1.0 - below("none", n, t)
            cell.loc["constant", BEST][1::2] = best
            cell.loc["matched", BEST][1::2] = best + below("matched", n, t)
            cell.loc["constant", 0.9][1::2] = 1.0 - below("largest", n, t)
    return xr.Dataset({"suboptimality": gap}).assign_coords(arms=3, beta=1.0)


def drawn(data: xr.Dataset) -> dict[str, dict[int, set[tuple[int, int]]]]:
    """The cells (N, T) that each panel of a gain marks, by the sign that the legend gives them."""
    figure = Figure(layout="constrained")
    phase_diagram.draw(figure, data)
    (legend,) = figure.legends
    words = {"gain: the interval lies above zero": 1, "harm: the interval lies below zero": -1}
    handles: Any = legend.legend_handles
    signs = {
        handle.get_markerfacecolor(): words[text.get_text()]
        for handle, text in zip(handles, legend.get_texts(), strict=True)
    }
    assert len(signs) == len(MARKS)
    panels = [axes for axes in figure.axes if "gain of" in axes.get_title()]
    marks = {}
    for name, axes in zip(COMPARISONS, panels, strict=True):
        marks[name] = {1: set(), -1: set()}
        for line in axes.lines:
            points = zip(*(np.asarray(part, int).tolist() for part in line.get_data()), strict=True)
            marks[name][signs[line.get_markerfacecolor()]].update(points)
    return marks


@pytest.mark.parametrize("name", COMPARISONS)
def test_every_panel_marks_both_signs_and_nothing_else(name):
    effects = {(10, 2): GAIN, (100, 2): GAIN, (10, 4): HARM, (100, 3): ALONE, (100, 4): -ALONE}
    data = planted({name: effects})
    marks = drawn(data)
    assert marks[name] == {1: {(10, 2), (100, 2)}, -1: {(10, 4)}}
    for other in set(COMPARISONS) - {name}:
        assert marks[other] == {1: set(), -1: set()}
    assert horizons(data).iteration.values.tolist() == [2, 3, 4]


def test_finding_counts_the_marks():
    data = planted(
        {
            "none": {(10, 2): GAIN, (100, 2): GAIN, (100, 4): HARM},
            "matched": {(10, 2): GAIN, (10, 3): GAIN, (10, 4): GAIN, (100, 4): HARM},
            "largest": {(100, 2): GAIN, (10, 3): HARM, (100, 4): HARM},
        }
    )
    found = phase_diagram.finding(data)
    assert (found.cells, found.both, found.harmful_from, found.alpha) == (CELLS, 1, 3, 0.9)
    told = (found.none, found.matched, found.largest)
    assert told == (Verdicts(2, 1), Verdicts(3, 1), Verdicts(1, 2))
    assert found.saving is not None and found.saving.samples == 10
    assert found.saving.less.low > 0 and 0 < found.saving.share < 1
    assert "alpha = 0.9 is better than none in 1 and worse in 2, all with T >= 3" in found.text
    marks = drawn(data)
    counts = [len(marks[name][sign]) for name in COMPARISONS for sign in MARKS]
    assert [count for each in told for count in (each.better, each.worse)] == counts


def test_nothing_is_found_where_nothing_was_planted():
    data = planted({})
    assert all(cells == {1: set(), -1: set()} for cells in drawn(data).values())
    found = phase_diagram.finding(data)
    assert found.none == found.matched == found.largest == Verdicts(0, 0)
    assert found.saving is None and found.harmful_from is None and found.cells == 6


def test_gains_are_those_of_the_seeds_that_did_not_choose():
    data = planted({"none": {(10, 2): GAIN}})
    found = judged(horizons(data))
    assert bool((found.best == BEST).all())
    here = found.sel(samples=10, iteration=2)
    expected = GAIN * 0.01 / (SEEDS // 2) ** 0.5
    assert float(here.over_none) == pytest.approx(expected)
    assert float(here.gain_none) == pytest.approx(expected)  # the rival's gap is 1


def test_the_caption_says_how_many_cells_and_seeds_are_judged():
    figure = Figure(layout="constrained")
    phase_diagram.draw(figure, planted({}))
    caption = figure.get_suptitle()
    assert f"{SEEDS // 2} seeds" in caption and f"the {CELLS} cells of a panel" in caption


def test_a_run_that_momentum_cannot_change_is_refused():
    with pytest.raises(InvalidArgument, match="momentum"):
        phase_diagram.measure(seeds=2, arms=3, iterations=1)
