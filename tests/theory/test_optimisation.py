import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from apo_sim import theory
from apo_sim.errors import InvalidArgument
from apo_sim.problems import Bandit

from .dynamics import log_normalise, random_game, solution

PS = [1e-300, 1e-100, 1e-12, 0.01, 0.3, 0.41, 0.5, 0.9, 1 - 1e-6, 1 - 1e-12]
MASSES = st.one_of(st.sampled_from(PS), st.floats(1e-6, 0.99))


def exact_w(p):
    with mpmath.workdps(60):
        p = mpmath.mpf(p)
        return float(mpmath.lambertw((1 - p) / (mpmath.e * p)).real)


def test_wright_omega_against_scipy():
    x = np.concatenate([np.linspace(-700, 50, 3001), np.logspace(1, 300, 500), [0.0, 1.0]])
    oracle = scipy.special.wrightomega(x)
    # Below zero it is nearly exp(x), which magnifies the rounding of x by |x|.
    tolerance = 4e-16 * (4 + np.maximum(-x, 0))
    assert np.all(np.abs(np.asarray(theory.wright_omega(x)) / oracle - 1) < tolerance)


@pytest.mark.parametrize("p", PS)
def test_sharp_constant_against_two_oracles(p):
    got = float(theory.sharp_gap(p, 1.0))
    assert got == pytest.approx(exact_w(p), rel=1e-13)
    if p < 1 - 1e-8:  # beyond, SciPy's argument itself has lost its digits
        oracle = scipy.special.lambertw((1 - p) / (np.e * p)).real
        assert got == pytest.approx(oracle, rel=1e-7)
    by_log = float(theory.sharp_gap(None, 1.0, log_p_star=np.log(p)))
    assert by_log == pytest.approx(got, rel=1e-12)


def test_below_the_smallest_float_and_at_one():
    got = float(theory.sharp_gap(None, 2.0, log_p_star=-1e6))
    with mpmath.workdps(60):
        x = mpmath.mpf(10) ** 6 - 1
        expected = x
        for _ in range(200):
            expected = x - mpmath.log(expected)
    assert got == pytest.approx(float(expected) / 2, rel=1e-14)
    assert float(theory.sharp_gap(1.0, 1.0)) == 0.0
    near_one = float(theory.sharp_gap(None, 1.0, log_p_star=-1e-30))
    assert near_one == pytest.approx(1e-30 / np.e, rel=1e-12)


def test_known_figures():
    assert float(theory.sharp_gap(0.01, 1.0)) == pytest.approx(2.629, abs=5e-4)
    assert float(theory.gap_printed(0.01, 1.0)) == pytest.approx(4.595, abs=5e-4)
    assert float(theory.gap_gibbs(0.01, 1.0)) == pytest.approx(4.605, abs=5e-4)


def gibbs_policy(seed, p, gamma, arms=5):
    """A random bandit of one context whose best arm has mass p, and its exact policy."""
    rng = np.random.default_rng(seed)
    # Log-uniform gaps around 1/gamma, where the bound is nearly attained.
    regret = np.concatenate([[0.0], np.exp(rng.uniform(-2, 2, arms - 1)) / gamma])
    rest = log_normalise(rng.normal(size=arms - 1)) + np.log1p(-p)
    log_ref = np.concatenate([[np.log(p)], rest])
    return regret, log_normalise(log_ref - gamma * regret)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), MASSES, st.sampled_from([1e-6, 1.0, 1e6]))
def test_gap_and_tv_bounds_hold(seed, p, gamma):
    regret, log_policy = gibbs_policy(seed, p, gamma)
    gap = np.exp(log_policy) @ regret
    sharp = float(theory.sharp_gap(p, gamma))
    assert gap <= sharp * (1 + 1e-9)
    assert sharp <= float(theory.gap_gibbs(p, gamma)) * (1 + 1e-12)
    tv = np.exp(log_policy[1:]).sum()
    sharp_tv = float(theory.sharp_tv(p, np.sort(regret)[1], gamma))
    assert tv <= sharp_tv * (1 + 1e-9)
    assert sharp_tv <= float(theory.tv_printed(p, np.sort(regret)[1], gamma)) * (1 + 1e-12)


