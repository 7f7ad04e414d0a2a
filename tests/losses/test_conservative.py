"""DPO that expects wrong labels: against its definition, SciPy, and labels that are flipped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from scipy.special import expit, log_expit, logit

import apo_sim as apo
from apo_sim.losses import Extra, derivatives, population_rewards
from apo_sim.losses.loss import between_by_differences
from apo_sim.proximal import rewards_from_counts

NOISE = st.floats(0.0, 0.49)
BANDIT = apo.families.uniform_bandit(jax.random.key(0), contexts=2, arms=4)


def logistic(d):
    return -log_expit(d)


DEFINED = {
    apo.ConservativeDPO: lambda e, d: (1 - e) * logistic(d) + e * logistic(-d),
    apo.RobustDPO: lambda e, d: ((1 - e) * logistic(d) - e * logistic(-d)) / (1 - 2 * e),
}


@pytest.mark.parametrize("kind", DEFINED)
@given(NOISE, st.floats(-30.0, 30.0), st.floats(-30.0, 30.0))
def test_values_are_those_of_the_definition(kind, noise, winner, loser):
    found = kind(noise)(jnp.asarray(winner), jnp.asarray(loser), Extra())
    expected = DEFINED[kind](noise, winner - loser)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-10 / (1 - 2 * noise))


@pytest.mark.parametrize("loss", [apo.ConservativeDPO(0.2), apo.RobustDPO(0.2)])
def test_derivatives_are_those_of_the_loss(loss):
    difference = jnp.linspace(-20.0, 20.0, 41)

    def value(d):
        return loss(d, jnp.zeros_like(d), Extra())

    found = derivatives(loss, difference)
    np.testing.assert_allclose(found[0], value(difference), rtol=1e-13)
    slope = jax.vmap(jax.grad(value))(difference)
    np.testing.assert_allclose(found[1], slope, rtol=1e-11, atol=1e-13)
    scores = jnp.array([[0.3], [-1.0], [2.0]])
    between = loss.derivatives_between(jnp.exp(scores), jnp.exp(scores[:, None]))
    for one, other in zip(
        between, between_by_differences(loss, scores, scores[:, None]), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-13)


def learned(loss, share, bound):
    """What is learned of two arms from a share of wins: the difference of the rewards."""
    wins = 1e6 * jnp.array([[[0.0, share], [1.0 - share, 0.0]]])
    even = jnp.log(jnp.full((1, 2), 0.5))
    numbers = jnp.array(1.0), jnp.array(bound)
    rewards, _ = rewards_from_counts(loss, wins, even, *numbers)
    return float(rewards[0, 0] - rewards[0, 1])


@pytest.mark.parametrize("share", [0.5, 0.7, 0.95, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_two_arms_have_the_targets_of_the_literature(share, noise):
    conservative = logit(share * (1 - noise) + (1 - share) * noise) if noise or share < 1 else 8.0
    assert learned(apo.ConservativeDPO(noise), share, 4.0) == pytest.approx(conservative, abs=1e-6)
    clean = min((share - noise) / (1 - 2 * noise), 1.0)
    robust = min(logit(clean), 8.0) if clean < 1 else 8.0
    assert learned(apo.RobustDPO(noise), share, 4.0) == pytest.approx(robust, abs=1e-6)


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_robust_is_unbiased_under_flipped_labels_and_conservative_is_not(noise):
    flipped = apo.Flipped(apo.Pairwise(), noise)

    def gap_from_exact(loss):
        found = apo.run(BANDIT, loss, beta=1.0, iterations=3, ranker=flipped)
        exact = apo.run(BANDIT, beta=1.0, iterations=3)
        return float(jnp.max(jnp.abs(found.final_log_policy - exact.final_log_policy)))

    assert gap_from_exact(apo.RobustDPO(noise)) < 1e-6
    assert gap_from_exact(apo.DPO()) > 0.1
    assert gap_from_exact(apo.ConservativeDPO(noise)) > gap_from_exact(apo.DPO())


@pytest.mark.parametrize("loss", [apo.ConservativeDPO(0.2), apo.RobustDPO(0.05)])
def test_the_step_from_counts_is_scipys(loss):
    rng = np.random.default_rng(0)
    wins = rng.poisson(20, (5, 4, 4)) * (1.0 - np.eye(4))
    even = jnp.log(jnp.full((5, 4), 0.25))
    numbers = jnp.array(1.0), jnp.array(4.0)
    rewards, _ = rewards_from_counts(loss, jnp.asarray(wins), even, *numbers)
    for one, found in zip(wins, np.asarray(rewards), strict=True):

        def mean(r, one=one):
            d = r[:, None] - r
            return np.sum(one * DEFINED[type(loss)](loss.noise, d)) / one.sum()

        best = optimize.minimize(mean, np.zeros(4), method="BFGS", options={"gtol": 1e-9}).x
        np.testing.assert_allclose(found - found.mean(), best - best.mean(), atol=1e-6)


@pytest.mark.parametrize("loss", [apo.ConservativeDPO(0.2), apo.RobustDPO(0.05)])
def test_the_mean_over_pairs_is_that_of_the_cells(loss):
    policy = jax.nn.softmax(BANDIT.log_ref)
    scores = jax.random.normal(jax.random.key(1), (2, 4))
    win_rate = BANDIT.win_rate(BANDIT.log_ref)
    found = loss.population_loss(scores, policy, win_rate, Extra())
    cells = apo.Pairwise().cells(BANDIT, BANDIT.log_ref)
    values = loss(scores[:, :, None], scores[:, None, :], Extra())
    np.testing.assert_allclose(found, jnp.sum(cells * values, axis=(1, 2)), rtol=1e-12)
    assert population_rewards(loss, BANDIT, BANDIT.log_ref) is None


def test_without_noise_both_are_dpo():
    d = np.linspace(-5, 5, 11)
    for kind in DEFINED:
        found = kind(0.0)(jnp.asarray(d), jnp.zeros(11), Extra())
        np.testing.assert_allclose(found, logistic(d), rtol=1e-14)
    assert expit(0.0) == 0.5


@pytest.mark.parametrize("noise", [-0.1, 0.5, 1.0, np.nan, "0.1", [0.1, 0.2]])
@pytest.mark.parametrize("kind", DEFINED)
def test_what_is_no_share_is_refused(kind, noise):
    with pytest.raises(apo.InvalidArgument, match="noise"):
        kind(noise)
