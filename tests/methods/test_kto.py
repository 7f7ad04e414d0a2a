"""Kahneman-Tversky optimisation against SciPy, closed forms of few arms, and rates."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit

import apo_sim as apo
from apo_sim.methods.kto import KTO

sys.path.insert(0, str(Path(__file__).parent))
from rates_by_hand import check_slopes

Bandit: Any = apo.Bandit
RNG = np.random.default_rng(0)
REWARD: Any = RNG.uniform(-1, 1, size=(2, 4))
REFERENCE: Any = np.array([[0.6, 0.3, 0.06, 0.04], [0.03, 0.07, 0.2, 0.7]])
CONTEXTS: Any = np.array([0.35, 0.65])
BANDIT = Bandit(REWARD, np.log(REFERENCE), CONTEXTS)
BETA, BOUND = 0.6, 1.2


def slow_policy(weight, reference, beta, bound, anchor):
    """The best policy of one context for an anchor, by SciPy from many starts."""
    floor = reference * np.exp(-bound / beta)

    def loss(policy):
        return -np.sum(weight * expit(beta * np.log(policy / reference) - anchor))

    starts = [reference, *(floor + (1 - floor.sum()) * np.eye(len(floor)))]
    found = [
        optimize.minimize(
            loss,
            0.9 * start + 0.1 * reference,
            method="SLSQP",
            bounds=[(low, 1.0) for low in floor],
            constraints=[{"type": "eq", "fun": lambda policy: policy.sum() - 1}],
            options={"ftol": 1e-15, "maxiter": 2000},
        )
        for start in starts
    ]
    return min(found, key=lambda each: each.fun).x


def slow_policies(liked, disliked, undesirable, beta, bound):
    """All contexts, at the anchor that the policies have; and the anchor."""
    drawn = (liked + disliked) / (liked + disliked).sum()
    weight = liked - undesirable * disliked

    def at(anchor):
        return np.array([
            slow_policy(w, r, beta, bound, anchor)
            for w, r in zip(weight, REFERENCE, strict=True)
        ])  # fmt: skip

    def excess(anchor):
        scores = beta * np.log(at(anchor) / REFERENCE)
        return anchor - drawn.sum(axis=1) @ scores @ drawn.sum(axis=0)

    anchor = 0.0 if excess(0.0) >= 0 else optimize.brentq(excess, 0.0, 5.0, xtol=1e-9)
    return at(anchor), anchor


# One program for all that call it: `solve` compiles it once.
def run(method, key, number):
    return apo.solve(BANDIT, method, iterations=2, samples=number, key=key)


@jax.jit
def run_exactly(method, bandit=BANDIT):
    return apo.solve(bandit, method, iterations=1)


def exact_labels():
    chance = expit(REWARD[:, :, None] - REWARD[:, None, :])
    won = np.einsum("xij,xj->xi", chance, REFERENCE)
    drawn = CONTEXTS[:, None] * REFERENCE
    return drawn * won, drawn * (1 - won)


@pytest.mark.parametrize("undesirable", [1.0, 1.2, 4.0])
@pytest.mark.parametrize("beta", [0.25, BETA, 1.0])
def test_exact_preferences_give_the_maximiser_that_scipy_finds(undesirable, beta):
    found = run_exactly(KTO(beta, undesirable=undesirable, reward_bound=BOUND))
    liked, disliked = exact_labels()
    best, anchor = slow_policies(liked, disliked, undesirable, beta, BOUND)
    np.testing.assert_allclose(np.exp(found.final_log_policy), best, atol=2e-6)
    assert float(found.series["anchor"][0]) == pytest.approx(anchor, abs=1e-6)
    assert float(found.series["residual"][0]) < 1e-9


def test_the_anchor_is_solved_for_where_it_is_not_zero():
    """A small bound keeps the mass of arms that are common elsewhere, and rare here."""
    bandit = Bandit([[1.0, 0.0], [1.0, 0.0]], np.log([[0.9, 0.1], [0.02, 0.98]]), [0.5, 0.5])
    found = run_exactly(KTO(1.0, reward_bound=0.1), bandit)
    shift = np.exp(found.final_log_policy) / np.exp(bandit.log_ref)
    mean = 0.5 * np.log(shift).sum(axis=0) @ np.mean(np.exp(bandit.log_ref), axis=0)
    assert mean > 0.1
    assert float(found.series["anchor"][0]) == pytest.approx(mean, abs=1e-9)


def test_a_sample_gives_the_maximiser_that_scipy_finds():
    found = run(KTO(BETA, reward_bound=BOUND), jax.random.key(0), 400)
    liked, disliked = (np.asarray(each) for each in (found.state.data.desirable,
                                                     found.state.data.undesirable))  # fmt: skip
    assert liked.sum() + disliked.sum() == 800
    best, _ = slow_policies(liked, disliked, 1.0, BETA, BOUND)
    np.testing.assert_allclose(np.exp(found.final_log_policy), best, atol=2e-6)


@pytest.mark.parametrize("lead", [1e-3, 0.3, 3.0])
@pytest.mark.parametrize("rare", [1e-6, 0.5])
def test_of_two_arms_the_majority_takes_all_that_the_bound_lets_go(lead, rare):
    log_ref = np.log([[rare, 1 - rare], [0.5, 0.5]])
    bandit = Bandit([[lead, 0.0], [0.0, 1.0]], log_ref, [0.5, 0.5])
    found = run_exactly(KTO(0.2, reward_bound=3.0), bandit)
    kept = float(found.final_log_policy[0, 1])
    assert kept == pytest.approx(np.log1p(-rare) - 3.0 / 0.2, abs=1e-9)


def test_all_arms_above_the_average_share_the_mass():
    reward = np.array([[1.0, 0.9, 0.8, -1.0], [0.0, -1.0, 1.0, -1.0]])
    bandit = Bandit(reward, np.log(np.full((2, 4), 0.25)), CONTEXTS)
    found = run_exactly(KTO(0.3, reward_bound=10.0), bandit)
    policy = np.exp(found.final_log_policy)
    assert policy[0, 0] > policy[0, 1] > policy[0, 2] > 0.25 > 1e-14 > policy[0, 3]
    assert policy[1, 2] > policy[1, 0] > 0.1 > 1e-14 > np.max(policy[1, [1, 3]])


def test_labels_that_tell_nothing_leave_the_reference():
    even = Bandit(np.full((2, 4), 0.7), np.log(REFERENCE), CONTEXTS)
    found = run_exactly(KTO(), even)
    np.testing.assert_allclose(np.exp(found.final_log_policy), REFERENCE, atol=1e-12)


def test_where_all_are_disliked_one_arm_takes_the_mass():
    found = run_exactly(KTO(0.5, undesirable=50.0, reward_bound=2.0))
    scores = 0.5 * np.log(np.exp(found.final_log_policy) / REFERENCE)
    assert np.all(np.sum(scores > -2.0 + 1e-9, axis=1) == 1)


def test_the_anchor_takes_the_gradient_that_the_loss_gives_it():
    """A step of the loss's own gradient leads nowhere from the solution that the bound allows."""
    method = KTO(BETA, reward_bound=BOUND)
    found = run_exactly(method)
    data = method.request.exact(BANDIT, BANDIT.log_ref)

    def mean(log_policy):
        scores = BETA * (jax.nn.log_softmax(log_policy, axis=1) - BANDIT.log_ref)
        return data.mean(apo.KTO(), scores)

    slope = np.asarray(jax.grad(mean)(found.final_log_policy))
    policy = np.exp(found.final_log_policy)
    scores = BETA * (np.asarray(found.final_log_policy) - np.log(REFERENCE))
    worth = -slope / policy
    for x in range(2):
        inside = scores[x] > -BOUND + 1e-9
        assert inside.sum() >= 1
        np.testing.assert_allclose(worth[x][inside], worth[x][inside].mean(), atol=1e-9)
        assert np.all(worth[x][~inside] < worth[x][inside].mean())


