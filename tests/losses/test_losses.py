"""Losses: known values, their derivatives, and their minimisers against SciPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

import apo_sim as apo
from apo_sim import losses, testing
from apo_sim.losses import Extra, Loss, derivatives, population_rewards
from apo_sim.proximal import rewards_from_counts

# They take lists and NumPy arrays too, which their fields' types, of what they hold, do not say.
Bandit: Any = apo.Bandit

SCORES = st.floats(-50.0, 50.0)
ARMS = 4


def smooth_hinge(h_winner, h_loser, extra):
    return jax.nn.softplus(1.0 - (h_winner - h_loser))


def test_losses_are_losses():
    for loss in (apo.DPO(), apo.IPO(0.5), apo.SPPO(), smooth_hinge):
        assert isinstance(loss, Loss)


@given(SCORES, SCORES)
def test_known_values(h_winner, h_loser):
    winner, loser = jnp.asarray(h_winner), jnp.asarray(h_loser)
    dpo = -scipy.special.log_expit(h_winner - h_loser)
    np.testing.assert_allclose(apo.DPO()(winner, loser, Extra()), dpo, rtol=1e-12, atol=1e-300)
    ipo = (h_winner - h_loser - 2.0) ** 2
    np.testing.assert_allclose(apo.IPO(0.5)(winner, loser, Extra()), ipo, rtol=1e-12, atol=1e-12)
    sppo = 0.5 * (h_winner - 1 + 0.3) ** 2 + 0.5 * (h_loser + 0.3) ** 2
    np.testing.assert_allclose(apo.SPPO()(winner, loser, Extra(0.3)), sppo, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", [apo.DPO(), apo.IPO(0.5), smooth_hinge], ids=["DPO", "IPO", "own"])
def test_derivatives_are_those_of_the_loss(loss):
    difference = jnp.linspace(-20.0, 20.0, 41)

    def value(d):
        return loss(d, jnp.zeros_like(d), Extra())

    found = derivatives(loss, difference)
    np.testing.assert_allclose(found[0], value(difference), rtol=1e-13)
    np.testing.assert_allclose(found[1], jax.vmap(jax.grad(value))(difference), rtol=1e-12)
    np.testing.assert_allclose(
        found[2], jax.vmap(jax.grad(jax.grad(value)))(difference), rtol=1e-6, atol=1e-30
    )
    assert np.all(np.asarray(found[2]) >= 0), "a loss is convex"


def test_logistic_derivatives_never_overflow():
    value, slope, curvature = derivatives(apo.DPO(), jnp.array([-1e300, -800.0, 0.0, 800.0, 1e300]))
    np.testing.assert_array_equal(value, [1e300, 800.0, np.log(2), 0.0, 0.0])
    np.testing.assert_array_equal(slope, [-1.0, -1.0, -0.5, 0.0, 0.0])
    np.testing.assert_array_equal(curvature, [0.0, 0.0, 0.25, 0.0, 0.0])


@given(testing.bandits(1, ARMS, max_log_ratio=3.0))
def test_population_minimisers_have_no_slope(bandit):
    """Of the loss expected over two draws of the reference and the coin of their preference."""
    policy = np.exp(np.asarray(bandit.log_ref))[0]
    preference = np.asarray(bandit.preference)[0]
    weight = policy[:, None] * policy[None, :] * preference
    for loss in (apo.DPO(), apo.IPO(0.5)):
        rewards = population_rewards(loss, bandit, bandit.log_ref)
        assert rewards is not None
        difference = rewards[0][:, None] - rewards[0][None, :]
        slope = weight * np.asarray(derivatives(loss, difference)[1])
        np.testing.assert_allclose(slope.sum(axis=1) - slope.sum(axis=0), 0.0, atol=1e-12)


def test_sppo_population_minimiser_is_the_one_scipy_finds():
    """The scores of responses drawn from the centre, each against what it did: won or lost."""
    rng = np.random.default_rng(0)
    bandit = Bandit(rng.uniform(-1, 1, (1, ARMS)), np.log(rng.dirichlet(np.ones(ARMS)))[None])
    policy = np.exp(np.asarray(bandit.log_ref))[0]
    weight = policy[:, None] * policy[None, :] * np.asarray(bandit.preference)[0]

    def risk(h):
        losses = 0.5 * (h[:, None] - 1) ** 2 + 0.5 * h[None, :] ** 2
        return (weight * losses).sum()

    found = scipy.optimize.minimize(risk, np.zeros(ARMS), method="BFGS", options={"gtol": 1e-11})
    rewards = population_rewards(apo.SPPO(), bandit, bandit.log_ref)
    assert rewards is not None
    np.testing.assert_allclose(rewards[0], found.x, atol=1e-6)


def test_only_bandits_have_a_latent_reward():
    game = apo.families.rock_paper_scissors()
    assert population_rewards(apo.DPO(), game, game.log_ref) is None
    assert population_rewards(smooth_hinge, game, game.log_ref) is None


SPPO_STEP = jax.jit(apo.SPPO().empirical_rewards)


@given(testing.win_counts(1, ARMS, max_count=1000), st.floats(0.01, 1.0))
def test_sppo_learns_the_share_of_comparisons_won(wins, reward_bound):
    wins = np.asarray(wins[0])
    rewards, seen = map(np.asarray, SPPO_STEP(jnp.asarray(wins), jnp.asarray(reward_bound)))
    drawn = wins.sum(axis=1) + wins.sum(axis=0)
    np.testing.assert_array_equal(seen, drawn > 0)
    np.testing.assert_array_equal(rewards[~seen], 0.0)
    if not seen.any():
        return
    assert np.all(np.isfinite(rewards))
    assert np.ptp(rewards[seen]) <= 2 * reward_bound + 1e-9
    share = wins.sum(axis=1)[seen] / drawn[seen]
    if np.ptp(share) <= 2 * reward_bound:
        np.testing.assert_allclose(rewards[seen], share, atol=1e-12)
        return
    # Least squares within a window [low, low + 2 R], by SciPy's minimum over the one number low.
    best: Any = scipy.optimize.minimize_scalar(
        lambda low: drawn[seen] @ (np.clip(share, low, low + 2 * reward_bound) - share) ** 2,
        bounds=(-1.0, 1.0),
        method="bounded",
        options={"xatol": 1e-12},
    )
    error = drawn[seen] @ (rewards[seen] - share) ** 2
    assert error <= best.fun * (1 + 1e-9) + 1e-12


SPPO_REWARDS = jax.jit(lambda *numbers: rewards_from_counts(apo.SPPO(), *numbers)[0])


@given(testing.win_counts(1, ARMS, max_count=1000), testing.policies(1, ARMS))
def test_an_arm_that_sppo_never_saw_keeps_its_probability(wins, log_policy):
    wins, log_policy, beta = jnp.asarray(wins), jnp.asarray(log_policy), 2.0
    rewards = SPPO_REWARDS(wins, log_policy, jnp.array(beta), jnp.array(2.0))
    seen = np.asarray(wins.sum(axis=1) + wins.sum(axis=2))[0] > 0
    if not seen.any():
        np.testing.assert_array_equal(rewards, 0.0)
        return
    moved = jax.nn.log_softmax(log_policy + rewards / beta, axis=1)
    np.testing.assert_allclose(moved[0, ~seen], log_policy[0, ~seen], atol=1e-9)


class Duck:
    """A loss of a user's, with all that one may bring, and no base class."""

    def __call__(self, h_winner, h_loser, extra):
        return (h_winner - h_loser - 1.0) ** 2

    def population_rewards(self, problem, log_policy):
        return problem.win_rate(log_policy)

    def empirical_rewards(self, wins, reward_bound):
        return jnp.zeros(wins.shape[0]), jnp.ones(wins.shape[0], bool)

    def population_loss(self, scores, policy, win_rate, extra):
        return scores[:, 0]

    def derivatives(self, difference):
        return difference**2, 2.0 * difference, 2.0 + 0.0 * difference


# What each brings: a minimiser, one for counts, a mean, derivatives.
BROUGHT = {
    "dpo": (apo.DPO(), (True, False, True, True)),
    "ipo": (apo.IPO(), (True, False, True, False)),
    "sppo": (apo.SPPO(), (True, True, True, False)),
    "function": (smooth_hinge, (False, False, False, False)),
    "own": (Duck(), (True, True, True, True)),
}
KINDS = (
    losses.BringsMinimiser,
    losses.BringsEmpiricalMinimiser,
    losses.BringsMean,
    losses.BringsDerivatives,
)


@pytest.mark.parametrize("name", BROUGHT)
def test_what_a_loss_brings_is_declared(name):
    loss, brought = BROUGHT[name]
    assert tuple(isinstance(loss, kind) for kind in KINDS) == brought
    assert losses.brings_own_minimiser(loss) == brought[1]
    assert not losses.is_pointwise(loss)


def test_what_a_loss_brings_is_used():
    game = apo.families.rock_paper_scissors()
    found = population_rewards(Duck(), game, game.log_ref)
    np.testing.assert_array_equal(found, game.win_rate(game.log_ref))  # type: ignore[arg-type]
    assert float(derivatives(Duck(), jnp.array(3.0))[0]) == 9.0
