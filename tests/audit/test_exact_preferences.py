"""Exact Bradley-Terry preferences: the gap, the distance to the optimum, and the assumptions."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit, logsumexp

import apo_sim as apo
from apo_sim import theory

from . import reference as ref
from .instances import FEW, bandit, random_bandit, saved_run

ARMS, UPDATES = 4, 60
MASSES = (0.01, 0.2, 0.45, 0.6, 0.9)


def random_instances(seed, count, arms=5):
    """Rewards (n, K), references (n, K), best arms and their mass p (n,), gamma (n,)."""
    rng = np.random.default_rng(seed)
    reward = rng.uniform(-1, 1, (count, arms))
    log_ref = ref.normalise(rng.uniform(0, 4, (count, 1)) * rng.normal(size=(count, arms)))
    best = reward.argmax(axis=1)
    p = np.exp(log_ref)[np.arange(count), best]
    return reward, log_ref, best, p, 10 ** rng.uniform(-2, 2, count)


def two_levels(p, gap):
    """A best arm of mass p and one `gap` below it."""
    return np.array([gap / 2, -gap / 2]), np.log([p, 1 - p])


def largest_two_level_gap(p):
    """gamma times the gap and times Delta, where the former is largest: a search over Delta."""

    def negative(scaled):
        return -scaled * expit(np.log((1 - p) / p) - scaled)

    found: Any = minimize_scalar(
        negative, bounds=(0, 40), method="bounded", options={"xatol": 1e-10}
    )
    return -found.fun, found.x


def arrive(p, scaled_gap, gamma=4.0):
    """The package's run to gamma on two levels, Delta = scaled_gap/gamma."""
    run = apo.run(bandit(*two_levels(p, scaled_gap / gamma)), beta=2 / gamma, iterations=2)
    assert float(run.gamma[-1]) == pytest.approx(gamma)
    return run


def test_printed_constant_is_false():
    """T4.4-opt: gamma gap <= log((1-p)/p), (C.8), is false above p = 1/(1 + e^(1/e))."""
    turn: Any = brentq(lambda p: largest_two_level_gap(p)[0] - np.log((1 - p) / p), 0.3, 0.49)
    assert turn == pytest.approx(1 / (1 + np.exp(1 / np.e)), abs=1e-6)
    for p in MASSES:
        scaled, delta = largest_two_level_gap(p)
        printed = float(theory.gap_printed(p, 4.0))
        assert printed == pytest.approx(np.log((1 - p) / p) / 4.0, rel=1e-12)
        gap = float(arrive(p, delta).suboptimality[-1])
        assert gap == pytest.approx(scaled / 4.0, rel=1e-7)
        assert (gap > printed) == (p > turn)


def test_gibbs_constant_holds():
    """T4.4-opt: gamma gap <= log(1/p) always; (C.8) breaks on a good share of instances."""
    reward, log_ref, _, p, gamma = random_instances(0, 20_000)
    gap = ref.gap(reward, ref.normalise(log_ref + gamma[:, None] * reward))
    assert np.all(gamma * gap <= np.log(1 / p))
    assert np.mean(gamma * gap > np.log((1 - p) / p)) > 0.1
    np.testing.assert_allclose(theory.gap_gibbs(p, gamma), -np.log(p) / gamma, rtol=1e-12)


def test_sharp_gap():
    """N2: the supremum of gamma gap is W_0((1-p)/(e p)), attained at gap (1+W)/gamma."""
    reward, log_ref, _, p, gamma = random_instances(1, 20_000)
    ratio = gamma * ref.gap(reward, ref.normalise(log_ref + gamma[:, None] * reward))
    ratio /= ref.lambert_gap(p)
    assert 0.9 < ratio.max() <= 1
    assert ref.lambert_gap(0.01) == pytest.approx(2.629, abs=5e-4)
    for p in MASSES:
        scaled, delta = largest_two_level_gap(p)
        w = ref.lambert_gap(p)
        assert (scaled, delta) == pytest.approx((w, 1 + w), rel=1e-7)
        assert float(theory.sharp_gap(p, 4.0)) == pytest.approx(w / 4.0, rel=1e-12)
        assert float(theory.worst_case_gap(p, 4.0)) == pytest.approx((1 + w) / 4.0, rel=1e-12)
        gap = float(arrive(p, 1 + w).suboptimality[-1])
        assert gap == pytest.approx(w / 4.0, rel=1e-12)


