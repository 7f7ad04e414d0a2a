"""Exploratory preference optimisation against SciPy, the sign of its bonus, and rates."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.special import log_expit

import apo_sim as apo
from apo_sim.methods.xpo import XPO, PolicyAgainstReference
from apo_sim.proximal import rewards_from_counts

sys.path.insert(0, str(Path(__file__).parent))
from rates_by_hand import check_slopes

Bandit: Any = apo.Bandit
RNG = np.random.default_rng(0)
REWARD: Any = RNG.uniform(-1, 1, size=(2, 4))
REFERENCE: Any = RNG.dirichlet(np.full(4, 2.0), size=2)
CONTEXTS: Any = np.array([0.35, 0.65])
BANDIT = Bandit(REWARD, np.log(REFERENCE), CONTEXTS)
BETA, BOUND = 0.7, 1.5


def slow_objective(wins, reference, start, alpha, beta):
    """The paper's sum over pairs, divided by their number, of scores in one context."""

    def value(scores):
        log_policy = np.log(start) + scores / beta
        log_policy = log_policy - np.logaddexp.reduce(log_policy)
        total = 0.0
        for i in range(4):
            total += alpha * reference[i] * log_policy[i]
            for j in range(4):
                lead = beta * (log_policy[i] - log_policy[j] - np.log(start[i] / start[j]))
                total -= wins[i, j] * log_expit(lead)
        return total / reference.sum()

    return value


def slow_policies(wins, reference, alpha, beta):
    """The lowest of several minimisations by SciPy, in each context."""
    policies = np.empty((2, 4))
    for x in range(2):
        value = slow_objective(wins[x], reference[x], REFERENCE[x], alpha, beta)
        found: Any = min(
            (
                optimize.minimize(
                    value,
                    start,
                    method="L-BFGS-B",
                    bounds=[(-BOUND, BOUND)] * 4,
                    options={"ftol": 1e-16, "gtol": 1e-10},
                )
                for start in np.random.default_rng(1).uniform(-BOUND, BOUND, size=(4, 4))
            ),
            key=lambda one: one.fun,
        )
        weights = REFERENCE[x] * np.exp(found.x / beta)
        policies[x] = weights / weights.sum()
    return policies


# One program for all that call one of these: `solve` compiles it once.
def run(alpha, beta, key, number):
    method = XPO(alpha, beta, BOUND)
    return apo.solve(BANDIT, method, iterations=2, samples=number, key=key)


def run_exactly(alpha, beta):
    return apo.solve(BANDIT, XPO(alpha, beta, BOUND), iterations=2, save="path")


@jax.jit
def rewards_of_dpo(wins, beta):
    log_ref, bound = jnp.log(jnp.asarray(REFERENCE)), jnp.array(BOUND)
    return rewards_from_counts(apo.DPO(), wins, log_ref, beta, bound)[0]


@pytest.mark.parametrize("alpha", [0.0, 0.03])
def test_exact_preferences_give_the_minimisers_that_scipy_finds(alpha):
    found = run_exactly(alpha, BETA)
    assert found.path is not None
    policies = np.exp(np.asarray(found.path.log_policy))
    wins, reference = np.zeros((2, 4, 4)), np.zeros((2, 4))
    chance = 1 / (1 + np.exp(REWARD[:, None, :] - REWARD[:, :, None]))
    for t in range(2):
        for x in range(2):
            for i in range(4):
                for j in range(4):
                    drawn = CONTEXTS[x] * policies[t][x, i] * REFERENCE[x, j]
                    wins[x, i, j] += drawn * chance[x, i, j]
                    wins[x, j, i] += drawn * (1 - chance[x, i, j])
                    reference[x, j] += drawn
        np.testing.assert_allclose(
            policies[t + 1], slow_policies(wins, reference, alpha, BETA), atol=1e-6
        )
    np.testing.assert_allclose(found.state.data.wins, wins, atol=1e-12)
    np.testing.assert_allclose(found.state.data.reference, reference, atol=1e-12)
    assert float(found.residual.max()) < 1e-9 and float(found.curvature.min()) > 0


@pytest.mark.parametrize("number", [15.0, 400.0])
def test_a_sample_gives_the_minimiser_that_scipy_finds(number):
    found = run(0.03, BETA, jax.random.key(int(number)), number)
    data = found.state.data
    wins, reference = np.asarray(data.wins), np.asarray(data.reference)
    assert wins.sum() == reference.sum() == 2 * number
    best = slow_policies(wins, reference, 0.03, BETA)
    np.testing.assert_allclose(np.exp(found.final_log_policy), best, atol=2e-6)


@pytest.mark.parametrize("beta", [0.1, 0.7])
@pytest.mark.parametrize("alpha", [0.3, 20.0])
def test_where_it_is_not_convex_the_point_is_stationary_and_below_dpos(alpha, beta):
    found = run(alpha, beta, jax.random.key(5), 15.0)
    data = found.state.data
    dpo = rewards_of_dpo(data.wins, beta)
    assert float(found.residual.max()) < 1e-8 * (1 + alpha / beta)
    for x in range(2):
        value = slow_objective(data.wins[x], data.reference[x], REFERENCE[x], alpha, beta)
        scores = beta * (np.asarray(found.final_log_policy[x]) - np.log(REFERENCE[x]))
        scores = scores - 0.5 * (scores.max() + scores.min())
        assert np.ptp(scores) <= 2 * BOUND + 1e-9
        slope = optimize.approx_fprime(scores, value, 1e-7)
        moved = np.clip(scores - slope, -BOUND, BOUND) - scores
        np.testing.assert_allclose(moved, 0.0, atol=3e-6 * (1 + alpha / beta))
        assert value(scores) < value(np.asarray(dpo[x])) - 1e-3


