"""Sampled preferences: the fit, the law of a run by enumeration, and the statistical bounds."""

import functools
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, log_expit

import apo_sim as apo
from apo_sim import theory
from apo_sim.proximal import rewards_from_counts

from . import reference as ref
from .instances import FEW, bandit, random_bandit, saved_run

# Two arms half a reward apart, and a fit that may just say so.
REWARD, LOG_REF, FIT = np.array([0.25, -0.25]), np.log([0.5, 0.5]), 0.25
UPDATES, SEEDS = 3, 20_000


@functools.partial(jax.jit, static_argnames="rule")
def _runs(rule, keys, alpha, beta, samples, reward_bound):
    def one(key):
        return saved_run(
            bandit(REWARD, LOG_REF),
            momentum=rule(alpha),
            beta=beta,
            iterations=UPDATES,
            samples=samples,
            key=key,
            reward_bound=reward_bound,
        )

    return jax.vmap(one)(keys)


def two_arm_runs(alpha, beta, samples, reward_bound, rule: Any = apo.Constant):
    """The package's runs on the two arms, one for each of SEEDS keys."""
    keys = jax.random.split(jax.random.key(0), SEEDS)
    return _runs(rule, keys, alpha, beta, float(samples), reward_bound)


def assert_share(found, stated):
    """A share of SEEDS runs, within four standard errors."""
    error = np.sqrt(stated * (1 - stated) / SEEDS)
    assert abs(np.mean(found) - stated) < 4 * error, (np.mean(found), stated, error)


def test_fit():
    """(3.1): r_t minimises -sum log sigmoid(r_w - r_l) over max r - min r <= 2 R."""
    rng, bound = np.random.default_rng(0), 1.0
    wins = np.where(np.eye(4), 0, rng.integers(1, 9, (6, 4, 4))).astype(float)
    wins[3:, 0, 1:] *= 30  # the bound then holds the first arm back
    centre = np.array([random_bandit(rng, 4)[1] for _ in wins])
    found, residual = rewards_from_counts(
        apo.DPO(), jnp.asarray(wins), jnp.asarray(centre), jnp.array(1.0), jnp.array(bound)
    )
    assert float(residual) < 1e-6
    mine = np.array([ref.bradley_terry_fit(w, bound) for w in wins])
    spread = np.ptp(mine, axis=1)
    assert np.all(spread[:3] < 1.99) and np.all(spread[3:] > 1.999)
    np.testing.assert_allclose(
        found - found.mean(axis=1)[:, None], mine - mine.mean(axis=1)[:, None], atol=2e-5
    )


@pytest.mark.parametrize(("alpha", "beta", "bound"), [(0.3, 1.0, 0.25), (0.6, 3.0, 2.0)])
def test_law_of_a_run(alpha, beta, bound):
    """Algorithm 1, sampled: the mean and the spread of the gap over all data, by enumeration."""
    law = ref.two_arm_law(REWARD, LOG_REF, alpha, beta, 2, UPDATES, bound)
    chance = np.array([share for share, _ in law])
    assert chance.sum() == pytest.approx(1.0, rel=1e-12)
    found = two_arm_runs(alpha, beta, 2, bound)
    for t in range(1, UPDATES + 1):
        gaps = np.array([ref.gap(REWARD, run.before[t]) for _, run in law])
        mean = chance @ gaps
        variance = chance @ (gaps - mean) ** 2
        theirs = np.asarray(found.suboptimality[:, t - 1])
        assert abs(theirs.mean() - mean) < 4 * np.sqrt(variance / SEEDS)
        fourth = chance @ ((gaps - mean) ** 2 - variance) ** 2
        assert abs(np.mean((theirs - mean) ** 2) - variance) < 4 * np.sqrt(fourth / SEEDS)
        # Every policy that the package met is one of those enumerated.
        odds = np.array([np.diff(run.before[t])[0] for _, run in law])
        met = np.unique(np.round(np.diff(found.log_policy[:, t, 0], axis=1)[:, 0], 6))
        assert np.max(np.min(np.abs(met[:, None] - odds), axis=1)) < 2e-6
    # The data of one update say nothing about those of the next.
    first, second = (np.diff(found.rewards[:, t, 0], axis=1)[:, 0] for t in (0, 1))
    stated = sum(s * np.prod(np.diff(run.rewards, axis=1)[:2, 0]) for s, run in law)
    spread = np.std(first * second) / np.sqrt(SEEDS)
    assert abs(np.mean(first * second) - stated) < 4 * spread


