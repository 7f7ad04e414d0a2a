"""Claims about labels: what they rest on, against ways of finding it that share no code."""

import importlib
import itertools
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit, log_expit

import apo_sim as apo
from apo_sim.claims import f7, f8, f9, f10
from apo_sim.claims.verdict import Study
from apo_sim.methods import MDVI
from apo_sim.methods.kto import KTO

sys.path.insert(0, str(Path(__file__).parent))
from checked import check, of_group

Bandit: Any = apo.Bandit
Labels: Any = importlib.import_module("apo_sim.preferences").Labels


# Of each claim, facts that the first must be less than the second.
ORDERED = {
    "F7": ("gap of the optimum, 5 arms, DPO", "gap of the optimum, 5 arms, KTO"),
    "F8": ("share of samples in which DPO has no minimiser, N = 1,000",
           "share of samples in which DPO has no minimiser, N = 20"),
    "F9": ("1 / (1 - 2e)^2, e = 0.3", "labels one clean label is worth, e = 0.3"),
    "F10": ("gap at equal weight, errors that grow, α = 0.9",
            "gap at equal weight, errors that grow, average"),
}  # fmt: skip


@pytest.mark.parametrize("id", [of_group(id) for id in ORDERED])
def test_the_claims_hold_and_the_facts_are_in_order(id):
    found = check(id)
    assert (found.verdict, found.flaw) == ("holds", None)
    less, more = (found.facts[name] for name in ORDERED[id])
    assert less < more


@jax.jit
def follow(p, ratio, rare, beta):
    log_ref = jnp.log(jnp.stack([rare, 1 - rare]))[None]
    won = jnp.stack([p, 1 - p])[None] / 2
    method = KTO(beta, undesirable=ratio, reward_bound=10.0)
    states = log_ref, log_ref
    (log_policy, _), _ = method.step(
        Bandit(won, log_ref), states, Labels(won, 0.5 - won), jnp.asarray(0)
    )
    return log_policy[0]


@pytest.mark.parametrize(("p", "ratio", "alone"), [(0.6, 1.0, 1), (0.52, 20.0, 2), (0.6, 0.1, 0)])
def test_what_the_map_of_weights_says_is_what_kto_does(p, ratio, alone):
    rare, beta = 0.01, 0.1
    assert int(f7.takes_all(p, ratio, rare, beta)) == alone
    kept = np.exp(follow(p, ratio, rare, beta)) > 1e-20
    assert kept.tolist() == [alone != 2, alone != 1]


def test_groups_that_always_lose_are_those_that_enumeration_finds():
    rng = np.random.default_rng(0)
    for _ in range(40):
        upper = np.triu(rng.choice([0.0, 0.5, 1.0], (4, 4)), 1)
        wins = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(4)
        subsets = [
            set(s)
            for size in range(1, 5)
            for s in itertools.combinations(range(4), size)
            if all(wins[i, j] == 0 for i in s for j in set(range(4)) - set(s))
        ]
        smallest = min(subsets, key=len)
        assert set(np.flatnonzero(f8._last_group(wins))) == smallest


def test_the_closed_form_of_ipo_is_what_scipy_finds():
    games = f8._games(np.random.default_rng(1), 2)
    beta = 0.5
    for game in range(3):
        log_ref, preference = games.log_ref[game], games.preference[game]
        law = np.exp(log_ref[:, None] + log_ref) * preference

        def loss(logits, log_ref=log_ref, law=law):
            h = beta * (logits - log_ref)
            return np.sum(law * (h[:, None] - h - 1 / f8.TAU) ** 2)

        found = optimize.minimize(loss, np.zeros(f8.ARMS), method="BFGS", options={"gtol": 1e-10})
        policy = np.exp(found.x - found.x.max())
        np.testing.assert_allclose(
            policy / policy.sum(),
            np.exp(f8.ipo_in_closed_form(games, beta, f8.TAU)[game]),
            atol=1e-6,
        )


def test_the_covariance_is_that_of_the_scores():
    """A^+ B A^+ of the loss written out, with its derivatives by differences."""
    tried, e = f9._tried(np.random.default_rng(2), 1), 0.3
    law, truth = f9._drawn(tried, e)[0], tried.reward[0]
    law = law / law.sum()

    def loss(i, j, reward):
        d = reward[i] - reward[j]
        return (-(1 - e) * log_expit(d) + e * log_expit(-d)) / (1 - 2 * e)

    unit, step = np.eye(f9.ARMS), 1e-4
    pairs = list(itertools.product(range(f9.ARMS), repeat=2))
    slopes = {
        (i, j): np.array([
            (loss(i, j, truth + step * u) - loss(i, j, truth - step * u)) / (2 * step)
            for u in unit
        ])
        for i, j in pairs
    }  # fmt: skip

    def slope(reward):
        mean = np.zeros(f9.ARMS)
        for i, j in pairs:
            d = reward[i] - reward[j]
            by_d = (-(1 - e) * expit(-d) - e * expit(d)) / (1 - 2 * e)
            mean += law[i, j] * by_d * (unit[i] - unit[j])
        return mean

    assert np.abs(slope(truth)).max() < 1e-12  # unbiased: the truth is stationary
    curvature = np.array([(slope(truth + step * u) - slope(truth - step * u)) / (2 * step)
                          for u in unit])  # fmt: skip
    spread = sum(law[i, j] * np.outer(slopes[i, j], slopes[i, j]) for i, j in pairs)
    inverse = np.linalg.pinv(curvature, rcond=1e-6)
    np.testing.assert_allclose(
        f9._covariance(tried, e)[0], inverse @ spread @ inverse, rtol=1e-4, atol=1e-3
    )


def test_the_price_of_flips_is_exact_for_two_arms_of_equal_worth():
    tried = f9.Tried(np.zeros((1, f9.ARMS)), np.full((1, f9.ARMS), -np.log(f9.ARMS)))
    for e in f9.RATES:
        c, most = f9._price(tried, e)
        assert c[0] == pytest.approx(1.0, abs=1e-12) and most[0] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 0.9])
def test_the_weights_of_momentum_are_those_of_the_theory(alpha):
    for k in (1, 7):
        np.testing.assert_allclose(
            f10.weights_of("momentum", alpha, k),
            np.asarray(apo.theory.reward_weights(alpha, 1.0, k)),
            rtol=1e-12,
        )


def test_planted_errors_enter_as_the_rewards_do():
    reward, errors = jnp.array([[0.4, 0.0, -0.2]]), jnp.array([[1.0, 0, 0], [0, -3.0, 0]])
    bandit = Bandit(reward, jnp.log(jnp.full((1, 3), 1 / 3)))
    found = apo.solve(bandit, MDVI(2.0, 0.0, f10.Planted(errors)), iterations=2)
    wanted = jax.nn.log_softmax((2 * reward + errors.sum(axis=0)) / 2.0)
    np.testing.assert_allclose(found.final_log_policy, wanted, atol=1e-12)


def test_the_bounds_see_an_error_that_is_larger_than_they_allow():
    """A gap of 2 |error| is reached, so that half of the error is not enough."""
    tried = f10._tried(Study("F10"), 70)
    worst = tried.kind == f10.KINDS.index("worst case")
    size = np.abs(tried.errors[worst].mean(axis=1)).max(axis=1)
    spread = np.ptp(tried.reward[worst], axis=1)
    np.testing.assert_allclose(2 * size, 1.01 * spread, rtol=1e-12)
