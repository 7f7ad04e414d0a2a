"""DNO: its loss brought down by SciPy, which reading is SPPO's step and which not, bad input."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit

sys.path.insert(0, str(Path(__file__).parent))
import games_by_hand as by_hand

import apo_sim as apo
from apo_sim.methods import Proximal
from apo_sim.methods.dno import DNO

BETAS = [0.9, 0.5, 2.0, 0.1]
SCHEDULED = DNO(jnp.array(BETAS))


class Rule:
    """Soft policy iteration, which the paper's algorithm is made for."""

    def __init__(self, game):
        self.policy = self.asked = by_hand.reference(game)

    def learn(self, rates, t):
        self.policy = self.asked = by_hand.normalised(self.policy * np.exp(rates / BETAS[t]))


def fitted(rates, weights):
    """h, which sums to zero, of least log loss over pairs (i, j) of these weights."""
    target = expit(rates[:, None] - rates)

    def loss(h):
        apart = h[:, None] - h
        values = -target * log_expit(apart) - target.T * log_expit(-apart)
        slope = weights * (expit(apart) - target)
        return np.sum(weights * values), 2 * (slope.sum(axis=1) - slope.sum(axis=0))

    # The loss is symmetric in a pair, which is met in both orders.
    assert np.allclose(weights, weights.T)
    found = minimize(loss, np.zeros(len(rates)), jac=True, method="BFGS", options={"gtol": 1e-12})
    return found.x - found.x.mean()


def centred(values):
    return values - values.mean(axis=-1, keepdims=True)


def test_by_hand():
    by_hand.check_samples_by_hand(Rule(by_hand.GAME), SCHEDULED)
    run = by_hand.check_by_hand(Rule(by_hand.GAME), SCHEDULED)
    moved = np.diff(run.path.log_policy, axis=0) * np.array(BETAS)[:, None, None]
    np.testing.assert_allclose(centred(moved), centred(np.asarray(run.path.rewards)), atol=1e-12)


@pytest.mark.parametrize("pairs", ["own", "uniform"])
def test_a_step_minimises_the_log_loss_of_the_paper_whatever_draws_the_pairs(pairs):
    game = by_hand.GAME
    path = apo.solve(game, DNO(0.3), iterations=2, save="path").path.log_policy
    _, old, new = np.asarray(path)
    rates = by_hand.rates_by_hand(game, np.exp(old))
    for x in range(2):
        drawn = np.exp(old[x]) if pairs == "own" else np.full(4, 0.25)
        h = fitted(rates[x], np.outer(drawn, drawn))
        np.testing.assert_allclose(centred(0.3 * (new[x] - old[x])), h, atol=1e-7)


def test_it_is_exact_sppo():
    settings = {"iterations": 20, "save": "path"}
    found = apo.solve(by_hand.CYCLE, DNO(0.7), **settings)
    exact = apo.solve(by_hand.CYCLE, Proximal(apo.SPPO(), beta=0.7), **settings)
    np.testing.assert_allclose(found.path.log_policy, exact.path.log_policy, rtol=1e-10)


def test_least_squares_on_logistic_differences_is_not():
    """Differences of h on s(difference of r) - 1/2 make about a quarter of the step of SPPO."""
    game = by_hand.GAME
    policy = by_hand.reference(game)
    rates = by_hand.rates_by_hand(game, policy)
    for x in range(2):
        rows, targets = [], []
        for i, j in np.ndindex(4, 4):
            weight = np.sqrt(policy[x, i] * policy[x, j])
            rows.append(weight * (np.eye(4)[i] - np.eye(4)[j]))
            targets.append(weight * (expit(rates[x, i] - rates[x, j]) - 0.5))
        h = np.linalg.lstsq(np.stack(rows), np.array(targets), rcond=None)[0]
        apart, own = centred(h), centred(rates[x])
        np.testing.assert_allclose(apart, own / 4, rtol=0.05)
        assert np.abs(apart - own / 4).max() > 1e-4


def test_the_weight_can_be_mapped_over():
    betas = jnp.array([0.3, 1.0, 5.0])

    def last(beta):
        return apo.solve(by_hand.GAME, DNO(beta), iterations=4).final_log_policy

    alone = [last(beta) for beta in betas]
    np.testing.assert_allclose(jax.vmap(last)(betas), jnp.stack(alone), rtol=1e-12)


def test_a_continued_run_is_the_whole_run():
    by_hand.check_continued(SCHEDULED)


def test_samples_miss_by_one_over_their_root():
    by_hand.check_rate(DNO(1.0))


@pytest.mark.parametrize("value", by_hand.NO_STEP)
def test_no_weight(value):
    by_hand.check_refused(DNO, "beta", value)


@pytest.mark.parametrize("value", by_hand.NO_RANKER)
def test_no_ranker(value):
    by_hand.check_refused(DNO, "ranker", value)


def test_a_short_schedule():
    by_hand.check_short(DNO, "beta")
