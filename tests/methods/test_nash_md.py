"""Nash mirror descent: the rule, the way to the regularised equilibrium, samples, bad input."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import games_by_hand as by_hand

import apo_sim as apo
from apo_sim.methods.nash_md import NashMD

ETAS, PULLS = [0.9, 0.5, 2.0, 0.1], [0.1, 0.3, 0.05, 1.0]
SCHEDULED = NashMD(jnp.array(ETAS), jnp.array(PULLS))


class Rule:
    """Equations (5) and (6) of the paper."""

    def __init__(self, game):
        self.policy = self.asked = self.reference = by_hand.reference(game)

    def learn(self, rates, t):
        self.policy = by_hand.normalised(self.asked * np.exp(ETAS[t] * rates))
        pull = PULLS[min(t + 1, len(PULLS) - 1)]
        mixture = self.policy ** (1 - pull) * self.reference**pull
        self.asked = by_hand.normalised(mixture)


def test_by_hand():
    by_hand.check_by_hand(Rule(by_hand.GAME), SCHEDULED)
    by_hand.check_samples_by_hand(Rule(by_hand.GAME), SCHEDULED)


@pytest.mark.parametrize("game", [by_hand.GAME, by_hand.CYCLE])
def test_each_step_obeys_the_bound_to_the_regularised_equilibrium(game):
    """KL_{t+1} <= (1 - eta tau) KL_t + 2 eta^2, Munos et al., in every context."""
    price, etas = 0.4, jnp.array([0.05, 0.3, 1.0, 2.5])

    def path(eta):
        method = NashMD(eta, eta * price)
        return apo.solve(game, method, iterations=60, save="path").path.log_policy

    paths = jax.vmap(path)(etas)
    left = by_hand.divergences(by_hand.equilibrium(game, price), paths)
    eta = np.asarray(etas)[:, None, None]
    assert np.all(left[:, 1:] <= (1 - eta * price) * left[:, :-1] + 2 * eta**2)
    # Without the last term it would not hold: the target of a constant step is another one.
    assert np.any(left[:, 1:] > (1 - eta * price) * left[:, :-1])
    alone = apo.solve(game, NashMD(0.3, 0.12), iterations=60, save="path").path.log_policy
    np.testing.assert_allclose(paths[1], alone, rtol=1e-12)


@pytest.mark.parametrize("game", [by_hand.GAME, by_hand.CYCLE])
def test_falling_steps_go_to_the_equilibrium(game):
    """At eta_t = 2 / (tau (t + 2)): KL <= 8 / (tau^2 (T + 1)), and in truth it falls as 1 / T^2."""
    price, iterations = 0.3, 1_600
    etas = 2.0 / (price * (jnp.arange(iterations) + 2))
    method = NashMD(etas, etas * price)
    path = apo.solve(game, method, iterations=iterations, save="path").path.log_policy
    left = by_hand.divergences(by_hand.equilibrium(game, price), path)
    number = np.arange(1, iterations + 1)[:, None]
    assert np.all(left[1:] <= 8 / (price**2 * (number + 1)))
    assert np.all(left[-1] < 1e-5)
    np.testing.assert_allclose(left[400] / left[1_600], 16.0, rtol=0.1)


@pytest.mark.parametrize("game", [by_hand.GAME, by_hand.CYCLE])
def test_a_constant_step_stops_beside_it(game):
    """It is the mixture that goes to an equilibrium, at the price tau / (1 - eta tau)."""
    eta, pull = 0.8, 0.2
    found = apo.solve(game, NashMD(eta, pull), iterations=400)
    mixture = by_hand.equilibrium(game, pull / eta / (1 - pull))
    np.testing.assert_allclose(jnp.exp(found.final_behaviour), mixture, rtol=1e-9)
    policy = jnp.exp(found.final_log_policy)
    assert np.abs(policy - by_hand.equilibrium(game, pull / eta)).max() > 1e-3


def test_a_continued_run_is_the_whole_run():
    by_hand.check_continued(SCHEDULED)


def test_samples_miss_by_one_over_their_root():
    by_hand.check_rate(NashMD(1.0, 0.2))


@pytest.mark.parametrize("value", by_hand.NO_STEP)
def test_no_step(value):
    by_hand.check_refused(NashMD, "learning_rate", value)


@pytest.mark.parametrize("value", by_hand.NO_SHARE)
def test_no_pull(value):
    by_hand.check_refused(NashMD, "pull", value)


@pytest.mark.parametrize("value", by_hand.NO_RANKER)
def test_no_ranker(value):
    by_hand.check_refused(NashMD, "ranker", value)


@pytest.mark.parametrize("name", ["learning_rate", "pull"])
def test_a_short_schedule(name):
    by_hand.check_short(NashMD, name)