def test_distance_to_the_optimum():
    """T4.8-opt and N3: DTV <= (1-p)/(p e^(gamma Delta) + 1 - p) <= sqrt(e^(-gamma Delta)/(2p))."""
    reward, log_ref, best, p, gamma = random_instances(2, 2_000)
    top = np.sort(reward, axis=1)
    delta = top[:, -1] - top[:, -2]
    policy = ref.normalise(log_ref + gamma[:, None] * reward)
    distance = np.array([ref.off_mass(row, arm) for row, arm in zip(policy, best, strict=True)])
    sharp = (1 - p) / (p * np.exp(gamma * delta) + 1 - p)
    printed = np.sqrt(np.exp(-gamma * delta) / (2 * p))
    assert np.all(distance <= sharp * (1 + 1e-12))
    assert np.all(sharp <= printed * (1 + 1e-12))
    np.testing.assert_allclose(theory.sharp_tv(p, delta, gamma), sharp, rtol=1e-10)
    np.testing.assert_allclose(theory.tv_printed(p, delta, gamma), printed, rtol=1e-10)
    for p in MASSES:  # attained
        attained = (1 - p) / (p * np.exp(3.0) + 1 - p)
        run = arrive(p, 3.0)
        assert float(run.tv[-1]) == pytest.approx(attained, rel=1e-12)
    # The exponent is gamma Delta, where the printed one has half of it.
    reward, log_ref = two_levels(0.3, 1.0)
    near, far = (ref.off_mass(ref.normalise(log_ref + g * reward), 0) for g in (20.0, 40.0))
    assert np.log(near / far) == pytest.approx(20.0, abs=1e-6)
    printed = theory.tv_printed(0.3, 1.0, np.array([20.0, 40.0]))
    assert np.log(printed[0] / printed[1]) == pytest.approx(10.0, abs=1e-6)


def two_contexts():
    """Gaps of .7 and .3 in contexts of mass .8 and .2, the first arm best, then the second."""
    reward = np.array([[0.9, 0.2, -0.5, 0.0], [-0.1, 0.8, 0.5, -1.0]])
    log_ref = ref.normalise(np.random.default_rng(3).normal(size=(2, ARMS)))
    mass = np.array([0.8, 0.2])
    problem = apo.Bandit(jnp.asarray(reward), jnp.asarray(log_ref), jnp.asarray(mass))
    run = apo.run(problem, momentum=apo.Constant(0.5), beta=0.2, iterations=UPDATES)
    gammas = np.array([ref.gamma(0.5, 0.2, t) for t in range(1, UPDATES + 1)])
    paths = [ref.normalise(log_ref[x] + gammas[:, None] * reward[x]) for x in range(2)]
    return problem, run, gammas, paths


def test_gap_over_contexts():
    """Section 1: gap(pi) = E_x[r*(x, y*_x) - E_{y ~ pi} r*(x, y)], of pi_hat_t."""
    problem, run, _, paths = two_contexts()
    gaps = [ref.gap(np.asarray(problem.reward[x]), paths[x]) for x in range(2)]
    np.testing.assert_allclose(run.suboptimality, 0.8 * gaps[0] + 0.2 * gaps[1], rtol=1e-9)


def test_positive_gap_is_the_rate():
    """A4.6: -log DTV/gamma tends to the least gap of all contexts; a tie keeps its shares."""
    problem, run, gammas, paths = two_contexts()
    np.testing.assert_allclose(problem.gap, [0.7, 0.3], rtol=1e-12)
    mine = 0.8 * ref.off_mass(paths[0], 0) + 0.2 * ref.off_mass(paths[1], 1)
    np.testing.assert_allclose(run.tv, mine, rtol=1e-9)
    half = UPDATES // 2
    rate = np.log(mine[half] / mine[-1]) / (gammas[-1] - gammas[half])
    assert rate == pytest.approx(0.3, rel=1e-6)
    tied = bandit([0.5, 0.5, -1.0, -1.0], problem.log_ref[0])
    p, q = np.exp(np.asarray(problem.log_ref[0, :2]))
    kept = apo.run(tied, momentum=apo.Constant(0.5), beta=0.2, iterations=UPDATES)
    assert float(tied.gap[0]) == 0.0
    assert float(kept.tv[-1]) == pytest.approx(q / (p + q), rel=1e-9)


def needed(reward, centre, beta):
    """max |beta log(pi/pi_t)| of the policy whose reward is r*: r* - beta log Z."""
    return np.max(np.abs(reward - beta * logsumexp(centre + reward / beta)))


@FEW
@given(st.integers(0, 2**32 - 1), st.floats(-2, 2))
def test_realizability_never_needs_more_than_two(seed, log_beta):
    """A4.2: with rewards in [-1, 1], |beta log(pi/pi_t)| <= 2 realises r* around every centre."""
    reward, centre = random_bandit(np.random.default_rng(seed), ARMS, spread=6.0)
    assert needed(reward, centre, 10**log_beta) <= 2


def test_realizability_needs_two():
    """A4.2: and no smaller R does: the centre has nearly all of its mass on the worst arm."""
    reward, log_ref = np.array([1.0, -1.0]), np.log([1e-9, 1 - 1e-9])
    mine = needed(reward, log_ref, 0.5)
    assert 1.999 < mine <= 2
    run = saved_run(bandit(reward, log_ref), beta=0.5, iterations=1)
    found = theory.assumptions(bandit(reward, log_ref), run, 0.5)
    assert float(found.reward_bound) == pytest.approx(mine, rel=1e-12)
    # The range, which the solver bounds, is 2, so that it needs R = 1.
    assert float(found.reward_span) == pytest.approx(2.0, rel=1e-12)