def test_momentum_from_the_centre_with_the_same_data():
    """Tab3: momentum from pi_t is plain at beta/(1 + alpha), with sampled preferences, too.

    Two arms, where the data have one minimiser. Of several minimisers (arms that were never
    compared) the package takes one that depends on beta, and the identity ends there.
    """
    mine = two_arm_runs(0.5, 6.0, 5, 2.0, rule=apo.FromBehaviour)
    plain = two_arm_runs(0.0, 4.0, 5, 2.0)
    np.testing.assert_allclose(mine.behaviour, plain.log_policy, atol=1e-7)
    apart = [np.diff(run.rewards, axis=-1) for run in (mine, plain)]
    np.testing.assert_allclose(*apart, atol=1e-7)


def test_noise_of_expo():
    """ExPO: pi_1 ~ pi_hat_1 (pi_hat_1/pi_ref)^alpha, and (1 + alpha) times the log-odds' noise."""
    alpha, beta = 0.4, 2.0
    reward, log_ref = random_bandit(np.random.default_rng(1), 4)
    once = ref.algorithm(log_ref, lambda t, _: reward, beta, 1, alpha)
    expo = ref.normalise(once.before[1] + alpha * (once.before[1] - log_ref))
    np.testing.assert_allclose(once.after[1], expo, atol=1e-14)
    problem = bandit(reward, log_ref)
    run = saved_run(problem, momentum=apo.Constant(alpha), beta=beta, iterations=1, output="after")
    np.testing.assert_allclose(run.behaviour[1, 0], expo, atol=1e-12)
    np.testing.assert_allclose(run.log_policy[1, 0], once.before[1], atol=1e-12)
    assert float(run.suboptimality[0]) == pytest.approx(ref.gap(reward, expo), rel=1e-12)
    law = ref.two_arm_law(REWARD, LOG_REF, alpha, beta, 5, 1, 2.0)
    chance = np.array([share for share, _ in law])

    def noise(paths):
        odds = np.array([np.diff(path[1])[0] for path in paths])
        return np.sqrt(chance @ odds**2 - (chance @ odds) ** 2)

    before, after = (noise([getattr(run, name) for _, run in law]) for name in ("before", "after"))
    assert after / before == pytest.approx(1 + alpha, rel=1e-12)
    found = two_arm_runs(alpha, beta, 5, 2.0)
    theirs = [np.std(np.diff(path[:, 1, 0])) for path in (found.log_policy, found.behaviour)]
    assert theirs[1] / theirs[0] == pytest.approx(1 + alpha, rel=1e-9)
    assert theirs[0] == pytest.approx(before, rel=0.03)


@FEW
@given(st.floats(1e-12, 1e12))
def test_logarithm_against_difference(x):
    """LD.2: (1 + x) |log x| >= |x - 1| for x > 0."""
    assert (1 + x) * abs(np.log(x)) >= abs(x - 1)


def test_package_agrees_about_the_logarithm():
    """LD.2: the verdict of the package."""
    assert apo.claims.check("LD.2").verdict == "holds"


# A class of reward differences d of the two arms, the true one among them.
CLASS = np.linspace(-2.0, 2.0, 161)
TRUE = 0.5


def errors_of_the_fit(pairs):
    """Probability, squared error and squared Hellinger distance of every outcome of N pairs."""
    outcomes = list(ref.two_arm_outcomes(LOG_REF, float(expit(TRUE)), pairs))
    chance, first, second = (np.array(column) for column in zip(*outcomes, strict=True))
    likelihood = np.outer(first, log_expit(CLASS)) + np.outer(second, log_expit(-CLASS))
    fitted = CLASS[np.argmax(likelihood, axis=1)]
    # Half of the pairs are ties, which no reward changes; the expectation counts them, too.
    error = 0.5 * (fitted - TRUE) ** 2
    overlap = np.sqrt(expit(fitted) * expit(TRUE)) + np.sqrt(expit(-fitted) * expit(-TRUE))
    return chance, error, 0.5 * (2 - 2 * overlap)


