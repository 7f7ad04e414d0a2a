"""Samplers of pairs: the claims' runs and constants by NumPy, and planted errors are caught."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

sys.path.insert(0, str(Path(__file__).parent))
import checked

import apo_sim as apo
from apo_sim.claims import Study, _coverage, f11, f12, f12_momentum


def slope(lead):
    return expit(lead) * expit(-lead)


def descended(reward, kind, steps):
    """The errors of gradient descent in h = beta log(pi/pi_ref), where beta and pi_ref cancel."""
    lead, h, found = reward[:, None] - reward, np.zeros_like(reward), []
    for _ in range(steps):
        ahead = h[:, None] - h
        weight = {"uniform": 4.0, "by reward": 1 / slope(lead), "by policy": 1 / slope(ahead)}[kind]
        h = h + np.mean(weight * (expit(lead) - expit(ahead)), axis=1)
        found.append(np.ptp(reward - h))
    return np.array(found)


@pytest.fixture(scope="module")
def drawn():
    return f11._drawn(Study("F11"), f11.ARMS[0])


@checked.group("F11")
def test_gradient_descent_is_that_of_numpy(drawn):
    with jax.enable_x64(True):
        found = f11.errors(drawn)
    for number, kind in enumerate(f11.NAMES):
        for lane in range(20):
            expected = descended(drawn.reward[lane, 0], kind, f11.STEPS)
            np.testing.assert_allclose(found[number, lane], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("width", [0.3, 1.0, 4.0])
def test_the_worst_case_is_that_of_two_levels(width):
    ends = f11.worst_case(width)
    for number, kind in enumerate(f11.NAMES):
        for levels in ([0.0, 1.0], [0.0, 0.0, 1.0, 0.0, 1.0]):
            found = descended(width * np.array(levels), kind, f11.STEPS)
            np.testing.assert_allclose(found, ends[number, 1:], rtol=1e-9, atol=1e-12)


def test_a_rate_a_hundredth_above_the_worst_case_is_caught_with_its_problem(drawn):
    ends = np.stack([f11.worst_case(width) for width in drawn.width], axis=1)[:, :, 1:]
    found = np.stack(
        [
            [descended(reward[0], kind, f11.STEPS) for reward in drawn.reward[:50]]
            for kind in f11.NAMES
        ]
    )
    ends, few = ends[:, :50], drawn.at(np.arange(50))
    assert f11._judged(found, ends, few, "the worst case").verdict == "holds"
    planted = found.copy()
    planted[1, 7, 0] = 1.01 * ends[1, 7, 0]
    caught = f11._judged(planted, ends, few, "the worst case")
    assert caught.verdict == "fails" and caught.counterexample is not None
    assert caught.counterexample["pairs"] == "by reward"
    np.testing.assert_array_equal(caught.counterexample["reward"], drawn.reward[7, 0])


def test_at_a_fixed_step_mixed_pairs_are_linear():
    reward, rate = np.array([0.0, 0.0, 1.0, 1.0]), f11._at_fixed_step(1.0)
    lead, h, left = reward[:, None] - reward, np.zeros(4), []
    weight = 4 / slope(lead) / np.mean(1 / slope(lead))
    for _ in range(8):
        h = h + np.mean(weight * (expit(lead) - expit(h[:, None] - h)), axis=1)
        left.append(np.ptp(reward - h))
    assert left[-1] / left[-2] == pytest.approx(rate, rel=1e-4)
    assert rate == pytest.approx((1 - 4 * slope(1.0)) / (1 + 4 * slope(1.0)))


def information(behaviour, reward):
    """Of one label on two responses of the behaviour policy, pair by pair."""
    found = np.zeros((len(reward), len(reward)))
    for i, one in enumerate(behaviour):
        for j, other in enumerate(behaviour):
            apart = np.eye(len(reward))[i] - np.eye(len(reward))[j]
            found += one * other * slope(reward[i] - reward[j]) * np.outer(apart, apart)
    return found


def test_uncertainty_is_that_of_the_pseudo_inverse():
    rng = np.random.default_rng(0)
    for arms in (2, 5):
        target, *behaviours = rng.dirichlet(np.ones(arms), size=3)
        reward = rng.normal(size=arms)
        spread = np.diag(target) - np.outer(target, target)
        known = np.mean([information(each, reward) for each in behaviours], axis=0)
        expected = np.trace(spread @ np.linalg.pinv(known))
        assert _coverage.uncertainty(target, behaviours, reward) == pytest.approx(expected)


def test_uniform_pairs_are_the_optimal_design_of_a_table():
    """Kiefer and Wolfowitz: the largest variance of a pair is the dimension; no design has less."""
    arms = 5
    pairs = [np.eye(arms)[i] - np.eye(arms)[j] for i in range(arms) for j in range(i)]

    def largest(law):
        found = np.linalg.pinv(sum(p * np.outer(x, x) for p, x in zip(law, pairs, strict=True)))
        return max(x @ found @ x for x in pairs)

    uniform = np.full(len(pairs), 1 / len(pairs))
    assert largest(uniform) == pytest.approx(arms - 1)
    rng = np.random.default_rng(1)
    others = [largest(0.7 * uniform + 0.3 * rng.dirichlet(uniform)) for _ in range(50)]
    assert min(others) > arms - 1 + 1e-3


@pytest.mark.parametrize("alpha", [0.0, 0.9])
def test_the_path_is_that_of_the_exact_run(alpha):
    p = 0.01
    bandit = apo.Bandit(
        jnp.asarray(_coverage.REWARD)[None], jnp.log(jnp.asarray(_coverage.reference(p)))[None]
    )
    beta = f12_momentum._beta(p, alpha)
    run = apo.run(
        bandit,
        momentum=apo.Constant(alpha),
        beta=beta,
        iterations=_coverage.UPDATES,
        save="path",
    )
    assert run.behaviour is not None
    expected = np.exp(run.behaviour[:-1, 0])
    np.testing.assert_allclose(np.stack(_coverage.on_path(alpha, p)), expected, rtol=1e-9)
    np.testing.assert_allclose(
        np.exp(run.final_log_policy[0]), _coverage.tilted(p, _coverage.sharpness(p)), rtol=1e-9
    )
    fractions = f12_momentum._fractions(alpha) * _coverage.sharpness(p)
    again = np.stack([_coverage.tilted(p, each) for each in fractions])
    np.testing.assert_allclose(again, expected, rtol=1e-9)


def test_thresholds_are_where_the_ratio_falls_for_good():
    seen = np.array(f12.SEEN)
    assert f12._crossing(1 / seen) == pytest.approx(2.0)
    assert f12._thresholds({0.0: np.array([4 / seen, 8 / seen])}, 1.0)[0.0] == pytest.approx([4, 8])
    assert f12._crossing(np.where(seen < 5, 1.0, 0.01) * 8 / seen) == pytest.approx(
        np.exp(np.interp(np.log(2), np.log([1 / 4, 100]), np.log([2, 8])))
    )
    assert f12._crossing(np.full(seen.shape, 0.1)) == seen[0]
    assert f12._crossing(np.full(seen.shape, 0.9)) == seen[-1]