def test_bound_over_all_pairs_of_policies():
    """N8: the R of A4.3 over all visited policies grows by range(r*)/(1 - alpha) an update."""
    alpha, beta = 0.5, 2.0
    reward, log_ref = random_bandit(np.random.default_rng(4), ARMS)
    mine = ref.algorithm(log_ref, lambda t, _: reward, beta, UPDATES, alpha)

    def bound(updates):
        visited = [*mine.before[: updates + 1], *mine.after[: updates + 1]]
        centres = mine.after[:updates]
        return max(beta * np.max(np.abs(pi - centre)) for pi in visited for centre in centres)

    def consecutive(t):
        return beta * np.max(np.abs(mine.before[t] - mine.after[t - 1]))

    # Between two long runs, since the first updates and the arms' shares add a constant.
    growth = (bound(UPDATES) - bound(UPDATES // 2)) / (UPDATES // 2)
    assert growth == pytest.approx(np.ptp(reward) / (1 - alpha), rel=0.02)
    assert max(consecutive(t) for t in range(1, UPDATES + 1)) <= 2 < bound(3)
    run = saved_run(
        bandit(reward, log_ref),
        momentum=apo.Constant(alpha),
        beta=beta,
        iterations=UPDATES,
    )
    found = theory.visited_bounds(run, beta)
    for t in (1, 2, 7, UPDATES):
        assert float(found.all_pairs[t - 1]) == pytest.approx(bound(t), rel=1e-10)
        assert float(found.consecutive[t - 1]) == pytest.approx(consecutive(t), rel=1e-10)


def test_log_probabilities_fall_linearly():
    """N7: -log pi_hat_T(y) grows by Delta_y/(beta (1 - alpha)) an update in the end."""
    alpha, beta = 0.5, 0.5
    reward, log_ref = np.array([0.9, 0.4, 0.0, -1.0]), np.log([0.1, 0.2, 0.3, 0.4])
    mine = ref.algorithm(log_ref, lambda t, _: reward, beta, UPDATES, alpha)
    slope = (mine.before[UPDATES - 10] - mine.before[UPDATES]) / 10
    stated = (reward.max() - reward) / (beta * (1 - alpha))
    np.testing.assert_allclose(slope, stated, rtol=1e-9, atol=1e-9)
    assert np.all(slope[1:] > 100 * np.log(UPDATES / (UPDATES - 10)) / 10)  # O(log T) it is not
    run = saved_run(
        bandit(reward, log_ref),
        momentum=apo.Constant(alpha),
        beta=beta,
        iterations=UPDATES,
    )
    np.testing.assert_allclose(run.log_policy[:, 0], mine.before, rtol=1e-10, atol=1e-12)
    found = theory.asymptotic_slope(reward.max() - reward, alpha, beta)
    np.testing.assert_allclose(found, stated, rtol=1e-12)


def lead(reward):
    """The two largest rewards' distance."""
    second, first = np.sort(reward)[-2:]
    return first - second


@FEW
@given(st.integers(0, 2**32 - 1), st.floats(-3, 0.2))
def test_price_of_win_rates(seed, log_gap):
    """AB.1: Bradley-Terry with r* in [-1, 1]: 4 <= delta/Delta <= 4 cosh^2 1, all instances."""
    rng, gap = np.random.default_rng(seed), 10**log_gap
    second = rng.uniform(-1, 1 - gap)
    reward = np.array([second + gap, second, *rng.uniform(-1, second, 2)])
    matrix = ref.bradley_terry(reward)
    price = lead(reward) / ref.dominance(matrix, 0)
    assert price >= 4 * (1 - 1e-9)
    assert price <= 4 * np.cosh(1) ** 2 * (1 + 1e-9)
    # Near the optimum the opponent is y* itself.
    own = lead(reward) / min(matrix[0, 0] - matrix[other, 0] for other in (1, 2, 3))
    assert 4 * (1 - 1e-9) <= own <= 2 / (0.5 - expit(-2.0)) * (1 + 1e-9)
    problem = bandit(reward, np.full(ARMS, -np.log(ARMS)))
    assert float(problem.dominance[0]) == pytest.approx(ref.dominance(matrix, 0), rel=1e-9)
    assert float(problem.gap[0]) == pytest.approx(lead(reward), rel=1e-9)


def test_price_of_win_rates_is_attained():
    """AB.1: the largest price is that of a range of 2, 9.52; against y* it ends at 5.25."""
    reward = np.array([1.0, 1.0 - 1e-6, -1.0])
    price = lead(reward) / ref.dominance(ref.bradley_terry(reward), 0)
    assert price == pytest.approx(4 * np.cosh(1) ** 2, rel=1e-5)
    problem = bandit(reward, np.full(3, -np.log(3)))
    assert float(problem.gap[0] / problem.dominance[0]) == pytest.approx(price, rel=1e-5)
    reward = np.array([1.0, -1.0])
    matrix = ref.bradley_terry(reward)
    assert 2.0 / (matrix[0, 0] - matrix[1, 0]) == pytest.approx(5.25, abs=0.01)