def test_error_of_the_fitted_reward():
    """LD.1: E[((r* - r)(y) - (r* - r)(y'))^2] <= 2 log(|Pi|/delta)/(N sigma'(1+R)^2), w.p. 1-delta.

    A finite class, all outcomes: the failure probability is exact.
    """
    delta, reward_bound, tightest = 0.05, 1.0, 0.0
    for pairs in (1, 2, 5, 10, 20, 40, 80):
        chance, error, hellinger = errors_of_the_fit(pairs)
        assert chance.sum() == pytest.approx(1.0, rel=1e-9)
        complexity = np.log(len(CLASS) / delta)
        assert chance @ (hellinger > complexity / pairs) <= delta
        slope = ref.sigmoid_slope(1 + reward_bound)
        printed = complexity / (pairs * slope**2)
        assert chance @ (error > 2 * printed) <= delta
        assert chance @ (error > printed) <= delta
        tightest = max(tightest, chance @ (error > printed / 100))
        shared = (pairs, np.log(len(CLASS)), reward_bound, delta)
        found = theory.reward_error_bound(*shared, flavour="printed")
        assert float(found) == pytest.approx(printed, rel=1e-12)
        found = theory.reward_error_bound(*shared, flavour="corrected")
        assert float(found) == pytest.approx(2 * printed, rel=1e-12)
    assert tightest > delta  # a hundredth of the bound is not enough


def test_error_of_the_fitted_reward_falls_as_one_over_n():
    """LD.1: the mean error times N tends to a constant, 1/sigma'(r* difference) for two arms."""
    sizes = (50, 100, 200)
    means = np.array([np.dot(*errors_of_the_fit(pairs)[:2]) for pairs in sizes])
    slopes = [np.log(b / a) / np.log(2) for a, b in pairwise(means)]
    assert slopes == pytest.approx([-1.0, -1.0], abs=0.1)
    assert means[-1] * sizes[-1] == pytest.approx(1 / ref.sigmoid_slope(TRUE), rel=0.04)


@functools.cache
def policy_errors(beta, pairs, delta):
    """One update on the two arms, all outcomes, and the class of policies that they lead to."""
    law = ref.two_arm_law(REWARD, LOG_REF, 0.0, beta, pairs, 1, FIT)
    exact = ref.normalise(LOG_REF + REWARD / beta)
    visited = [LOG_REF, exact, *(run.before[1] for _, run in law)]
    members = {tuple(np.round(policy, 12)) for policy in visited}
    bound = max(beta * np.max(np.abs(np.subtract(a, b))) for a in members for b in members)
    rows = []
    for chance, run in law:
        both = ref.kappa(run.before[1], exact, LOG_REF)
        bounds = [
            ref.policy_error_bound([kappa], 0.0, beta, pairs, bound, len(members), delta)
            for kappa in both
        ]
        rows.append((chance, run.before[1], both, bounds))
    return exact, bound, len(members), rows


def test_printed_coverage_fails():
    """LC.1: DTV(pi_hat, pi*) <= sqrt(T sum kappa log(T|Pi|/delta)/(N beta^2 (1-a)^2))/sigma'(1+R).

    With kappa as printed it fails far more often than delta = .05; with two maxima and the factor 2
    of Lemma E.1 never: five pairs, two arms, all outcomes.
    """
    beta, pairs, delta = 0.003, 5, 0.05
    exact, bound, size, rows = policy_errors(beta, pairs, delta)
    failing = 0.0
    for chance, policy, both, (printed, separate) in rows:
        distance = ref.total_variation(policy, exact)
        failing += chance * (distance > printed)
        assert distance <= np.sqrt(2) * separate
        coverage = theory.coverage(policy[None], exact[None], LOG_REF[None, None])
        found = (coverage.log_printed[0], coverage.log_corrected[0])
        np.testing.assert_allclose(found, np.log(both), atol=1e-9)
        shared = (0.0, beta, pairs, bound, np.log(size), delta)
        value = theory.tv_statistical(coverage.log_printed, *shared, flavour="printed")
        assert float(value) == pytest.approx(printed, rel=1e-9)
        value = theory.tv_statistical(coverage.log_corrected, *shared, flavour="corrected")
        assert float(value) == pytest.approx(np.sqrt(2) * separate, rel=1e-9)
    assert failing == pytest.approx(0.2364, abs=5e-5)
    assert failing > 4 * delta
    runs = two_arm_runs(0.0, beta, pairs, FIT)
    distance = ref.total_variation(np.asarray(runs.log_policy[:, 1, 0]), exact)
    lost = sum(c for c, policy, *_ in rows if ref.total_variation(policy, exact) > 0.9)
    assert_share(distance > 0.9, lost)
    assert failing == pytest.approx(lost, rel=1e-12)


@pytest.mark.parametrize("beta", [0.003, 0.05, 0.2, 1.0, 10.0])
def test_separate_coverage_holds(beta):
    """LC.1 repaired: two separate maxima and the factor 2 are never exceeded."""
    exact, _, _, rows = policy_errors(beta, 5, 0.05)
    for _, policy, _, (_, separate) in rows:
        assert ref.total_variation(policy, exact) <= np.sqrt(2) * separate


