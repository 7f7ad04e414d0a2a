"""INPO: the rule and the loss behind it, the way to the regularised equilibrium, bad input."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import games_by_hand as by_hand

import apo_sim as apo
from apo_sim.methods.inpo import INPO

ETAS, PULLS = [0.9, 0.5, 2.0, 0.1], [0.1, 0.3, 0.05, 1.0]
SCHEDULED = INPO(jnp.array(ETAS), jnp.array(PULLS))


class Rule:
    """Online mirror descent of the paper, whose eta is 1 / eta here and whose tau is pull / eta."""

    def __init__(self, game):
        self.policy = self.asked = self.reference = by_hand.reference(game)

    def learn(self, rates, t):
        inverse, price = 1 / ETAS[t], PULLS[t] / ETAS[t]
        own, given = self.policy ** (1 - price / inverse), self.reference ** (price / inverse)
        self.policy = self.asked = by_hand.normalised(own * given * np.exp(rates / inverse))


def test_by_hand():
    by_hand.check_by_hand(Rule(by_hand.GAME), SCHEDULED)
    by_hand.check_samples_by_hand(Rule(by_hand.GAME), SCHEDULED)


def test_a_step_minimises_the_loss_of_the_paper():
    """The mean of (h(winner) - h(loser) - eta / 2)^2 over pairs of pi_t, by least squares."""
    game, (eta, pull) = by_hand.GAME, (1.7, 0.2)
    path = jnp.exp(apo.solve(game, INPO(eta, pull), iterations=2, save="path").path.log_policy)
    ref, old, new = np.asarray(path)
    for x, preference in enumerate(np.asarray(game.preference)):
        rows, targets = [], []
        for i, j in np.ndindex(preference.shape):
            weight = np.sqrt(old[x, i] * old[x, j] * preference[i, j])
            row = np.zeros(len(preference))
            row[i] += weight
            row[j] -= weight
            rows.append(row)
            targets.append(weight * eta / 2)
        h = np.linalg.lstsq(np.stack(rows), np.array(targets), rcond=None)[0]
        found = np.exp(h) * old[x] ** (1 - pull) * ref[x] ** pull
        np.testing.assert_allclose(new[x], found / found.sum(), rtol=1e-9)


@pytest.mark.parametrize("game", [by_hand.GAME, by_hand.CYCLE])
def test_it_goes_to_the_regularised_equilibrium_at_a_linear_rate(game):
    """KL_t <= (1 - pull)^t KL_0, at the longest step for which that is claimed."""
    pulls = jnp.array([0.03, 0.2, 0.5])
    etas = 2.0 * jnp.sqrt(pulls * (1.0 - pulls))

    def path(eta, pull):
        return apo.solve(game, INPO(eta, pull), iterations=100, save="path").path.log_policy

    paths = jax.vmap(path)(etas, pulls)
    targets = [by_hand.equilibrium(game, price) for price in np.asarray(pulls / etas)]
    for pull, target, policies in zip(np.asarray(pulls), targets, paths, strict=True):
        left = by_hand.divergences(target, policies)
        assert np.all(left <= (1 - pull) ** np.arange(101)[:, None] * left[0] + 1e-13)
    np.testing.assert_allclose(jnp.exp(paths[2, -1]), targets[2], rtol=1e-9)
    alone = apo.solve(game, INPO(etas[0], pulls[0]), iterations=100, save="path").path.log_policy
    np.testing.assert_allclose(paths[0], alone, rtol=1e-12)


def test_a_continued_run_is_the_whole_run():
    by_hand.check_continued(SCHEDULED)


def test_samples_miss_by_one_over_their_root():
    by_hand.check_rate(INPO(1.0, 0.2))


@pytest.mark.parametrize("value", by_hand.NO_STEP)
def test_no_step(value):
    by_hand.check_refused(INPO, "learning_rate", value)


@pytest.mark.parametrize("value", by_hand.NO_SHARE)
def test_no_pull(value):
    by_hand.check_refused(INPO, "pull", value)


@pytest.mark.parametrize("value", by_hand.NO_RANKER)
def test_no_ranker(value):
    by_hand.check_refused(INPO, "ranker", value)


@pytest.mark.parametrize("name", ["learning_rate", "pull"])
def test_a_short_schedule(name):
    by_hand.check_short(INPO, name)
