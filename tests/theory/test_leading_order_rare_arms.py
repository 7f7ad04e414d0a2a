"""Why no probability of being drawn repairs the law: sums over all data of one update, two arms."""

import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import apo_sim as apo
from apo_sim.theory.leading_order import leading_order

sys.path.insert(0, str(Path(__file__).parent))
from test_leading_order import expectations, sigmoid

MASS, LEAD, BETA = 1e-3, 0.8, 2.0


@pytest.fixture(scope="module")
def law():
    log_ref = jnp.log(jnp.array([[MASS, 1 - MASS]]))
    return leading_order(apo.Bandit(jnp.array([[LEAD, 0.0]]), log_ref), apo.NoMomentum(), BETA, 1)


def effect(samples, mass=MASS):
    gap = LEAD * sigmoid(-np.log(mass / (1 - mass)) - LEAD / BETA)
    return expectations(LEAD, mass, BETA, samples)[1] - gap


def mixtures(law, samples):
    """The effect by the law, and by two mixtures with the probability that the arm is drawn."""
    c, chance = float(law.coefficient[0]), 2 * MASS * (1 - MASS)
    met: Any = stats.binom(samples, chance)
    never, log_odds = met.pmf(0), np.log(MASS / (1 - MASS))
    stayed = never * LEAD * (sigmoid(-log_odds) - sigmoid(-log_odds - LEAD / BETA))
    # The law of a given number of comparisons m is c chance / m.
    counts = np.arange(1, int(met.ppf(1 - 1e-13)) + 2)
    by_count = c * chance * (met.pmf(counts) @ (1 / counts))
    return c / samples, stayed + (1 - never) * c / samples, stayed + by_count


def test_where_the_arm_is_drawn_for_sure_law_and_mixtures_are_wrong_alike(law):
    few = round(3 / MASS)
    assert stats.binom.pmf(0, few, 2 * MASS * (1 - MASS)) < 0.003
    exact = effect(few)
    for found in mixtures(law, few):
        assert abs(found / exact) < 0.5
    # A tenth is reached by all of them at about thirty draws, and by none at ten.
    for draws, close in ((10, False), (30, True), (100, True)):
        exact = effect(round(draws / MASS))
        for found in mixtures(law, round(draws / MASS)):
            assert (abs(found / exact - 1) < 0.1) == close, draws


def test_the_error_depends_on_how_often_the_arm_is_drawn_and_not_on_its_mass(law):
    ratio = effect(round(10 / MASS)) / float(law.expected_gap(10 / MASS)[0] - law.exact_gap[0])
    rarer = MASS / 10
    log_ref = jnp.log(jnp.array([[rarer, 1 - rarer]]))
    bandit = apo.Bandit(jnp.array([[LEAD, 0.0]]), log_ref)
    other = float(leading_order(bandit, apo.NoMomentum(), BETA, 1).coefficient[0])
    assert effect(round(10 / rarer), rarer) * 10 / rarer / other == pytest.approx(ratio, rel=0.005)


def test_the_next_order_carries_a_little_further(law):
    """Its coefficient by Richardson, from draws so many that what follows it is small."""
    c, many = float(law.coefficient[0]), round(1000 / MASS)
    following = (effect(many) * many / c - 1) * many
    few = [round(draws / MASS) for draws in (20, 10)]
    alone = [abs(c / n / effect(n) - 1) for n in few]
    both = [abs((1 + following / n) * c / n / effect(n) - 1) for n in few]
    assert both[0] < 0.1 < alone[0]
    assert 0.1 < both[1] < 0.5 * alone[1]
