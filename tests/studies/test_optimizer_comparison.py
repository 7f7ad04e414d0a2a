"""The study of optimisers: planted factors, one program for all, new replicates for old rates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from apo_sim.one_of import OneOf
from apo_sim.proximal import ByGradient
from apo_sim.statistics import mean_and_half
from apo_sim.studies import optimizer_comparison
from apo_sim.studies.optimizer_comparison import (
    ADAMW,
    AT_BEST,
    EXTRAPOLATION,
    HEAVY,
    ITERATIONS,
    NO_B1,
    OPTIMIZERS,
    PLAIN,
    RING,
    SEQUENCES,
    SLOW_EXTRAPOLATION,
    SLOW_LARGER,
    SLOW_STANDARD,
    STANDARD,
    TASKS,
    VARIANTS,
    Variant,
)
from apo_sim.studies.ring_protocol import Protocol

SEEDS = 20
WITHOUT = [name for name in OPTIMIZERS if name not in optimizer_comparison.OWN_MOMENTUM]


def planted() -> xr.Dataset:
    """Ring: extrapolation halves the regret where there is no other momentum; sequences: always."""
    rng = np.random.default_rng(0)
    size = rng.uniform(0.5, 1.5, (len(TASKS), 1, 1, SEEDS, 1))
    noise = rng.uniform(0.95, 1.05, (len(TASKS), len(OPTIMIZERS), len(VARIANTS), SEEDS, 1))
    time = np.arange(1, 301)
    values = size * noise * np.exp(-time / 100)
    names = ("task", "optimizer", "variant", "seed", "iteration")
    coordinates = {
        "task": list(TASKS),
        "optimizer": list(OPTIMIZERS),
        "variant": list(VARIANTS),
        "iteration": time,
    }
    regret = xr.DataArray(values, coordinates, names)
    halved = (regret.variant == EXTRAPOLATION) & (
        (regret.task == SEQUENCES) | regret.optimizer.isin(WITHOUT)
    )
    regret = regret.where(~halved, regret / 2)
    regret = regret.where((regret.task == RING) | (regret.iteration <= ITERATIONS[SEQUENCES]))
    # Slow ones are all the same, so that noise decides nothing.
    slow = regret.variant.isin([SLOW_EXTRAPOLATION, SLOW_LARGER])
    regret = regret.where(~slow, regret.sel(variant=SLOW_STANDARD, drop=True))
    three = regret.isel(seed=0, iteration=0, drop=True)
    return xr.Dataset(
        {
            "behaviour_suboptimality": regret,
            "loss_after": np.log(2.0) - 0.1 * regret,
            "learning_rate": xr.full_like(three, 0.01),
            "grid": (("task", "optimizer", "number"), np.full((2, 5, 3), [0.005, 0.01, 0.02])),
            "diverged": xr.zeros_like(regret.isel(iteration=0, drop=True), int),
        },
        attrs={"tuning": 4},
    )


def test_factors_are_those_planted():
    found = optimizer_comparison.compared(planted(), RING, EXTRAPOLATION, STANDARD)
    for name in OPTIMIZERS:
        factor = 0.5 if name in WITHOUT else 1.0
        assert float(found.low.sel(optimizer=name)) <= factor * 1.01
        assert float(found.high.sel(optimizer=name)) >= factor * 0.99
        assert float(found.value.sel(optimizer=name)) == pytest.approx(factor, rel=0.03)


def test_momentum_of_its_own_takes_the_place_where_that_was_planted():
    data = planted()
    with_own = optimizer_comparison.own_momentum(data, RING, ADAMW).sel(of="gain")
    assert 1.8 < float(with_own.low) < float(with_own.high) < 2.2
    no_matter = optimizer_comparison.own_momentum(data, SEQUENCES, HEAVY).sel(of="gain")
    assert float(no_matter.low) < 1.0 < float(no_matter.high)
    found = optimizer_comparison.finding(data)
    assert found.gaining(RING, AT_BEST) == WITHOUT
    assert found.gaining(SEQUENCES, AT_BEST) == list(OPTIMIZERS)
    assert (found.seeds, found.diverged, found.at_an_end) == (SEEDS, 0, [])
    for task, name in ((RING, PLAIN), (SEQUENCES, HEAVY)):
        factor = found.found[task][name].factors[AT_BEST]
        assert factor.value == pytest.approx(0.5, abs=0.02) and factor.n == SEEDS
    gain = found.found[RING][ADAMW].own_gain
    assert gain is not None and 1.8 < gain.low < gain.high < 2.2
    assert found.found[RING][PLAIN].own_gain is None
    assert "AdamW and heavy ball had that" in found.text and "nan" not in found.text
    alone = optimizer_comparison.finding(data.sel(task=[RING]))
    assert "never with an optimiser that has momentum" in alone.text


def test_a_best_rate_at_an_end_of_the_grid_is_said_to_be_one():
    data = planted()
    assert optimizer_comparison.at_an_end(data) == []
    data["learning_rate"] = xr.where(data.optimizer == PLAIN, 0.02, data.learning_rate)
    assert optimizer_comparison.at_an_end(data) == [(RING, PLAIN), (SEQUENCES, PLAIN)]


def test_a_shorter_task_is_averaged_over_its_own_iterations():
    data = planted().isel(seed=[0])
    data["behaviour_suboptimality"] = data.behaviour_suboptimality.where(
        data.behaviour_suboptimality.isnull(), data.iteration
    )
    late = optimizer_comparison.final(data).isel(optimizer=0, variant=0, seed=0)
    assert float(late.sel(task=SEQUENCES)) == np.arange(81, 101).mean()
    assert float(late.sel(task=RING)) == np.arange(241, 301).mean()


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_one_of_many_is_that_one(name):
    rules = tuple(rule(0.1) for rule in OPTIMIZERS.values())
    start = {"weight": jnp.array([1.0, -2.0])}

    def objective(params, _):
        return jnp.sum(params["weight"] ** 4)

    def minimise(rule):
        return ByGradient(rule, steps=4).minimise(objective, start, None)[0]["weight"]

    one = OneOf(jnp.asarray(list(OPTIMIZERS).index(name)), rules)
    np.testing.assert_array_equal(minimise(one), minimise(OPTIMIZERS[name](0.1)))


@pytest.mark.parametrize("task", TASKS)
def test_a_replicate_is_one_start_and_one_problem_for_all_optimisers(task):
    of_lane = optimizer_comparison.setup(task, 0, Protocol(side=3, width=4))

    @jax.jit
    def of(replicate, which):
        lane = {"replicate": replicate, "which": which, "alpha": 0.3, "beta": 1.0}
        given = of_lane({**lane, "learning_rate": 0.1})
        return given["params"], given["problem"].reward, given["problem"].log_ref, given["key"]

    for one, same in zip(*(jax.tree.leaves(of(1, which)) for which in (0, 3)), strict=True):
        assert (one == same).all()
    assert (of(1, 0)[2] != of(2, 0)[2]).any()
    assert (of(1, 0)[1] != of(2, 0)[1]).any() == (task == SEQUENCES)


@pytest.fixture(scope="module")
def small() -> xr.Dataset:
    return optimizer_comparison.measure(
        seeds=2,
        tuning=2,
        tasks=[RING],
        optimizers=[NO_B1, PLAIN],
        variants={
            STANDARD: Variant(0.0),
            "again": Variant(0.0),
            EXTRAPOLATION: Variant(0.3),
            SLOW_LARGER: Variant(0.0, factor=0.5),
        },
        rates=4,  # as many lanes as later: one compilation, thanks to the tests' cache
        iterations={RING: 4},
        protocol=Protocol(side=3, width=4, samples=16, steps=2),
        progress=False,
    )


def test_the_rate_is_the_best_tried_for_the_standard_method(small):
    best = small.tried.sel(task=RING, best_for=0.0).argmin("number")
    chosen = small.grid.sel(task=RING).isel(number=best)
    taken = small.learning_rate.sel(task=RING)
    np.testing.assert_array_equal(taken.sel(variant=EXTRAPOLATION), chosen)
    np.testing.assert_array_equal(taken.sel(variant=SLOW_LARGER), chosen / 2)


def test_variants_are_paired_and_differ_where_they_should(small):
    values = small.behaviour_suboptimality.isel(task=0)
    np.testing.assert_array_equal(values.sel(variant="again"), values.sel(variant=STANDARD))
    apart = abs(values.sel(variant=EXTRAPOLATION) - values.sel(variant=STANDARD))
    assert float(apart.max()) > 1e-4
    # The first training ends before extrapolation has anything to do.
    by_loss = small.loss_after.isel(task=0, iteration=0)
    np.testing.assert_array_equal(by_loss.sel(variant=EXTRAPOLATION), by_loss.sel(variant=STANDARD))
    assert bool((small.diverged == 0).all())


def test_draw():
    data = planted()
    figure = Figure(layout="constrained")
    optimizer_comparison.draw(figure, data)
    assert len(figure.axes) == 12
    assert f"{SEEDS} paired seeds" in figure.get_suptitle()
    losses = Figure(layout="constrained")
    optimizer_comparison.draw_losses(losses, data)
    assert len(losses.axes) == 10


def test_bands_are_whole_intervals_where_they_reach_zero():
    data = planted()
    regret = data.behaviour_suboptimality
    rare = xr.where(regret.seed == 0, 100 * regret, regret).transpose(*regret.dims)
    figure = Figure(layout="constrained")
    optimizer_comparison.draw(figure, data.assign(behaviour_suboptimality=rare))
    last = rare.sel(task=RING, optimizer=ADAMW, iteration=300)
    mean, half = mean_and_half(last.sel(variant=[STANDARD, EXTRAPOLATION]))
    assert bool((mean < half).all())
    for band, low in zip(figure.axes[0].collections, (mean - half).values, strict=True):
        corners = np.asarray(band.get_paths()[0].vertices)
        assert corners[corners[:, 0] == 300, 1].min() == pytest.approx(low)
