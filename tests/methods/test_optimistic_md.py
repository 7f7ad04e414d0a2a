"""Optimistic mirror descent: the rule in both its forms, where it goes, samples, bad input."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import games_by_hand as by_hand

import apo_sim as apo
from apo_sim.methods import Proximal
from apo_sim.methods.optimistic_md import OptimisticMD

ETAS = [0.9, 0.5, 2.0, 0.1]
SCHEDULED = OptimisticMD(jnp.array(ETAS))


class Rule:
    """Daskalakis and Panageas, with both policies before the first step at the reference."""

    def __init__(self, game):
        self.policy = self.asked = by_hand.reference(game)
        self.before = by_hand.rates_by_hand(game, self.policy)

    def learn(self, rates, t):
        if t == 0:  # from samples, the first data stand for those of the policy before, too
            self.before = rates
        step = np.exp(2 * ETAS[t] * rates) / np.exp(ETAS[t] * self.before)
        self.policy = self.asked = by_hand.normalised(self.policy * step)
        self.before = rates


class TwoSequences:
    """The proximal form of optimism: where it stands, and a look ahead with the last win rates."""

    def __init__(self, game, eta):
        self.policy = self.asked = self.stands = by_hand.reference(game)
        self.eta = eta

    def learn(self, rates, t):
        step = np.exp(self.eta * rates)
        if t > 0:
            self.stands = by_hand.normalised(self.stands * step)
        self.policy = self.asked = by_hand.normalised(self.stands * step)


def test_by_hand():
    by_hand.check_by_hand(Rule(by_hand.GAME), SCHEDULED)
    by_hand.check_samples_by_hand(Rule(by_hand.GAME), SCHEDULED)


def test_it_is_a_look_ahead_from_a_second_sequence():
    by_hand.check_by_hand(TwoSequences(by_hand.GAME, 1.3), OptimisticMD(1.3), iterations=12)


@pytest.mark.parametrize("game", [by_hand.GAME, by_hand.CYCLE])
def test_the_average_is_exploitable_by_one_over_the_number_of_steps(game):
    """At most log(1 / p_min) / (eta T), in every context; mirror descent gets no such rate."""
    etas = jnp.array([0.1, 0.4, 0.5**0.5])

    def gaps(eta):
        run = apo.solve(game, OptimisticMD(eta), iterations=400, save=("average", "path"))
        return run.average_suboptimality, run.path.log_policy

    found, paths = jax.vmap(gaps)(etas)
    least = np.log(1 / by_hand.reference(game).min(axis=1))
    steps = np.asarray(etas)[:, None, None] * np.arange(1, 401)[:, None]
    averages = np.cumsum(np.exp(paths[:, 1:]), axis=1) / np.arange(1, 401)[:, None, None]
    rates = np.einsum("xij,etxj->etxi", game.preference, averages)
    worst = rates.max(axis=-1) - 0.5
    assert np.all(worst <= least / steps)
    np.testing.assert_allclose(worst @ np.asarray(game.context_probs), found, rtol=1e-9)
    alone = apo.solve(game, OptimisticMD(0.4), iterations=400, save="average")
    np.testing.assert_allclose(alone.average_suboptimality, found[1], rtol=1e-9)


def test_the_last_policy_settles_where_that_of_mirror_descent_runs_round():
    game, eta = by_hand.CYCLE, 0.7
    optimistic = apo.solve(game, OptimisticMD(eta), iterations=3_000)
    plain = apo.solve(game, Proximal(apo.SPPO(), beta=1 / eta), iterations=3_000)
    np.testing.assert_allclose(jnp.exp(optimistic.final_log_policy), 1 / 3, rtol=1e-9)
    assert optimistic.suboptimality[-1] < 1e-12
    assert plain.suboptimality[-1] > 0.4


def test_a_continued_run_is_the_whole_run():
    by_hand.check_continued(SCHEDULED)


def test_samples_miss_by_one_over_their_root():
    by_hand.check_rate(OptimisticMD(1.0))


@pytest.mark.parametrize("value", by_hand.NO_STEP)
def test_no_step(value):
    by_hand.check_refused(OptimisticMD, "learning_rate", value)


@pytest.mark.parametrize("value", by_hand.NO_RANKER)
def test_no_ranker(value):
    by_hand.check_refused(OptimisticMD, "ranker", value)


def test_a_short_schedule():
    by_hand.check_short(OptimisticMD, "learning_rate")