@pytest.mark.parametrize(("updates", "alpha", "stated"), [(1, 0.0, 0.1888), (3, 0.3, 0.0472)])
def test_gap_bound_fails_with_one_pair(updates, alpha, stated):
    """T4.4: gap <= log(1/p)/gamma_T + 2 (LC.1's bound), kappa as printed, delta = .01.

    N = 1, beta = .01: by enumeration it fails with probability .1888 after one update, and .0472
    after the paper's three at alpha = .3 (whose fits are bounded one by one, around each centre).
    """
    beta, delta = 0.01, 0.01
    law = ref.two_arm_law(REWARD, LOG_REF, alpha, beta, 1, updates, FIT)
    total = ref.gamma(alpha, beta, updates)
    exact = ref.normalise(LOG_REF + total * REWARD)
    # Every policy of the class moves the log-odds by at most 2 FIT times the whole weight.
    bound, size = 2 * beta * total * 2 * FIT, 3**updates + 4
    failing = repaired = 0.0
    for chance, run in law:
        gap = ref.gap(REWARD, run.before[-1])
        for separate in (False, True):
            kappas = [ref.kappa(run.before[-1], exact, pi)[separate] for pi in run.after[:-1]]
            second = ref.policy_error_bound(kappas, alpha, beta, 1, bound, size, delta)
            failed = chance * (gap > np.log(2) / total + 2 * (1 + separate) ** 0.5 * second)
            failing, repaired = failing + failed * (not separate), repaired + failed * separate
    assert failing == pytest.approx(stated, abs=5e-5)
    assert repaired == 0.0
    assert failing > delta
    # The failures are the runs that end on the wrong arm.
    found = two_arm_runs(alpha, beta, 1, FIT)
    wrong = sum(share for share, run in law if ref.gap(REWARD, run.before[-1]) > 0.45)
    assert_share(np.asarray(found.suboptimality)[:, updates - 1] > 0.45, wrong)


ARMS, LONG = 4, 10


@functools.cache
def longer_runs(beta, samples, alpha=0.5, seeds=40):
    """A bandit and the package's sampled runs on it."""
    reward, log_ref = random_bandit(np.random.default_rng(7), ARMS)
    problem = bandit(reward, log_ref)
    keys = jax.random.split(jax.random.key(7), seeds)
    return reward, log_ref, problem, _longer(problem, keys, alpha, beta, float(samples))


@jax.jit
def _longer(problem, keys, alpha, beta, samples):
    def one(key):
        run = saved_run(
            problem,
            momentum=apo.Constant(alpha),
            beta=beta,
            iterations=LONG,
            samples=samples,
            key=key,
        )
        return run, theory.split(problem, run)

    return jax.vmap(one)(keys)


@pytest.mark.parametrize(("beta", "samples"), [(1.0, 30), (5.0, 300)])
def test_split_of_the_gap(beta, samples):
    """N4: gap = [rbar(y*) - E rbar] + [(r*-rbar)(y*) - E(r*-rbar)], the first <= W_0(.)/gamma_T."""
    reward, log_ref, _, (runs, parts) = longer_runs(beta, samples)
    best = int(reward.argmax())
    bound = ref.lambert_gap(np.exp(log_ref[best])) / ref.gamma(0.5, beta, LONG)
    for seed in range(20):
        policy = np.exp(runs.log_policy[seed, -1, 0])
        mean = ref.average_reward(np.asarray(runs.rewards[seed, :, 0]), 0.5)
        optimisation = mean[best] - policy @ mean
        statistics = (reward - mean)[best] - policy @ (reward - mean)
        gap = ref.gap(reward, np.log(policy))
        assert optimisation + statistics == pytest.approx(gap, abs=1e-12)
        assert optimisation <= bound
        assert float(parts.optimisation[seed, -1]) == pytest.approx(optimisation, abs=1e-9)
        assert float(parts.statistics[seed, -1]) == pytest.approx(statistics, abs=1e-9)
        assert float(parts.suboptimality[seed, -1]) == pytest.approx(gap, abs=1e-12)


