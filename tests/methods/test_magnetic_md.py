"""Magnetic mirror descent: the rule, a magnet that stays or moves, samples, bad input."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import games_by_hand as by_hand

import apo_sim as apo
from apo_sim.methods.magnetic_md import MagneticMD

ETAS, PRICES = [0.9, 0.5, 2.0, 0.1], [0.1, 0.3, 0.05, 4.0]
REFRESH = 3
SCHEDULED = MagneticMD(jnp.array(ETAS), jnp.array(PRICES), REFRESH)


class Rule:
    """The closed form of Sokota et al., section 3, with the magnet of Wang et al."""

    def __init__(self, game, refresh):
        self.policy = self.asked = self.magnet = by_hand.reference(game)
        self.refresh = refresh

    def learn(self, rates, t):
        weight = ETAS[t] * PRICES[t]
        product = self.policy * self.magnet**weight * np.exp(ETAS[t] * rates)
        self.policy = self.asked = by_hand.normalised(product ** (1 / (1 + weight)))
        if self.refresh is not None and t + 1 in range(0, 1_000, self.refresh):
            self.magnet = self.policy


@pytest.mark.parametrize("refresh", [None, REFRESH])
def test_by_hand(refresh):
    method = MagneticMD(SCHEDULED.learning_rate, SCHEDULED.temperature, refresh)
    by_hand.check_by_hand(Rule(by_hand.GAME, refresh), method)
    by_hand.check_samples_by_hand(Rule(by_hand.GAME, refresh), method)


@pytest.mark.parametrize("game", [by_hand.GAME, by_hand.CYCLE])
def test_it_goes_to_the_regularised_equilibrium_at_a_linear_rate(game):
    """KL_t <= (1 + eta a)^-t KL_0, at the longest step for which that is claimed."""
    prices = jnp.array([0.05, 0.2, 0.5])

    def path(price):
        method = MagneticMD(4.0 * price, price)
        return apo.solve(game, method, iterations=100, save="path").path.log_policy

    paths = jax.vmap(path)(prices)
    targets = [by_hand.equilibrium(game, price) for price in np.asarray(prices)]
    for price, target, policies in zip(np.asarray(prices), targets, paths, strict=True):
        left = by_hand.divergences(target, policies)
        assert np.all(left <= (1 + 4 * price**2) ** -np.arange(101.0)[:, None] * left[0] + 1e-13)
    np.testing.assert_allclose(jnp.exp(paths[2, -1]), targets[2], rtol=1e-9)
    method = MagneticMD(4.0 * prices[0], prices[0])
    alone = apo.solve(game, method, iterations=100, save="path").path.log_policy
    np.testing.assert_allclose(paths[0], alone, rtol=1e-12)


def test_a_magnet_that_moves_leads_to_an_equilibrium_of_the_game_itself():
    """Exploitability after 2,000 steps: that of the regularised equilibrium, or none."""
    fixed = apo.solve(by_hand.CYCLE, MagneticMD(0.4, 0.1), iterations=2_000)
    moving = apo.solve(by_hand.CYCLE, MagneticMD(0.4, 0.1, refresh=100), iterations=2_000)
    target = jnp.log(by_hand.equilibrium(by_hand.CYCLE, 0.1))
    np.testing.assert_allclose(fixed.suboptimality[-1], by_hand.CYCLE.suboptimality(target))
    assert fixed.suboptimality[-1] > 0.05
    assert moving.suboptimality[-1] < 1e-9
    np.testing.assert_allclose(jnp.exp(moving.final_log_policy), 1 / 3, rtol=1e-6)


@pytest.mark.parametrize(("eta", "price"), [(1e300, 1e-300), (1e300, 1e300), (1e-300, 1e300)])
def test_the_ends_of_the_range_of_floats(eta, price):
    found = apo.solve(by_hand.GAME, MagneticMD(eta, price), iterations=3)
    assert np.all(np.isfinite(found.final_log_policy))


def test_a_continued_run_is_the_whole_run():
    by_hand.check_continued(SCHEDULED)


def test_samples_miss_by_one_over_their_root():
    by_hand.check_rate(MagneticMD(1.0, 0.2, refresh=2))


@pytest.mark.parametrize("name", ["learning_rate", "temperature"])
@pytest.mark.parametrize("value", by_hand.NO_STEP)
def test_no_number_above_0(name, value):
    by_hand.check_refused(MagneticMD, name, value)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "often", jnp.ones(2)])
def test_no_refresh(value):
    by_hand.check_refused(MagneticMD, "refresh", value)


@pytest.mark.parametrize("value", by_hand.NO_RANKER)
def test_no_ranker(value):
    by_hand.check_refused(MagneticMD, "ranker", value)


@pytest.mark.parametrize("name", ["learning_rate", "temperature"])
def test_a_short_schedule(name):
    by_hand.check_short(MagneticMD, name)
