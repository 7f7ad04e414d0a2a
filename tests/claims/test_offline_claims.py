"""Theorems on exploration and on offline data: their bandits, and what a check must catch."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import log_expit

sys.path.insert(0, str(Path(__file__).parent))
import checked

from apo_sim.claims import Study, f2, f3, f4, f5, f6, f6b
from apo_sim.claims import _exploration as exploration
from apo_sim.claims import _pessimism as pessimism
from apo_sim.losses import DPO
from apo_sim.methods.xpo import Explored
from apo_sim.problems import Bandit
from apo_sim.proximal import rewards_from_counts


def test_the_regularised_gap_is_what_its_definition_says():
    rng = np.random.default_rng(0)
    reward, reference = rng.uniform(size=3), rng.dirichlet(np.ones(3))
    policy, beta = rng.dirichlet(np.ones(3), 5), 0.3
    bandit = Bandit(jnp.asarray(reward)[None], jnp.log(jnp.asarray(reference))[None])
    best = beta * np.log(np.sum(reference * np.exp(reward / beta)))
    worth = policy @ reward - beta * np.sum(policy * np.log(policy / reference), axis=1)
    gaps = exploration.regularised_gap(bandit, jnp.log(jnp.asarray(policy))[:, None], beta)
    np.testing.assert_allclose(gaps, best - worth, rtol=1e-12)


@pytest.mark.parametrize("beta", [*f2.BETAS, f2.SMALLER, 0.0866])
def test_online_dpo_stays_at_the_reference_as_often_as_claimed(beta):
    """Nobody sees the better arm in 2 T draws; the reference is short by more than 1/8."""
    mass, pairs = np.exp(-1 / (8 * beta)), f2.horizon(beta)
    assert (1 - mass) ** (2 * pairs) > f2.PROBABILITY
    best = beta * np.log(mass * np.exp(1 / beta) + (1 - mass) * np.exp(0.5 / beta))
    assert best - (mass + (1 - mass) / 2) > f2.SHORT


@pytest.fixture(scope="module")
def played():
    """Online DPO, XPO of the package and XPO minimised by search, on the bandit of F2."""
    beta, pairs, seeds = 0.03, 128, 100
    mass = np.exp(-1 / (8 * beta))
    weight = float(exploration.weight(2, beta, pairs))

    def lanes(alpha):
        return exploration.Lanes(
            np.tile(f2.REWARD, (seeds, 1, 1)),
            np.tile(np.log([mass, 1 - mass]), (seeds, 1, 1)),
            np.full(seeds, beta),
            np.full(seeds, alpha),
            exploration.keys(3, seeds),
        )

    return {
        "DPO": exploration.gaps(lanes(0.0), pairs, f3.OnTwoArms),
        "searched": exploration.gaps(lanes(weight), pairs, f3.OnTwoArms),
        "stationary": exploration.gaps(lanes(weight), pairs),
        "DPO's minimiser": exploration.gaps(lanes(0.0), pairs),
    }


def test_without_a_bonus_the_search_finds_what_the_package_does(played):
    np.testing.assert_allclose(played["DPO"], played["DPO's minimiser"], atol=2e-3)


def test_the_stationary_point_next_to_dpos_tries_no_arm_again(played):
    short = {name: np.mean(gaps[:, -1] > f2.SHORT) for name, gaps in played.items()}
    assert short["stationary"] > 0.4 > 0.2 > short["searched"]
    assert np.mean(played["stationary"].min(axis=1) > f2.SHORT) < 0.1 < 0.3 < short["DPO"]


def test_the_search_on_two_arms_finds_the_least_value():
    wins, reference = np.array([[0.0, 2.0], [5.0, 0.0]]), np.array([2.0, 12.0])
    masses, alpha, beta = np.array([0.1, 0.9]), 0.08, 0.2

    def value(lead):
        log_policy = np.log(masses) + np.array([lead, -lead]) / (2 * beta)
        log_policy -= np.logaddexp.reduce(log_policy)
        likelihood = wins[0, 1] * log_expit(lead) + wins[1, 0] * log_expit(-lead)
        return alpha * reference @ log_policy - likelihood

    starts = [(-1.0, -0.3), (-0.3, 0.3), (0.3, 1.0)]
    found: Any = [optimize.minimize_scalar(value, bounds=b, method="bounded") for b in starts]
    ends = [(value(lead), lead) for lead in (-1.0, 1.0)]
    least = min(*ends, *((float(each.fun), float(each.x)) for each in found))[1]
    problem: Any = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.asarray(masses))[None])
    data = Explored(jnp.asarray(wins)[None], jnp.asarray(reference)[None])
    _, report = jax.jit(f3.OnTwoArms(alpha, beta, 0.5).step)(problem, problem.log_ref, data, 0)
    assert report.rewards is not None
    assert float(report.rewards[0, 0] - report.rewards[0, 1]) == pytest.approx(least, abs=2e-4)


def test_the_bonus_grows_with_what_the_theorem_says():
    beta, pairs = 0.05, 300
    nats = 1 + np.log(pairs / 0.1)
    wanted = beta / (2 * np.exp(2)) * np.sqrt(nats * np.log(pairs) / (pairs * 2))
    assert float(exploration.weight(2, beta, pairs)) == pytest.approx(wanted, rel=1e-12)
    bound = 2 * np.exp(2) * np.log(pairs) * np.sqrt(2 * nats / pairs)
    assert float(exploration.bound(2, pairs)) == pytest.approx(bound, rel=1e-12)


def test_the_penalty_of_chi_po_costs_a_third_of_its_bound_at_most():
    """The facts of F4: what is given up for beta C where the rewards are known."""
    largest = 0.0
    for mass in np.geomspace(1e-4, 0.9, 60):
        best = np.linspace(1, 1 / mass, 2001)[1:-1]
        rest = (1 - mass * best) / (1 - mass)
        lead = best + np.log(best) - rest - np.log(rest)
        largest = max(largest, float(np.max(lead * (1 - mass * best) * mass)))
    assert largest == pytest.approx(0.344, abs=1e-3)


def test_the_tuned_beta_has_the_least_bound():
    coverage, pairs = 7.0, 1e5
    found: Any = optimize.minimize_scalar(
        lambda log_beta: f4.bound(coverage, pairs, np.exp(log_beta)),
        bounds=(-12, 3),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert np.exp(found.x) == pytest.approx(f4.tuned(coverage, pairs), rel=1e-6)
    assert found.fun == pytest.approx(3 * np.exp(2) * np.sqrt(coverage * f4._nats() / pairs))


def test_the_rare_arm_takes_over_below_the_beta_of_dpo():
    """One win of an arm of mass 1/n: it has most of the mass at e^(2R/beta) >> n alone."""
    pairs = 1e8
    reference = np.array([(1 - 1 / pairs) / 2, (1 - 1 / pairs) / 2, 1 / pairs])
    half = pairs / 4
    wins = jnp.array([[[0.0, half, 0.0], [half, 0.0, 0.0], [1.0, 0.0, 0.0]]])
    reward, _ = rewards_from_counts(
        DPO(), wins, jnp.log(jnp.asarray(reference))[None], jnp.array(1.0), jnp.array(1.0)
    )
    reward = np.asarray(reward[0])
    assert reward[2] - reward[0] == pytest.approx(2 * f5.REWARD_BOUND, abs=1e-6)
    for times, taken in ((1.0, True), (4.0, False)):
        policy = reference * np.exp((reward - reward[0]) * np.log(pairs) / times)
        assert (policy[2] / policy.sum() > 0.9) == taken


def test_greed_errs_as_often_as_the_law_of_the_rare_labels_says():
    """Poisson rare labels, of which the worse arm wins most."""
    wins = 1 / (1 + np.exp(1.0))  # of reward -1 against 0
    counts = np.arange(40)
    most = stats.binom.sf(np.floor(counts / 2), counts, wins)
    wanted = float(stats.poisson.pmf(counts, 1.0) @ most)
    assert wanted == pytest.approx(0.124, abs=1e-3)
    runs = pessimism.run(f6b.four_arms(np.full(4000, 1e6), 0))
    error = np.sqrt(wanted * (1 - wanted) / 4000)
    assert abs(np.mean(runs.greedy > 0.5) - wanted) < 4 * error
    assert runs.pessimistic.mean() < 1e-3


def test_a_ball_and_its_bound_are_those_of_the_theorem():
    lanes = f6.drawn(np.random.default_rng(1), 5, 1)
    lanes = lanes._replace(labels=np.full(5, 1e10), regularization=np.full(5, 0.02))
    runs = pessimism.run(lanes)
    for index in range(5):
        features, parameter = lanes.features[index, 0], lanes.parameter[index]
        apart = features[:, None] - features
        law = lanes.law[index] / lanes.law[index].sum()
        covariance = np.einsum("ij,ijd,ije->de", law, apart, apart) + 0.02 * np.eye(2)
        longest = np.linalg.norm(apart, axis=2).max()
        zeta = 1 / (2 + np.exp(longest) + np.exp(-longest))
        radius = np.sqrt((2 + np.log(10)) / (zeta**2 * 1e10) + 0.02)
        best = features[np.argmax(features @ parameter)]
        norm = np.sqrt(best @ np.linalg.solve(covariance, best))
        assert runs.bound[index] == pytest.approx(2 * radius * norm, rel=1e-3)
        assert runs.off[index] < 0.05


@checked.group("F4")
def test_a_quarter_of_the_bound_of_chi_po_is_refuted_by_a_bandit(monkeypatch):
    bound = f4.bound
    monkeypatch.setattr(f4, "bound", lambda *each: bound(*each) / 4)
    found = f4.single_policy_coverage(Study("F4"))
    assert found.verdict == "fails" and found.counterexample is not None
    shown = {name: np.asarray(value) for name, value in found.counterexample.items()}
    coverage = 1 / shown["reference"][shown["arm"]]
    limit = bound(coverage, shown["pairs"], shown["beta"]) / 4
    assert found.measured is not None and float(found.measured) > limit
    assert float(found.bound or 0.0) == pytest.approx(limit)  # type: ignore[arg-type]