def test_the_bonus_takes_probability_from_what_the_reference_gives():
    """The sign: one public release has it the other way round."""

    def familiar(alpha):
        found = run_exactly(alpha, BETA)
        assert found.path is not None
        after_one = np.asarray(found.path.log_policy[1])
        return CONTEXTS @ np.sum(REFERENCE * after_one, axis=1)

    bonuses = [familiar(alpha) for alpha in (0.0, 0.01, 0.03, 0.1)]
    assert np.all(np.diff(bonuses) < -1e-3)


def test_an_arm_that_nobody_has_seen_is_believed_to_be_the_best():
    """Its reward goes as far up as the bound lets it, where DPO leaves its probability alone."""
    rare = 1e-9
    bandit = Bandit([[0.0, 0.3, 1.0]], np.log([[0.4, 0.6 - rare, rare]]))

    def policy(alpha):
        method = XPO(alpha, beta=0.5, reward_bound=2.0)
        found = apo.solve(bandit, method, iterations=1, samples=40, key=jax.random.key(0))
        assert float(found.state.data.wins[0, 2].sum() + found.state.data.wins[0, :, 2].sum()) == 0
        return np.exp(np.asarray(found.final_log_policy[0])), found.state.data

    (plain, _), (bold, data) = policy(0.0), policy(0.02)
    assert plain[2] == pytest.approx(rare, rel=1e-6)
    scores = 0.5 * np.log(bold / np.array([0.4, 0.6 - rare, rare]))
    assert scores[2] - scores[:2].min() == pytest.approx(4.0, abs=1e-6)
    assert float(data.reference.sum()) == 40.0


def test_pairs_are_one_response_of_each():
    """Counts of many pairs against their law, in standard errors."""
    behaviour = jnp.log(jnp.asarray(np.random.default_rng(2).dirichlet(np.ones(4), size=2)))
    request, number = PolicyAgainstReference(), 1e6
    law = request.exact(BANDIT, behaviour)
    drawn = jax.jit(request.draw)(jax.random.key(0), BANDIT, behaviour, number)
    for one, other in ((law.wins, drawn.wins), (law.reference, drawn.reference)):
        share = np.asarray(one)
        error = np.sqrt(share * (1 - share) / number)
        assert np.all(np.abs(np.asarray(other) / number - share) < 4.5 * error)
    np.testing.assert_allclose(law.reference, CONTEXTS[:, None] * REFERENCE, rtol=1e-12)


def test_the_error_falls_as_one_over_the_root_of_the_labels():
    seeds, numbers = 200, np.array([1e4, 1e5, 1e6])
    wanted = run_exactly(0.03, BETA).path.log_policy[1]

    @jax.jit
    def squares(number):
        def one(key):
            method = XPO(0.03, BETA, BOUND)
            found = apo.solve(BANDIT, method, iterations=1, samples=number, key=key)
            return jnp.sum((jnp.exp(found.final_log_policy) - jnp.exp(wanted)) ** 2)

        return jax.vmap(one)(jax.random.split(jax.random.key(1), seeds))

    drawn = np.array([squares(number) for number in numbers])
    check_slopes(drawn, numbers)


def test_a_run_that_goes_on_is_the_whole_run():
    method, key = XPO(0.03, BETA, BOUND), jax.random.key(7)
    half = apo.solve(BANDIT, method, iterations=1, samples=50, key=key)
    rest = apo.solve(BANDIT, method, iterations=1, samples=50, state=half.state)
    whole = run(0.03, BETA, key, 50)
    np.testing.assert_array_equal(rest.final_log_policy, whole.final_log_policy)


def test_weights_of_the_bonus_may_be_mapped_over():
    alphas = jnp.array([0.0, 0.03])
    found = jax.vmap(lambda alpha: run_exactly(alpha, BETA).final_log_policy)(alphas)
    for one, alpha in zip(found, alphas, strict=True):
        np.testing.assert_allclose(one, run_exactly(alpha, BETA).final_log_policy, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", -0.1),
        ("alpha", np.nan),
        ("beta", 0.0),
        ("beta", [1.0]),
        ("reward_bound", -1.0),
        ("reward_bound", "2"),
    ],
)
def test_what_is_out_of_range_is_refused(name, value):
    with pytest.raises(apo.InvalidArgument, match=name):
        XPO(**{name: value})


def test_a_bound_beyond_which_the_loss_is_flat_is_refused():
    with pytest.raises(apo.InvalidArgument, match="reward_bound"):
        apo.solve(BANDIT, XPO(reward_bound=1e4), iterations=1)


def test_wrong_labels_give_the_odds_of_what_is_seen():
    """Two arms, no bonus: beta log-odds of the policy are those of p (1 - e) + (1 - p) e."""
    bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.25, 0.75]])))
    method = XPO(alpha=0.0, beta=0.5, flipped=0.1)
    found = apo.solve(bandit, method, iterations=1).final_log_policy[0]
    p = 1.0 / (1.0 + np.exp(-1.0))
    seen = 0.9 * p + 0.1 * (1.0 - p)
    odds = 0.5 * float(found[0] - found[1] - np.log(1.0 / 3.0))
    assert odds == pytest.approx(np.log(seen / (1.0 - seen)), abs=1e-9)
