"""The claims about the law of leading order: what their checks are made of."""

import dataclasses

import jax
import numpy as np
import pytest

from apo_sim.claims import Study, _noise_law, n13, n14, n15
from apo_sim.claims._noise_law import Cell

EVEN = np.full(3, -np.log(3))


def test_the_pull_of_a_score_is_the_slope_of_the_gap():
    """One step on one more win of i over j, in place of the expected score, moves the gap by it."""
    reward = np.array([0.5, -0.2, 0.1])
    cell = Cell(reward, EVEN, 0.5, 4.0, 1000.0)
    alphas, betas = np.full(3, 0.5), np.full(3, 4.0)
    pulls = _noise_law._pulls(cell, alphas, betas, (3,))[0]
    # The Laplacian of the first update is that of the reference.
    lead = reward[:, None] - reward
    weights = 2 / 9 / (4 * np.cosh(lead / 2) ** 2)
    laplacian = np.diag(weights.sum(axis=1)) - weights
    factor = (1 + 0.5 + 0.25) / 4
    gamma = (1 + 1.5 + 1.75) / 4
    policy = np.exp(gamma * reward) / np.exp(gamma * reward).sum()
    gradient = policy * (reward - policy @ reward)
    np.testing.assert_allclose(laplacian @ pulls[0] / factor, gradient, atol=1e-12)


def test_laws_come_in_the_order_of_the_cells():
    wide, narrow = np.linspace(-1, 1, 4), np.array([0.3, -0.3])
    cells = [Cell(r, np.full(r.size, -np.log(r.size)), 0.0, 2.0) for r in (wide, narrow, wide / 2)]
    together = _noise_law.laws(cells, 2)
    for place, cell in enumerate(cells):
        alone = _noise_law.laws([cell], 2)
        np.testing.assert_allclose(together.coefficient[place], alone.coefficient[0], rtol=1e-10)


def test_the_law_is_judged_where_it_is_valid_and_told_from_a_wrong_one():
    rng = np.random.default_rng(0)
    cells = tuple(Cell(rng.uniform(-1, 1, 3), EVEN, 0.0, 5.0) for _ in range(4))
    law = n13._at_horizons(_noise_law.laws(cells, n13.HORIZONS[-1]))
    spread = law.spread.max(axis=1) / n13.INDEX
    cells = tuple(_noise_law.with_samples(c, s) for c, s in zip(cells, spread, strict=True))
    samples = np.array([c.samples for c in cells])[:, None, None]
    noise = rng.normal(size=(4, 400, 3))
    linear = np.sqrt(law.variance[:, None] / samples) * noise
    mean = (law.exact_gap + law.coefficient / samples[:, 0])[:, None]
    runs = _noise_law.Measured(mean + linear, linear * (1 - 1e-6))
    data = n13._Data(cells, law, runs, runs)
    assert n13._valid(data).all()
    assert n13._judged(data).verdict == "holds"
    assert n13._judged(data, 1.3 * law.coefficient).verdict == "fails"
    louder = dataclasses.replace(runs, gap=mean + 1.5 * linear, linear=1.5 * linear * (1 - 1e-6))
    assert n13._judged(dataclasses.replace(data, runs=louder)).verdict == "fails"


def test_the_error_of_the_law_is_told_from_the_noise_of_its_measurement():
    noise = 2.0 * np.random.default_rng(3).normal(size=(30, 500))
    found = n13.beyond_noise(0.2 * np.sign(noise[:, :1]) + noise)
    assert found.low < 0.2 < found.high < 0.25
    none = n13.beyond_noise(noise)
    error_bar = 2.0 / np.sqrt(500)
    assert none.low == 0.0 and none.value < 0.5 * error_bar and none.high < error_bar


def test_where_c_turns_is_interpolated():
    coefficients = np.log(n14.GAMMAS / 5.0)
    assert n14._first_turn(coefficients) == pytest.approx(5.0)
    assert n14._first_turn(-np.ones(len(n14.GAMMAS))) == pytest.approx(n14.GAMMAS[-1])


def test_the_exponent_of_a_power_is_found():
    scale = (1 / (1 - np.array(n15.ALPHAS))) ** 0.7
    gaps = scale[:, None] * np.random.default_rng(0).normal(size=300)
    exponent, low, high = n15._measured_exponent(gaps)
    assert exponent == pytest.approx(0.7) and low <= 0.7 + 1e-9 and high >= 0.7 - 1e-9


def test_every_seed_of_a_shared_run_meets_one_key_in_all_iterations(monkeypatch):
    met = {}

    def stop(function, lanes, **fixed):
        met.update(lanes)
        raise StopIteration

    monkeypatch.setattr(_noise_law, "over_lanes", stop)
    for shared, count in ((True, 1), (False, 20)):
        with pytest.raises(StopIteration):
            _noise_law.measured(
                jax.random.key(0), [Cell(EVEN, EVEN, 0.0, 1.0)], 2, (1, 20), arms=3, shared=shared
            )
        first = jax.random.key_data(met["key"])[0]
        assert len(np.unique(np.asarray(first), axis=0)) == count


def test_the_expansion_of_one_step_turns_at_the_root_of_half_the_arms():
    for arms in (2, 8):
        reward = np.linspace(-1, 1, arms)
        cell = Cell(reward, np.full(arms, -np.log(arms)), 0.0, (2 / arms) ** 0.5)
        assert abs(n14._expansion(cell)[0][0]) < 1e-12
    assert Study("N14").claim == "N14"
