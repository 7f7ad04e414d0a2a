"""General preferences: a dominant arm, averages, cycles, and what IPO's exact step is."""

import numpy as np
import pytest

import apo_sim as apo
from apo_sim import theory

from . import reference as ref
from .instances import game, random_bandit, random_preference, saved_run

ARMS, UPDATES = 3, 40


def play(matrix, log_ref, beta, updates=UPDATES, alpha=0.0):
    return ref.algorithm(log_ref, lambda _, pi: ref.win_rate(matrix, pi), beta, updates, alpha)


def dominated_games(seed, draws):
    """Random games of which one arm meets Assumption B.1: (matrix, log_ref, best, Delta)."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(draws):
        matrix, log_ref = random_preference(rng, ARMS), random_bandit(rng, ARMS)[1]
        leads = [ref.dominance(matrix, arm) for arm in range(ARMS)]
        if max(leads) > 0:
            found.append((matrix, log_ref, int(np.argmax(leads)), max(leads)))
    return found


def test_share_of_games_with_a_dominant_arm():
    """AB.1: of random games of three arms about 37 % have an arm that dominates."""
    share = len(dominated_games(0, 4000)) / 4000
    assert share == pytest.approx(0.37, abs=0.03)  # four standard errors
    for matrix, log_ref, best, lead in dominated_games(1, 10):
        problem = game(matrix, log_ref)
        assert int(problem.best_arm[0]) == best
        assert float(problem.dominance[0]) == pytest.approx(lead, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_dominant_arm_wins_exponentially(alpha):
    """TB.2 and N10: SPPO under B.1: DTV <= (1-p)/(p e^(gamma Delta) + 1-p), rewards moving."""
    beta, broken = 2.0, []
    for matrix, log_ref, best, delta in dominated_games(2, 15):
        mine = play(matrix, log_ref, beta, alpha=alpha)
        p = np.exp(log_ref[best])
        gammas = np.array([ref.gamma(alpha, beta, t) for t in range(1, UPDATES + 1)])
        distance = ref.off_mass(mine.before[1:], best)
        sharp = (1 - p) / (p * np.exp(gammas * delta) + 1 - p)
        printed = np.sqrt(np.exp(-gammas * delta) / (2 * p))
        assert np.all(distance <= sharp)
        assert np.all(distance <= printed)
        doubled = (1 - p) / (p * np.exp(gammas * 2 * delta) + 1 - p)
        broken.append(np.any(distance > doubled))
        run = saved_run(
            game(matrix, log_ref),
            apo.SPPO(),
            apo.Constant(alpha),
            beta=beta,
            iterations=UPDATES,
            save=("path", "average"),
        )
        np.testing.assert_allclose(run.tv, distance, rtol=1e-9)
        np.testing.assert_allclose(theory.sharp_tv(p, delta, gammas), sharp, rtol=1e-9)
        np.testing.assert_allclose(theory.tv_printed(p, delta, gammas), printed, rtol=1e-9)
    assert any(broken)  # twice the dominance would be too much to ask


def test_average_policy():
    """RB.3: the average of pi_0 ... pi_{T-1} of plain SPPO is exploitable by at most
    beta log(1/p_min)/T + 1/(8 beta), on any game.
    """
    rng, ratios = np.random.default_rng(3), []
    for beta in (0.3, 1.0, 4.0):
        bound = beta * np.log(ARMS) / UPDATES + 1 / (8 * beta)
        assert float(theory.average_exploitability(beta, UPDATES, 1 / ARMS)) == pytest.approx(bound)
        for _ in range(10):
            matrix, uniform = random_preference(rng, ARMS), np.full(ARMS, -np.log(ARMS))
            mine = play(matrix, uniform, beta)
            average = np.exp(mine.after[:-1]).mean(axis=0)
            ratios.append(ref.exploitability(matrix, average) / bound)
            # A policy that nobody beats exists, so that the average is compared with zero.
            assert ref.exploitability(matrix, ref.equilibrium(matrix)) <= 1e-9
    assert 0.2 < max(ratios) <= 1


def test_running_average_of_the_package():
    """Section 1: the average policy after t updates is the mean of pi_hat_1 ... pi_hat_t."""
    rng = np.random.default_rng(4)
    matrix, log_ref = random_preference(rng, ARMS), random_bandit(rng, ARMS)[1]
    mine = play(matrix, log_ref, 2.0, alpha=0.7)
    run = saved_run(
        game(matrix, log_ref),
        apo.SPPO(),
        apo.Constant(0.7),
        beta=2.0,
        iterations=UPDATES,
        save=("path", "average"),
    )
    means = np.cumsum(np.exp(mine.before[1:]), axis=0) / np.arange(1, UPDATES + 1)[:, None]
    stated = [ref.exploitability(matrix, mean) for mean in means]
    np.testing.assert_allclose(run.average_suboptimality, stated, atol=1e-12)


def growth_stated(mu, alpha):
    return mu**2 * (1 - alpha + 2 * alpha**2) / (2 * (1 - alpha) ** 3)


def largest_root(mu, alpha):
    """Of x_{t+1} = (1 + i mu)(x_t + alpha (x_t - x_{t-1})), the linearised recursion."""
    turn = 1 + 1j * mu
    return max(abs(np.roots([1, -turn * (1 + alpha), turn * alpha])))


def test_no_constant_momentum_converges_on_a_cycle():
    """N11: the distance grows per update by mu^2 (1 - a + 2 a^2)/(2 (1 - a)^3), a in (-1, 1)."""
    for alpha in np.linspace(-0.95, 0.9, 38):
        mu = 1e-3 * (1 - alpha)
        root = np.log(largest_root(mu, alpha))
        assert root == pytest.approx(growth_stated(mu, alpha), rel=1e-2)
        assert root > 0
    # A negative one halves the growth at best.
    assert growth_stated(1.0, -1.0) == pytest.approx(growth_stated(1.0, 0.0) / 2)


@pytest.mark.parametrize("alpha", [-0.9, -0.3, 0.0, 0.3, 0.6])
def test_growth_on_an_uneven_cycle(alpha):
    """N11: the same by simulation of SPPO near the equilibrium of rock, paper and scissors."""
    first, second, third = 0.45, 0.3, 0.2  # leads of 1 over 2, 2 over 3, 3 over 1
    skew = np.array([[0, first, -third], [-first, 0, second], [third, -second, 0]])
    centre = ref.equilibrium(0.5 + skew)
    np.testing.assert_allclose(centre, np.array([second, third, first]) / 0.95, atol=1e-9)
    beta = 4.0 / (1 - alpha)
    # r = P pi, and pi moves by (diag(pi) - pi pi^T) u when log pi moves by u.
    moves = skew @ (np.diag(centre) - np.outer(centre, centre)) / beta
    values, left = np.linalg.eig(moves.T)
    np.testing.assert_allclose(np.real(values), 0, atol=1e-12)
    turning, mu = left[:, np.argmax(np.imag(values))], np.max(np.imag(values))

    start = ref.normalise(np.log(centre) + 1e-5 * np.array([1.0, -1.0, 0.3]))
    mine = play(0.5 + skew, start, beta, 300, alpha)

    def growth(path):
        amplitude = np.abs((path - np.log(centre)) @ turning)
        # The other root has died out by then.
        return np.log(amplitude[-1] / amplitude[100]) / 200

    assert growth(mine.before) == pytest.approx(np.log(largest_root(mu, alpha)), rel=1e-3)
    assert growth(mine.before) == pytest.approx(growth_stated(mu, alpha), rel=0.03)
    run = saved_run(
        game(0.5 + skew, start),
        apo.SPPO(),
        apo.Constant(alpha, unrestricted=True),
        beta=beta,
        iterations=300,
    )
    assert growth(np.asarray(run.log_policy)[:, 0]) == pytest.approx(growth(mine.before), rel=1e-4)


@pytest.mark.parametrize("tau", [0.5, 3.0])
def test_ipo_is_sppo(tau):
    """N12: the exact IPO step is (2/tau) P(y > pi_t) + const: SPPO at beta tau/2."""
    rng, beta, alpha = np.random.default_rng(5), 4.0 / tau, 0.4
    matrix, log_ref = random_preference(rng, ARMS), random_bandit(rng, ARMS)[1]
    mine = ref.algorithm(
        log_ref, lambda _, pi: ref.ipo_reward(matrix, pi, tau), beta, UPDATES, alpha
    )
    scaled = ref.win_rate(matrix, log_ref) * 2 / tau - mine.rewards[0]
    assert np.ptp(scaled) < 1e-12
    np.testing.assert_allclose(
        mine.before, play(matrix, log_ref, beta * tau / 2, alpha=alpha).before, atol=1e-8
    )
    assert float(theory.ipo_beta(beta, tau)) == pytest.approx(beta * tau / 2, rel=1e-12)
    assert float(theory.ipo_reward_scale(tau)) == pytest.approx(2 / tau, rel=1e-12)
    run = saved_run(
        game(matrix, log_ref),
        apo.IPO(tau),
        apo.Constant(alpha),
        beta=beta,
        iterations=UPDATES,
    )
    np.testing.assert_allclose(run.log_policy[:, 0], mine.before, atol=1e-8)
