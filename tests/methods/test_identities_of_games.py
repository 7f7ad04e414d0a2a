"""What the methods for games are to one another, and where they are not."""

import itertools
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import games_by_hand as by_hand

import apo_sim as apo
from apo_sim.methods import Proximal
from apo_sim.methods.dno import DNO
from apo_sim.methods.egpo import EGPO
from apo_sim.methods.inpo import INPO
from apo_sim.methods.magnetic_md import MagneticMD
from apo_sim.methods.nash_md import NashMD
from apo_sim.methods.optimistic_md import OptimisticMD

ETA, PULL = 1.2, 0.3


def path(method, game=by_hand.GAME, iterations=12):
    return apo.solve(game, method, iterations=iterations, save="path").path


def additive_game():
    """P(y > y') = 1/2 + u(y) - u(y'): against any policy the win rates are u, up to a constant."""
    worth = jnp.array([[0.3, 0.05, -0.1, 0.2], [-0.2, 0.25, 0.1, 0.0]])
    return apo.Game(0.5 + worth[:, :, None] - worth[:, None, :], by_hand.GAME.log_ref)


def test_inpo_is_nash_md_with_itself_as_the_opponent():
    """On an additive game, where opponents make no difference, the two are one."""
    game = additive_game()
    nash, inpo = path(NashMD(ETA, PULL), game), path(INPO(ETA, PULL), game)
    np.testing.assert_allclose(nash.log_policy, inpo.log_policy, rtol=1e-12)
    assert np.abs(nash.behaviour - inpo.behaviour).max() > 0.01
    # And on any game if the mixture's win rates are replaced by the policy's own.
    policies = np.exp(np.asarray(path(INPO(ETA, PULL)).log_policy))
    ref = by_hand.reference(by_hand.GAME)
    for old, new in itertools.pairwise(policies):
        mixture = old ** (1 - PULL) * ref**PULL
        rates = by_hand.rates_by_hand(by_hand.GAME, old)
        np.testing.assert_allclose(by_hand.normalised(mixture * np.exp(ETA * rates)), new)


def test_inpo_differs_from_nash_md_from_the_second_step_on():
    """Both begin at the reference, where the mixture is the policy."""
    nash, inpo = path(NashMD(ETA, PULL)).log_policy, path(INPO(ETA, PULL)).log_policy
    np.testing.assert_allclose(nash[1], inpo[1], rtol=1e-12)
    assert np.abs(nash[2] - inpo[2]).max() > 0.01


def test_magnetic_md_is_inpo_in_other_parameters():
    """eta = learning_rate / (1 - pull) and a = pull / learning_rate, the same price on leaving."""
    inpo, magnetic = path(INPO(ETA, PULL)), path(MagneticMD(ETA / (1 - PULL), PULL / ETA))
    np.testing.assert_allclose(magnetic.log_policy, inpo.log_policy, rtol=1e-12)


def test_inpo_of_pull_one_is_the_limit_of_an_endless_magnetic_step():
    """There the way back to eta = learning_rate / (1 - pull) ends; both are best replies."""
    inpo, magnetic = path(INPO(ETA, 1.0)), path(MagneticMD(1e12, 1.0 / ETA))
    np.testing.assert_allclose(magnetic.log_policy, inpo.log_policy, rtol=1e-9)


def test_a_magnet_that_moves_every_time_is_mirror_descent():
    """At the step eta / (1 + eta a): magnet and policy are one."""
    eta, price = 0.8, 0.5
    moving = path(MagneticMD(eta, price, refresh=1))
    plain = path(Proximal(apo.SPPO(), beta=1 / eta + price))
    np.testing.assert_allclose(moving.log_policy, plain.log_policy, rtol=1e-12)


def test_optimism_does_nothing_where_win_rates_do_not_change():
    game = additive_game()
    optimistic, plain = path(OptimisticMD(ETA), game), path(DNO(1 / ETA), game)
    np.testing.assert_allclose(optimistic.log_policy, plain.log_policy, rtol=1e-12)
    other, plain = path(OptimisticMD(ETA)), path(DNO(1 / ETA))
    np.testing.assert_allclose(other.log_policy[1], plain.log_policy[1], rtol=1e-12)
    assert np.abs(other.log_policy[2] - plain.log_policy[2]).max() > 0.01


def test_a_look_ahead_changes_nothing_where_win_rates_do_not_change():
    """There the full steps of EGPO are the steps of INPO, and the half steps are wasted."""
    game = additive_game()
    ahead = path(EGPO(ETA, PULL), game).log_policy[::2]
    np.testing.assert_allclose(ahead, path(INPO(ETA, PULL), game).log_policy[:7], rtol=1e-12)
    ahead = path(EGPO(ETA, PULL))
    np.testing.assert_allclose(ahead.behaviour[1], path(INPO(ETA, PULL)).log_policy[1], rtol=1e-12)
    assert np.abs(ahead.log_policy[2] - path(INPO(ETA, PULL)).log_policy[1]).max() > 0.01


def test_all_with_a_price_share_one_equilibrium():
    """The price is pull / eta for INPO and EGPO, and a for the magnet."""
    price = 0.25
    target = by_hand.equilibrium(by_hand.GAME, price)
    for method in (INPO(0.4, 0.1), MagneticMD(1.0, price), EGPO(0.24, 0.06)):
        last = apo.solve(by_hand.GAME, method, iterations=800).final_log_policy
        np.testing.assert_allclose(jnp.exp(last), target, rtol=1e-8, err_msg=str(method))