@settings(max_examples=15, deadline=None)
@given(st.floats(1e-9, 0.99), st.floats(1e-3, 1e3))
def test_two_level_rewards_attain_the_sharp_bounds(p, gamma):
    gap = theory.worst_case_gap(p, gamma)
    bandit = theory.two_level(p, gap)
    log_policy = theory.exact_policy(bandit, gamma)
    attained, bound = float(bandit.suboptimality(log_policy)), float(theory.sharp_gap(p, gamma))
    assert attained == pytest.approx(bound, rel=1e-9)
    # The control: the bound divided by two is violated by these rewards.
    assert attained > bound / 2
    tv = float(bandit.total_variation(log_policy))
    assert tv == pytest.approx(float(theory.sharp_tv(p, gap, gamma)), rel=1e-9)
    assert tv > float(theory.sharp_tv(p, gap, gamma)) / 2


def test_other_two_level_gaps_stay_below():
    shares = []
    for factor in [0.5, 0.9, 1.0, 1.1, 2.0]:
        bandit = theory.two_level(0.05, factor * theory.worst_case_gap(0.05, 3.0))
        gap = bandit.suboptimality(theory.exact_policy(bandit, 3.0))
        shares.append(float(gap / theory.sharp_gap(0.05, 3.0)))
    assert np.argmax(shares) == 2 and max(shares[:2] + shares[3:]) < 0.999


@pytest.mark.parametrize("p", [0.41, 0.45, 0.6, 0.9])
def test_the_printed_gap_bound_is_false_for_large_p(p):
    bandit = theory.two_level(p, theory.worst_case_gap(p, 2.0))
    gap = float(bandit.suboptimality(theory.exact_policy(bandit, 2.0)))
    assert gap <= float(theory.gap_gibbs(p, 2.0))
    assert gap > float(theory.gap_printed(p, 2.0))
    assert (float(theory.gap_printed(p, 2.0)) < 0) == (p > 0.5)


def test_where_the_printed_bound_crosses_the_sharp_one():
    threshold = 1 / (1 + np.exp(np.exp(-1)))
    p = threshold * np.array([1e-9, 0.1, 0.9, 1 - 1e-6, 1 + 1e-6, 1.1, 2.0])
    above = np.asarray(theory.gap_printed(p, 1.0)) > np.asarray(theory.sharp_gap(p, 1.0))
    np.testing.assert_array_equal(above, p < threshold)


def test_log_forms_reach_where_the_others_end():
    assert float(theory.log_sharp_tv(0.5, 1.0, 1e6)) == pytest.approx(-1e6)
    assert float(theory.sharp_tv(0.5, 1.0, 1e6)) == 0.0
    assert float(theory.log_tv_printed(None, 0.5, 1.0, log_p_star=-1e5)) == pytest.approx(
        (1e5 - 0.5 - np.log(2)) / 2
    )
    for p in PS:
        for gamma in [1e-6, 1.0, 1e6, 1e18]:
            for bound in [theory.log_sharp_tv, theory.log_tv_printed, theory.sharp_tv]:
                assert np.isfinite(float(bound(p, 0.5, gamma)))
            for bound in [theory.sharp_gap, theory.gap_gibbs, theory.gap_printed]:
                assert np.isfinite(float(bound(p, gamma)))


@pytest.mark.parametrize("p", PS)
@pytest.mark.parametrize("exponent", [1e-9, 1.0, 30.0])
def test_sharp_tv_digits(p, exponent):
    with mpmath.workdps(60):
        m = mpmath.mpf(p)
        expected = float((1 - m) / (m * mpmath.exp(mpmath.mpf(exponent)) + 1 - m))
    assert float(theory.sharp_tv(p, exponent, 1.0)) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.5, 0.9]))