def test_split_of_the_paper():
    """T4.4's proof: gap <= gap(pi*_T) + 2 DTV(pi_hat_T, pi*_T), pi*_T ~ pi_ref exp(gamma_T r*)."""
    rng, alpha, beta = np.random.default_rng(9), 0.5, 2.0
    reward, log_ref = random_bandit(rng, ARMS)
    errors = 0.5 * rng.normal(size=(LONG, ARMS))
    run = ref.algorithm(log_ref, lambda t, _: reward + errors[t], beta, LONG, alpha)
    gammas = np.array([ref.gamma(alpha, beta, t) for t in range(1, LONG + 1)])
    exact = ref.normalise(log_ref + gammas[:, None] * reward)
    difference = ref.gap(reward, run.before[1:]) - ref.gap(reward, exact)
    distance = ref.total_variation(run.before[1:], exact)
    # The rewards' range is at most 2, hence the factor.
    assert np.all(np.abs(difference) <= 2 * distance)
    path = {name: getattr(run, name)[:, None] for name in ("before", "after", "rewards")}
    given_path: Any = SimpleNamespace(
        gamma=gammas, log_policy=path["before"], behaviour=path["after"], rewards=path["rewards"]
    )
    parts = theory.split(bandit(reward, log_ref), given_path)
    np.testing.assert_allclose(parts.paper_statistics, 2 * distance, rtol=1e-9)
    np.testing.assert_allclose(parts.paper_difference, difference, atol=1e-12)
    np.testing.assert_allclose(parts.paper_optimisation, ref.gap(reward, exact), rtol=1e-9)


def test_gap_without_coverage():
    """R4.4: gap <= W_0((1-p)/(e p))/gamma_T + max_y(rbar - r*) - min_y(rbar - r*)."""
    rng = np.random.default_rng(8)
    count, arms, largest = 20_000, 3, 0.0
    reward = rng.uniform(-1, 1, (count, arms))
    log_ref = ref.normalise(rng.uniform(0, 4, (count, 1)) * rng.normal(size=(count, arms)))
    error = 10 ** rng.uniform(-3, 0.5, (count, 1)) * rng.normal(size=(count, arms))
    gamma = 10 ** rng.uniform(-1, 2, count)
    p = np.exp(np.take_along_axis(log_ref, reward.argmax(axis=1)[:, None], axis=1))[:, 0]
    policy = ref.normalise(log_ref + gamma[:, None] * (reward + error))
    first = ref.lambert_gap(p) / gamma
    ratio = ref.gap(reward, policy) / (first + np.ptp(error, axis=1))
    assert 0.9 < ratio.max() <= 1
    assert np.max(ref.gap(reward, policy) / (first + np.ptp(error, axis=1) / 2)) > 1
    for beta, samples in ((1.0, 30), (5.0, 300)):
        reward, log_ref, problem, (runs, _) = longer_runs(beta, samples)
        p = float(np.exp(log_ref[reward.argmax()]))
        for t in range(1, LONG + 1):
            total = ref.gamma(0.5, beta, t)
            bound = ref.lambert_gap(p) / total
            theirs = float(theory.sharp_gap(None, total, log_p_star=problem.log_best_ref)[0])
            assert theirs == pytest.approx(bound, rel=1e-9)
            for seed in range(10):
                mean = ref.average_reward(np.asarray(runs.rewards[seed, :t, 0]), 0.5)
                gap = float(runs.suboptimality[seed, t - 1])
                largest = max(largest, gap / (bound + np.ptp(mean - reward)))
    assert largest <= 1


def test_sampling_error_of_short_runs():
    """N18: while gamma_T Delta << 1 sampling moves the gap by -gamma_T Cov_ref(r*, rbar - r*)."""
    beta = 1e4
    reward, log_ref, _, (runs, parts) = longer_runs(beta, 300)
    total, reference = ref.gamma(0.5, beta, LONG), np.exp(log_ref)
    exact = ref.gap(reward, ref.normalise(log_ref + total * reward))
    moved, stated = [], []
    for seed in range(40):
        mean = ref.average_reward(np.asarray(runs.rewards[seed, :, 0]), 0.5)
        error = mean - reward
        covariance = reference @ (reward * error) - (reference @ reward) * (reference @ error)
        stated.append(-total * covariance)
        moved.append(ref.gap(reward, np.asarray(runs.log_policy[seed, -1, 0])) - exact)
    np.testing.assert_allclose(moved, stated, atol=0.02 * float(np.std(stated)))
    found = np.asarray(parts.paper_difference)[:, -1]
    np.testing.assert_allclose(found, moved, atol=1e-3 * float(np.std(stated)))
    # N4's second term is no such error: it is larger by orders of magnitude.
    assert np.std(parts.statistics[:, -1]) > 100 * np.std(moved)
