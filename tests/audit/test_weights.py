"""How much every reward weighs: identities, by running the recursion itself."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import apo_sim as apo
from apo_sim import theory

from . import reference as ref
from .instances import FEW, bandit, game, random_bandit, random_preference, saved_run

ARMS, UPDATES = 4, 12
WAYS = [(0.0, 1.0), (0.3, 5.0), (0.9, 2.0)]


def exact_run(alpha, beta, seed=0):
    """A bandit, the reference's run on it with exact preferences, and the package's."""
    reward, log_ref = random_bandit(np.random.default_rng(seed), ARMS)
    mine = ref.algorithm(log_ref, lambda t, _: reward, beta, UPDATES, alpha)
    problem = bandit(reward, log_ref)
    theirs = saved_run(problem, momentum=apo.Constant(alpha), beta=beta, iterations=UPDATES)
    return reward, mine, problem, theirs


@pytest.mark.parametrize(("alpha", "beta"), WAYS)
def test_closed_form(alpha, beta):
    """T4.1: log pi_hat_T = log pi_ref + (1/beta) sum_i w_{T-i} r_i - log Z, for any rewards r_i."""
    rng = np.random.default_rng(1)
    log_ref, mixing = random_bandit(rng, ARMS)[1], rng.normal(size=(ARMS, ARMS))
    run = ref.algorithm(log_ref, lambda t, pi: np.sin(mixing @ pi + t), beta, UPDATES, alpha)
    w = (1 - alpha ** np.arange(1, UPDATES + 1)) / (1 - alpha)
    stated = ref.normalise(log_ref + sum(w[::-1, None] * run.rewards) / beta)
    np.testing.assert_allclose(run.before[-1], stated, atol=1e-12)
    problem = bandit(np.zeros(ARMS), log_ref)
    found = theory.closed_form(problem, run.rewards[:, None], alpha, beta)
    np.testing.assert_allclose(found[0], run.before[-1], atol=1e-12)
    np.testing.assert_allclose(theory.weights(alpha, UPDATES), w, rtol=1e-12)
    # One more extrapolation, and w_T counts where w_{T-1} did.
    further = theory.closed_form(problem, run.rewards[:, None], alpha, beta, extrapolated=True)
    np.testing.assert_allclose(further[0], run.after[-1], atol=1e-12)


@pytest.mark.parametrize(("alpha", "beta"), WAYS)
def test_run_follows_algorithm_1(alpha, beta):
    """Section 2, SPPO: r_t = P(y > pi_t), pi_hat_{t+1} ~ pi_t exp(r_t/beta), then (3.6)."""
    rng = np.random.default_rng(2)
    matrix, log_ref = random_preference(rng, ARMS), random_bandit(rng, ARMS)[1]
    mine = ref.algorithm(log_ref, lambda t, pi: ref.win_rate(matrix, pi), beta, UPDATES, alpha)
    theirs = saved_run(
        game(matrix, log_ref),
        apo.SPPO(),
        apo.Constant(alpha),
        beta=beta,
        iterations=UPDATES,
    )
    np.testing.assert_allclose(theirs.log_policy[:, 0], mine.before, atol=1e-12)
    np.testing.assert_allclose(theirs.behaviour[:, 0], mine.after, atol=1e-12)
    assert np.ptp(mine.rewards, axis=0).max() > 1e-3  # the rewards did move
    shown = [ref.exploitability(matrix, np.exp(pi)) for pi in mine.before[1:]]
    np.testing.assert_allclose(theirs.suboptimality, shown, atol=1e-13)


def test_accumulated_weight_and_its_printed_slip():
    """T4.1: gamma_T = (1/beta)[T/(1-alpha) - alpha(1-alpha^T)/(1-alpha)^2], not as below (C.6)."""
    alpha, beta, updates = 0.6, 0.7, 6
    by_recursion = ref.gamma(alpha, beta, updates)
    tail = alpha * (1 - alpha**updates) / (1 - alpha) ** 2
    assert by_recursion == pytest.approx((updates / (1 - alpha) - tail) / beta, rel=1e-13)
    # Printed: the last exponent, one too low.
    tail = (alpha - alpha**updates) / (1 - alpha) ** 2
    printed = (updates / (1 - alpha) - tail) / beta
    assert (by_recursion, printed) == pytest.approx((16.32137, 16.48800), abs=5e-6)
    assert theory.gamma(alpha, beta, updates)[-1] == pytest.approx(by_recursion, rel=1e-13)
    assert theory.gamma_printed(alpha, beta, updates)[-1] == pytest.approx(printed, rel=1e-13)
    run = exact_run(alpha, beta)[-1]
    mine = [ref.gamma(alpha, beta, t) for t in range(1, UPDATES + 1)]
    np.testing.assert_allclose(run.gamma, mine, rtol=1e-13)


@pytest.mark.parametrize(("alpha", "beta"), WAYS)
def test_momentum_is_a_smaller_beta_on_bandits(alpha, beta):
    """N1: exact, Bradley-Terry: APO(alpha, beta) is plain at beta (1-alpha)/(1-alpha^(t+1))."""
    reward, mine, problem, theirs = exact_run(alpha, beta)
    schedule = beta * (1 - alpha) / (1 - alpha ** np.arange(1, UPDATES + 1))
    plain = ref.algorithm(mine.before[0], lambda t, _: reward, schedule, UPDATES)
    np.testing.assert_allclose(plain.before, mine.before, atol=1e-12)
    np.testing.assert_allclose(theory.matched_beta(alpha, beta, UPDATES), schedule, rtol=1e-12)
    np.testing.assert_allclose(theirs.log_policy[:, 0], mine.before, atol=1e-12)
    matched = saved_run(problem, beta=jnp.asarray(schedule), iterations=UPDATES)
    np.testing.assert_allclose(matched.log_policy[:, 0], mine.before, atol=1e-12)


def test_momentum_is_more_than_a_smaller_beta_where_rewards_move():
    """N1: false for SPPO, whose reward depends on pi_t: tenths of a nat apart at alpha = .9."""
    alpha, beta, apart = 0.9, 2.0, []
    schedule = beta * (1 - alpha) / (1 - alpha ** np.arange(1, UPDATES + 1))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        matrix, log_ref = random_preference(rng, ARMS), random_bandit(rng, ARMS)[1]

        def learn(_, pi, matrix=matrix):
            return ref.win_rate(matrix, pi)

        fast = ref.algorithm(log_ref, learn, beta, UPDATES, alpha)
        plain = ref.algorithm(log_ref, learn, schedule, UPDATES)
        problem, shared = game(matrix, log_ref), {"iterations": UPDATES}
        momentum = saved_run(problem, apo.SPPO(), apo.Constant(alpha), beta=beta, **shared)
        matched = saved_run(problem, apo.SPPO(), beta=jnp.asarray(schedule), **shared)
        np.testing.assert_allclose(momentum.log_policy[:, 0], fast.before, atol=1e-12)
        np.testing.assert_allclose(matched.log_policy[:, 0], plain.before, atol=1e-12)
        apart.append(np.max(np.abs(fast.before - plain.before)))
    assert min(apart) > 0.1


@FEW
@given(st.floats(0, 1), st.sampled_from([1, 3, 10]))
def test_effective_updates(alpha, updates):
    """N5: T_eff = (sum w)^2 / sum w^2 >= 3T/4 for every alpha in [0, 1) and T."""
    w = ref.weights(alpha, updates)
    effective = sum(w) ** 2 / sum(w**2)
    assert effective >= 0.75 * updates
    assert theory.effective_updates(alpha, updates) == pytest.approx(effective, rel=1e-9)


def test_three_quarters_is_the_limit():
    """N5: T_eff/T at alpha = .9 is .878, .847, .960 for T = 3, 10, 100; 3/4 in the limit."""

    def share(alpha, updates):
        w = ref.weights(alpha, updates)
        return sum(w) ** 2 / sum(w**2) / updates

    shares = [share(0.9, updates) for updates in (3, 10, 100)]
    assert shares == pytest.approx([0.878, 0.847, 0.960], abs=5e-4)
    found = float(theory.effective_updates(0.9, 10)) / 10
    assert found == pytest.approx(shares[1], rel=1e-12)
    assert 0.75 < share(1 - 1e-9, 3000) < 0.7504


def test_nesterov_gains_weight_quadratically():
    """N9: alpha_t = t/(t+3) gives beta gamma_T = T(T+7)/8; .1254 T^2 at T = 2000."""
    schedule = np.arange(1, 2001) / np.arange(4, 2004)
    step, total, totals = 0.0, 0.0, []
    for t in range(2000):
        # The step of update t + 1 is alpha_t times the last one and the new reward.
        step = (schedule[t - 1] if t else 0.0) * step + 1.0
        total += step
        totals.append(total)
    t = np.arange(1, 2001)
    np.testing.assert_allclose(totals, t * (t + 7) / 8, rtol=1e-12)
    assert totals[-1] / 2000**2 == pytest.approx(0.1254, abs=5e-5)
    np.testing.assert_allclose(theory.nesterov_schedule(2000), schedule, rtol=1e-15)
    reward, log_ref = random_bandit(np.random.default_rng(3), ARMS)
    run = saved_run(bandit(reward, log_ref), momentum=apo.Nesterov(), beta=2.0, iterations=UPDATES)
    np.testing.assert_allclose(run.gamma, np.array(totals[:UPDATES]) / 2.0, rtol=1e-12)
    mine = ref.algorithm(log_ref, lambda t, _: reward, 2.0, UPDATES, schedule[:UPDATES])
    np.testing.assert_allclose(run.log_policy[:, 0], mine.before, atol=1e-12)
    np.testing.assert_allclose(run.behaviour[:, 0], mine.after, atol=1e-12)


@pytest.mark.parametrize(("alpha", "beta"), WAYS)
def test_averaging_is_extrapolation(alpha, beta):
    """N19: averaging at beta (1 - alpha) weighs every reward as extrapolation at beta does."""
    reward, mine, problem, _ = exact_run(alpha, beta)
    log_ref = mine.before[0]
    given_rewards = np.random.default_rng(4).normal(size=(UPDATES, ARMS))
    average = ref.averaging(
        log_ref, lambda t, _: given_rewards[t], beta * (1 - alpha), UPDATES, alpha
    )
    extrapolated = ref.algorithm(log_ref, lambda t, _: given_rewards[t], beta, UPDATES, alpha)
    # The policy that averaging moves is the one that extrapolation trains.
    np.testing.assert_allclose(average.after, extrapolated.before, atol=1e-12)
    run = saved_run(
        problem,
        momentum=apo.Averaging(alpha),
        beta=beta * (1 - alpha),
        iterations=UPDATES,
    )
    np.testing.assert_allclose(run.behaviour[:, 0], mine.before, atol=1e-12)
    own = ref.averaging(log_ref, lambda t, _: reward, beta * (1 - alpha), UPDATES, alpha)
    np.testing.assert_allclose(run.log_policy[:, 0], own.before, atol=1e-12)


@pytest.mark.parametrize(("alpha", "beta"), WAYS)
def test_momentum_from_the_centre_is_a_longer_step(alpha, beta):
    """Tab3: momentum pi_hat_{t+1} - pi_t is plain at beta/(1 + alpha): the same centres pi_t."""
    rng = np.random.default_rng(5)
    matrix, log_ref = random_preference(rng, ARMS), random_bandit(rng, ARMS)[1]

    def learn(_, pi):
        return ref.win_rate(matrix, pi)

    mine = ref.algorithm(log_ref, learn, beta, UPDATES, alpha, momentum="after")
    plain = ref.algorithm(log_ref, learn, beta / (1 + alpha), UPDATES)
    np.testing.assert_allclose(mine.after, plain.before, atol=1e-12)
    run = saved_run(
        game(matrix, log_ref),
        apo.SPPO(),
        apo.FromBehaviour(alpha),
        beta=beta,
        iterations=UPDATES,
    )
    np.testing.assert_allclose(run.behaviour[:, 0], mine.after, atol=1e-12)
    np.testing.assert_allclose(run.log_policy[:, 0], mine.before, atol=1e-12)