def test_the_error_falls_as_one_over_the_root_of_the_labels():
    seeds, numbers = 200, np.array([1e5, 1e6, 1e7])
    method = KTO(BETA, reward_bound=BOUND)
    wanted = run_exactly(method).final_log_policy

    @jax.jit
    def squares(number):
        def one(key):
            found = apo.solve(BANDIT, method, iterations=1, samples=number, key=key)
            return jnp.sum((jnp.exp(found.final_log_policy) - jnp.exp(wanted)) ** 2)

        return jax.vmap(one)(jax.random.split(jax.random.key(1), seeds))

    check_slopes(np.array([squares(number) for number in numbers]), numbers)


def test_a_run_that_goes_on_is_the_whole_run():
    method, key = KTO(BETA, reward_bound=BOUND), jax.random.key(7)
    half = apo.solve(BANDIT, method, iterations=1, samples=50, key=key)
    rest = apo.solve(BANDIT, method, iterations=1, samples=50, state=half.state)
    whole = run(method, key, 50)
    np.testing.assert_array_equal(rest.final_log_policy, whole.final_log_policy)


def test_weights_may_be_mapped_over():
    betas = jnp.array([0.3, 0.6])
    found = jax.vmap(lambda beta: run_exactly(KTO(beta)).final_log_policy)(betas)
    for one, beta in zip(found, betas, strict=True):
        alone = run_exactly(KTO(jnp.asarray(beta))).final_log_policy
        np.testing.assert_allclose(one, alone, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beta", 0.0),
        ("beta", 1.5),
        ("beta", [0.1]),
        ("desirable", 0.0),
        ("undesirable", np.nan),
        ("reward_bound", -1.0),
        ("ranker", "pairwise"),
    ],
)
def test_what_is_out_of_range_is_refused(name, value):
    with pytest.raises(apo.InvalidArgument, match=name):
        KTO(**{name: value})
