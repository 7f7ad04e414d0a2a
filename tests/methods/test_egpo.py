"""EGPO: the rule in half and full steps, the way to the regularised equilibrium, bad input."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import games_by_hand as by_hand

import apo_sim as apo
from apo_sim.methods.egpo import EGPO

# Of two full steps, each of a half step and what follows it.
ETAS, PULLS = [0.9, 0.5, 2.0, 0.1], [0.1, 0.3, 0.05, 1.0]
SCHEDULED = EGPO(jnp.array(ETAS), jnp.array(PULLS))


class Rule:
    """Both lines of the paper's update, each from the same policy."""

    def __init__(self, game):
        self.policy = self.asked = self.reference = by_hand.reference(game)
        self.looks_ahead = True

    def learn(self, rates, t):
        kept = self.policy ** (1 - PULLS[t]) * self.reference ** PULLS[t]
        self.asked = by_hand.normalised(kept * np.exp(ETAS[t] * rates))
        if not self.looks_ahead:
            self.policy = self.asked
        self.looks_ahead = not self.looks_ahead


def test_by_hand():
    by_hand.check_by_hand(Rule(by_hand.GAME), SCHEDULED)
    by_hand.check_samples_by_hand(Rule(by_hand.GAME), SCHEDULED)


def test_half_steps_leave_the_policy_and_full_ones_the_data_where_it_is():
    path = apo.solve(by_hand.GAME, EGPO(), iterations=6, save="path").path
    policy, behaviour = np.asarray(path.log_policy), np.asarray(path.behaviour)
    np.testing.assert_array_equal(policy[1::2], policy[:-1:2])
    np.testing.assert_array_equal(behaviour[::2], policy[::2])
    assert np.abs(policy[2::2] - policy[:-2:2]).max() > 0.01
    assert np.abs(behaviour[1::2] - policy[1::2]).max() > 0.01


@pytest.mark.parametrize("game", [by_hand.GAME, by_hand.CYCLE])
def test_it_goes_to_the_regularised_equilibrium_at_a_linear_rate(game):
    """KL_t <= (1 - eta b)^t KL_0 after t full steps, at the longest step of the theorem."""
    prices = jnp.array([0.1, 0.5, 3.0])
    etas = 1.0 / (prices + 3.0)

    def path(eta, price):
        return apo.solve(game, EGPO(eta, eta * price), iterations=200, save="path").path.log_policy

    paths = jax.vmap(path)(etas, prices)
    pulls = np.asarray(etas * prices)
    targets = [by_hand.equilibrium(game, price) for price in np.asarray(prices)]
    for pull, target, policies in zip(pulls, targets, paths, strict=True):
        left = by_hand.divergences(target, policies[::2])
        assert np.all(left <= (1 - pull) ** np.arange(101)[:, None] * left[0] + 1e-13)
    np.testing.assert_allclose(jnp.exp(paths[2, -1]), targets[2], rtol=1e-9)
    method = EGPO(etas[0], pulls[0])
    alone = apo.solve(game, method, iterations=200, save="path").path.log_policy
    np.testing.assert_allclose(paths[0], alone, rtol=1e-12)


def test_a_run_continued_in_the_middle_of_a_step_is_the_whole_run():
    by_hand.check_continued(EGPO(), half=3)


def test_samples_miss_by_one_over_their_root():
    by_hand.check_rate(EGPO(1.0, 0.2), iterations=4)


@pytest.mark.parametrize("value", by_hand.NO_STEP)
def test_no_step(value):
    by_hand.check_refused(EGPO, "learning_rate", value)


@pytest.mark.parametrize("value", by_hand.NO_SHARE)
def test_no_pull(value):
    by_hand.check_refused(EGPO, "pull", value)


@pytest.mark.parametrize("value", by_hand.NO_RANKER)
def test_no_ranker(value):
    by_hand.check_refused(EGPO, "ranker", value)


@pytest.mark.parametrize("name", ["learning_rate", "pull"])
def test_a_short_schedule(name):
    by_hand.check_short(EGPO, name)
