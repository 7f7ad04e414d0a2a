"""Steps down a loss: when they stop, what they report, what they keep."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import apo_sim as apo
from apo_sim.optimizers import SGD, AdamW
from apo_sim.preferences import Pairs
from apo_sim.proximal import ByGradient

START = {"x": jnp.array(1.0), "y": jnp.array(-2.0)}


def bowl(params, number):
    return 0.5 * params["x"] ** 2 + 0.5 * params["y"] ** 2


def distance(params):
    return float(jnp.hypot(params["x"], params["y"]))


def test_fixed_number_of_steps():
    params, _, report = ByGradient(SGD(0.5), steps=3).minimise(bowl, START, None)
    assert int(report.steps) == 3
    assert float(params["x"]) == pytest.approx(0.5**3)
    assert float(params["y"]) == pytest.approx(-2 * 0.5**3)
    assert float(report.start) == pytest.approx(2.5)
    assert float(report.end) == pytest.approx(2.5 * 0.25**3)
    # Before the last step, not after it.
    assert float(report.gradient) == pytest.approx(5**0.5 * 0.5**2)


def test_tolerance_stops_as_soon_as_it_is_met_and_not_before():
    # The gradient before step n is sqrt(5) / 2^(n - 1): below 0.2 before the fifth.
    step = ByGradient(SGD(0.5), steps=100, tolerance=0.2)
    params, _, report = step.minimise(bowl, START, None)
    assert int(report.steps) == 5
    assert float(report.gradient) == pytest.approx(5**0.5 / 16)
    assert distance(params) == pytest.approx(5**0.5 / 32)
    short = ByGradient(SGD(0.5), steps=4, tolerance=0.2).minimise(bowl, START, None)[2]
    assert int(short.steps) == 4 and float(short.gradient) > 0.2


def test_tolerance_may_be_traced_and_each_lane_stops_by_itself():
    def steps(tolerance):
        return ByGradient(SGD(0.5), steps=50, tolerance=tolerance).minimise(bowl, START, None)[2]

    found = jax.jit(jax.vmap(steps))(jnp.array([0.2, 1e-6]))
    assert found.steps.tolist()[0] == 5 and found.steps.tolist()[1] > 20
    assert np.all(np.asarray(found.gradient) <= np.array([0.2, 1e-6]))


def test_an_objective_that_is_no_number_ends_the_loop():
    def broken(params, number):
        return jnp.sqrt(-1.0 - params["x"] ** 2) + params["y"]

    report = ByGradient(SGD(0.5), 10_000, tolerance=1e-3).minimise(broken, START, None)[2]
    assert int(report.steps) == 1 and np.isnan(report.gradient)


def test_the_state_of_the_optimiser_goes_on():
    """Two times three steps of Adam are six, if and only if its state is handed on."""
    half, whole = ByGradient(AdamW(0.1), steps=3), ByGradient(AdamW(0.1), steps=6)

    @jax.jit
    def paths():
        once = whole.minimise(bowl, START, None)[0]
        params, state, _ = half.minimise(bowl, START, None)
        return once, half.minimise(bowl, params, state)[0], half.minimise(bowl, params, None)[0]

    once, kept, afresh = paths()
    assert float(once["x"]) == float(kept["x"]) and float(once["y"]) == float(kept["y"])
    assert abs(distance(once) - distance(afresh)) > 1e-4


def test_any_transformation_of_optax():
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.5))
    params, _, _ = ByGradient(rule, steps=1).minimise(bowl, START, None)
    # The gradient has norm sqrt(5), of which 1 is left.
    assert float(params["x"]) == pytest.approx(1 - 0.5 / 5**0.5)


def test_batches_take_all_pairs_in_turn():
    pairs = Pairs(jnp.zeros(7, int), jnp.arange(7), jnp.arange(7)[::-1])
    seen = [pairs.batch(jnp.array(number), 3) for number in range(7)]
    assert [batch.winner.tolist() for batch in seen[:3]] == [[0, 1, 2], [3, 4, 5], [6, 0, 1]]
    counts = np.bincount(np.concatenate([batch.winner for batch in seen]))
    np.testing.assert_array_equal(counts, 3)  # seven times three are three times all seven
    for batch in seen:
        np.testing.assert_array_equal(batch.winner + batch.loser, 6)


def test_every_step_is_given_its_number():
    """One coordinate moves a step, that of its number."""

    def objective(params, number):
        return params[number]

    params, _, report = ByGradient(SGD(1.0), steps=4).minimise(objective, jnp.zeros(5), None)
    assert params.tolist() == [-1.0, -1.0, -1.0, -1.0, 0.0]
    assert (float(report.start), float(report.end)) == (0.0, -1.0)  # both of step 0


BAD: list[tuple[dict[str, Any], str]] = [
    ({"steps": 0}, "steps = 0 is not a count"),
    ({"batch": 2.5}, "batch = 2.5 is not an integer"),
    ({"tolerance": 0.0}, "tolerance = 0.0 must be positive"),
    ({"tolerance": jnp.ones(2)}, "tolerance = .* is not a single number"),
    ({"tolerance": 0.1, "batch": 8}, "tolerance = 0.1 is never reached .* of batches"),
    ({"optimizer": SGD}, "optimizer = .* is not an optimiser"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(apo.InvalidArgument, match=message):
        ByGradient(**settings)
