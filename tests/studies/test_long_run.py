"""Whether longer runs help is known in planted data; the two budgets are read where they lie."""

import jax
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from apo_sim.errors import InvalidArgument
from apo_sim.statistics import mean_and_half
from apo_sim.studies import long_run
from apo_sim.studies.long_run import by_length, judged

# With the other studies: they share what is compiled.
pytestmark = pytest.mark.xdist_group("studies")

LENGTHS = (1, 3, 6)


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    with jax.enable_x64(True):
        return long_run.measure(
            seeds=6, arms=3, alphas=[0.0, 0.9], betas=[1.0, 5.0], lengths=LENGTHS, budget=600
        )


def planted(data: xr.Dataset, means: dict[int, float]) -> xr.Dataset:
    """The same grid with 40 seeds, and a gap that depends on the iteration alone, up to noise."""
    shape = {**data.suboptimality.sizes, "seed": 40}
    values = np.random.default_rng(0).normal(0.0, 0.01, tuple(shape.values()))
    level = [means[min(means, key=lambda t: abs(t - at))] for at in data.iteration.values]
    coords = {name: data[name] for name in ("alpha", "beta", "samples", "length", "iteration")}
    gap = xr.DataArray(values + np.array(level), coords, tuple(shape))
    return xr.Dataset({"suboptimality": gap}, attrs=data.attrs).assign_coords(arms=3)


def test_both_budgets_are_those_of_the_run_of_three(data):
    gap = by_length(data)
    first = gap.sel(length=3)
    assert np.array_equal(first.sel(budget="each"), first.sel(budget="in all"))
    assert data.samples.values.tolist() == [600, 200, 100]
    of_all = data.suboptimality.sel(samples=100, iteration=6).transpose("alpha", "beta", "seed")
    assert np.array_equal(gap.sel(budget="in all", length=6), of_all)
    of_each = data.suboptimality.sel(samples=200, iteration=6).transpose("alpha", "beta", "seed")
    assert np.array_equal(gap.sel(budget="each", length=6), of_each)
    assert not np.array_equal(of_all, of_each)


@pytest.mark.parametrize(
    ("means", "best", "answer"),
    [
        ({1: 0.5, 3: 0.3, 6: 0.1}, 6, "yes"),
        ({1: 0.1, 3: 0.3, 6: 0.5}, 1, "no"),
        ({1: 0.5, 3: 0.1, 6: 0.3}, 3, "no"),
    ],
)
def test_the_answer_is_found(data, means, best, answer):
    known = planted(data, means)
    found = judged(by_length(known))
    assert np.all(found.best == best)
    assert np.all(abs(found.change - (means[best] - means[3])) <= 2 * found.half + 1e-12)
    assert np.all(abs(found.of_longest - (means[6] - means[3])) <= 2 * found.half_of_longest)
    told = long_run.finding(known)
    assert (told.longest, told.samples) == (6, 200.0)
    for budget in (told.each, told.in_all):
        assert {one.length for one in budget.best.values()} == {best}
        assert {one.answer for one in budget.best.values()} == {answer}
        helps = means[6] < means[3]
        assert (budget.better, budget.worse) == ((4, 0) if helps else (0, 4))
        assert list(budget.best) == [(1.0, 0.0), (1.0, 0.9), (5.0, 0.0), (5.0, 0.9)]
    assert told.text.count(f"{answer} at alpha") == 8


def test_the_best_of_equals_is_no_advantage(data):
    # The best of noisy means looks better on the seeds it was chosen on; it is judged on others.
    found = long_run.finding(planted(data, {1: 0.9, 3: 0.3, 6: 0.3}))
    cells = [*found.each.best.values(), *found.in_all.best.values()]
    assert len(cells) == 8 and [one.answer for one in cells].count("yes") <= 1


def test_a_length_must_divide_the_budget_of_labels():
    with pytest.raises(InvalidArgument, match="samples"):
        long_run.measure(seeds=4, arms=3, lengths=[3, 7], budget=600)


def test_the_figure_draws(data):
    figure = Figure(layout="constrained")
    long_run.draw(figure, data)
    figure.draw_without_rendering()
    assert len(figure.axes) == 4
    assert "means over 6 seeds" in figure.get_suptitle()


def test_bands_are_whole_intervals_where_they_reach_zero(data):
    known = planted(data, {1: 0.5, 3: 0.3, 6: 0.1})
    gap = known.suboptimality
    rare = xr.where(gap.seed == 0, 50 * gap, abs(gap))  # one run in forty goes wrong
    figure = Figure(layout="constrained")
    long_run.draw(figure, known.assign(suboptimality=rare))
    figure.draw_without_rendering()
    each = rare.sel(samples=200, iteration=6, beta=1.0)
    mean, half = mean_and_half(each)
    assert bool((mean < half).all())
    for band, low in zip(figure.axes[0].collections, (mean - half).values, strict=True):
        corners = np.asarray(band.get_paths()[0].vertices)
        assert corners[corners[:, 0] == 6, 1].min() == pytest.approx(low)