def test_sharp_tv_bounds_exact_sppo_under_dominance(seed, alpha):
    rng = np.random.default_rng(seed)
    game = random_game(seed, contexts=1)
    lift = rng.uniform(0, 1, 4)
    lift = np.sort(lift)[::-1]
    preference = 0.5 + 0.5 * (lift[:, None] - lift[None, :])
    game = type(game)(jnp.asarray(preference[None]), game.log_ref)
    delta = float(game.dominance[0])
    assert delta >= 0
    path = solution(
        np.asarray(game.log_ref),
        lambda _, log_policy: np.einsum("xij,xj->xi", preference[None], np.exp(log_policy)),
        alpha,
        0.3,
        25,
    )
    tv = [float(game.total_variation(jnp.asarray(p))) for p in path.log_policy[1:]]
    bound = theory.sharp_tv(None, delta, path.gamma, log_p_star=game.log_best_ref[0])
    assert np.all(np.array(tv) <= np.asarray(bound) * (1 + 1e-9))


def test_slope_of_the_losing_arms():
    bandit = Bandit(jnp.array([[0.9, 0.4, -0.6]]), jnp.log(jnp.array([[0.2, 0.3, 0.5]])))
    gamma = theory.gamma(0.8, 3.0, 400)
    last = theory.exact_policy(bandit, gamma[-1]) - theory.exact_policy(bandit, gamma[-2])
    slope = theory.asymptotic_slope(bandit.reward[0, 0] - bandit.reward[0], 0.8, 3.0)
    np.testing.assert_allclose(-last[0], slope, atol=1e-9)
    # The control: O(log T) would mean a slope that vanishes.
    assert np.all(-np.asarray(last)[0, 1:] > 0.5)


def test_inside_transformations():
    ps, gammas = jnp.array([1e-3, 0.2, 0.7]), jnp.array([1.0, 10.0, 0.1])

    def bounds(p, gamma):
        gaps = theory.sharp_gap(p, gamma), theory.gap_printed(p, gamma), theory.gap_gibbs(p, gamma)
        return *gaps, theory.sharp_tv(p, 0.5, gamma), theory.tv_printed(p, 0.5, gamma)

    for batched, plain in zip(
        jax.jit(jax.vmap(bounds))(ps, gammas), bounds(ps, gammas), strict=True
    ):
        np.testing.assert_allclose(batched, plain, rtol=1e-12)
    # dW/d log p by hand: W' = -W/((1 + W)(1 - p)).
    w = float(theory.sharp_gap(0.2, 1.0))
    slope = jax.grad(lambda log_p: theory.sharp_gap(None, 1.0, log_p_star=log_p))(jnp.log(0.2))
    assert float(slope) == pytest.approx(-w / (1 + w) / 0.8, rel=1e-12)
    bandit = jax.jit(lambda p: theory.two_level(p, 1.0))(ps)
    assert bandit.log_ref.shape == (3, 2)


@pytest.mark.parametrize(
    ("call", "argument", "says"),
    [
        (lambda: theory.sharp_gap(0.0, 1.0), "p_star", r"not in \(0, 1\]"),
        (lambda: theory.sharp_gap(1.5, 1.0), "p_star", r"not in \(0, 1\]"),
        (lambda: theory.sharp_gap(None, 1.0), "p_star", "pass one of them"),
        (lambda: theory.sharp_gap(0.5, 1.0, log_p_star=-1.0), "p_star", "pass one of them"),
        (lambda: theory.sharp_gap(None, 1.0, log_p_star=0.1), "log_p_star", "at most 0"),
        (lambda: theory.sharp_gap(0.5, 0.0), "gamma", "positive"),
        (lambda: theory.gap_gibbs(0.5, -1.0), "gamma", "positive"),
        (lambda: theory.gap_printed(0.5, float("nan")), "gamma", "positive and finite"),
        (lambda: theory.sharp_tv(0.5, float("nan"), 1.0), "gap", "not finite"),
        (lambda: theory.tv_printed(-0.5, 1.0, 1.0), "p_star", r"not in \(0, 1\]"),
        (lambda: theory.two_level(0.5, 0.0), "gap", "positive"),
        (lambda: theory.asymptotic_slope(0.5, 1.0, 1.0), "alpha", r"outside \[0, 1\)"),
        (lambda: theory.asymptotic_slope(0.5, 0.5, 0.0), "beta", "positive"),
    ],
)
def test_bad_input(call, argument, says):
    with pytest.raises(InvalidArgument, match=says) as caught:
        call()
    assert caught.value.argument == argument
