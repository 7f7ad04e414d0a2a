import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apo_sim import theory
from apo_sim.errors import InvalidArgument

from .dynamics import run

ALPHAS = st.one_of(
    st.sampled_from([0.0, 0.3, 0.9, 0.999, 1 - 1e-12, 1.0]), st.floats(0.0, 1.0, width=64)
)
EXTREME_ALPHAS = [0.0, 1e-12, 0.3, 0.9, 0.999, 1 - 1e-6, 1 - 1e-12]


def exact_weight(alpha, k):
    with mpmath.workdps(60):
        a = mpmath.mpf(float(alpha))
        return mpmath.mpf(k) if a == 1 else (1 - a**k) / (1 - a)


def exact_gamma(alpha, beta, iterations):
    with mpmath.workdps(60):
        a, b = mpmath.mpf(float(alpha)), mpmath.mpf(float(beta))
        if a == 1:
            return iterations * (iterations + mpmath.mpf(1)) / 2 / b
        return (iterations / (1 - a) - a * (1 - a**iterations) / (1 - a) ** 2) / b


@settings(max_examples=20, deadline=None)
@given(ALPHAS)
def test_weights_are_the_geometric_sums(alpha):
    got = theory.weights(alpha, 40)
    expected = [float(exact_weight(alpha, k)) for k in range(1, 41)]
    np.testing.assert_allclose(got, expected, rtol=1e-14)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_schedules_follow_the_dynamics(seed):
    rng = np.random.default_rng(seed)
    alpha, beta = rng.uniform(0, 1, 7), rng.uniform(0.5, 2, 7)
    log_ref = np.log(np.full((1, 2), 0.5))
    factors = []
    for i in range(7):
        impulse = run(log_ref, lambda t, _, i=i: np.array([[1.0 * (t == i), 0.0]]), alpha, beta, 7)
        factors.append(impulse.log_policy[-1] @ [1, -1])
    factors = np.ravel(factors)
    np.testing.assert_allclose(theory.reward_weights(alpha, beta, 7), factors, rtol=1e-10)
    np.testing.assert_allclose(theory.weights(alpha, 7), (factors * beta)[::-1], rtol=1e-10)
    equal = run(log_ref, lambda t, _: np.array([[1.0, 0.0]]), alpha, beta, 7)
    np.testing.assert_allclose(
        theory.gamma(alpha, beta, 7), equal.log_policy[1:, 0] @ [1, -1], rtol=1e-10
    )


@settings(max_examples=20, deadline=None)
@given(ALPHAS, st.floats(1e-6, 1e6))
def test_gamma_sums_the_factors(alpha, beta):
    factors = theory.reward_weights(alpha, beta, 25)
    np.testing.assert_allclose(theory.gamma(alpha, beta, 25)[-1], factors.sum(), rtol=1e-13)


@pytest.mark.parametrize("beta", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("alpha", [*EXTREME_ALPHAS, 1.0])
def test_extremes(alpha, beta):
    iterations = 10**6
    # Every step rounds once where the processor multiplies and adds in one go, else twice.
    rounding = iterations * np.finfo(float).eps / 10
    got = theory.gamma(alpha, beta, iterations)
    assert np.all(np.isfinite(got)) and np.all(np.diff(got) > 0)
    exact = float(exact_gamma(alpha, beta, iterations))
    assert float(got[-1]) == pytest.approx(exact, rel=rounding)
    last = theory.weights(alpha, iterations)[-1]
    assert float(last) == pytest.approx(float(exact_weight(alpha, iterations)), rel=1e-12)


def test_the_slip_below_c6():
    assert float(theory.gamma(0.6, 0.7, 6)[-1]) == pytest.approx(16.32137, abs=5e-6)
    assert float(theory.gamma_printed(0.6, 0.7, 6)[-1]) == pytest.approx(16.48800, abs=5e-6)
    t, alpha, beta = np.arange(1, 7), 0.6, 0.7
    printed = (t / (1 - alpha) - (alpha - alpha**t) / (1 - alpha) ** 2) / beta
    np.testing.assert_allclose(theory.gamma_printed(alpha, beta, 6), printed, rtol=1e-13)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 0.999), st.floats(1e-3, 1e3))
def test_matched_beta_is_the_formula_of_n1_and_gives_the_same_gamma(alpha, beta):
    matched = theory.matched_beta(alpha, beta, 30)
    t = np.arange(30)
    np.testing.assert_allclose(
        matched, beta * (1 - alpha) / (1 - alpha ** (t + 1)), rtol=1e-11, atol=0
    )
    np.testing.assert_allclose(
        theory.gamma(0.0, matched, 30), theory.gamma(alpha, beta, 30), rtol=1e-12
    )


def test_without_matching_gamma_differs():
    assert float(theory.gamma(0.0, 1.0, 30)[-1]) < 0.6 * float(theory.gamma(0.5, 1.0, 30)[-1])


@pytest.mark.parametrize(("iterations", "share"), [(3, 0.878), (10, 0.847), (100, 0.960)])
def test_effective_updates_known_figures(iterations, share):
    assert float(theory.effective_updates(0.9, iterations)) / iterations == pytest.approx(
        share, abs=5e-4
    )


@settings(max_examples=20, deadline=None)
@given(ALPHAS, st.sampled_from([1, 2, 5, 50]))
def test_effective_updates_lie_between_three_quarters_and_all(alpha, iterations):
    effective = float(theory.effective_updates(alpha, iterations))
    assert 0.75 * iterations <= effective <= iterations * (1 + 1e-12)


def test_three_quarters_is_the_limit():
    assert float(theory.effective_updates(1.0, 10**5)) / 10**5 == pytest.approx(0.75, abs=1e-4)
    # The control: no larger share would do.
    assert float(theory.effective_updates(1.0, 10**5)) / 10**5 < 0.751


def test_matching_beta_averages_over_as_many_updates():
    matched = theory.matched_beta(0.9, 5.0, 20)
    assert float(theory.effective_updates(0.0, 20, matched)) == pytest.approx(
        float(theory.effective_updates(0.9, 20))
    )


def test_nesterov_schedule():
    np.testing.assert_allclose(theory.nesterov_schedule(4), [1 / 4, 2 / 5, 3 / 6, 4 / 7])
    gamma = theory.gamma(theory.nesterov_schedule(2000), 3.0, 2000)
    assert 3.0 * float(gamma[-1]) / 2000**2 == pytest.approx(0.1254, abs=5e-5)
    ratio = 3.0 * np.asarray(gamma)[[99, 999, 1999]] / np.array([100, 1000, 2000]) ** 2
    assert np.all(np.diff(ratio) < 0) and ratio[-1] > 0.125


def test_inside_transformations():
    alphas, betas = jnp.array([0.0, 0.5, 1.0]), jnp.array([0.1, 1.0, 10.0])
    batched = jax.jit(jax.vmap(lambda a, b: theory.gamma(a, b, 9)))(alphas, betas)
    for row, a, b in zip(batched, alphas, betas, strict=True):
        np.testing.assert_allclose(row, theory.gamma(a, b, 9), rtol=1e-14)
    slope = jax.grad(lambda a: theory.gamma(a, 1.0, 5)[-1])(1.0)
    assert float(slope) == pytest.approx(sum(k * (k - 1) / 2 for k in range(1, 6)))
    jax.jit(lambda a: theory.effective_updates(a, 4))(0.5)
    jax.jit(lambda a: theory.matched_beta(a, 2.0, 4))(0.5)
    jax.jit(lambda a: theory.gamma_printed(a, 2.0, 4))(0.5)


def test_unrestricted_extrapolation():
    np.testing.assert_allclose(theory.weights(-0.5, 3, unrestricted=True), [1, 0.5, 0.75])
    np.testing.assert_allclose(theory.weights(2.0, 3, unrestricted=True), [1, 3, 7])


@pytest.mark.parametrize(
    ("call", "argument", "says"),
    [
        (lambda: theory.weights(1.5, 3), "alpha", r"outside \[0, 1\]; .*unrestricted=True"),
        (lambda: theory.weights(-0.1, 3), "alpha", r"outside \[0, 1\]"),
        (lambda: theory.weights(jnp.array([0.1, 2.0, 0.1]), 3), "alpha", r"outside \[0, 1\]"),
        (lambda: theory.weights(float("nan"), 3), "alpha", "not finite"),
        (lambda: theory.weights(jnp.zeros(4), 3), "alpha", r"shape \(4,\); .*\(3,\)"),
        (lambda: theory.weights(0.1, 0), "iterations", "integer >= 1"),
        (lambda: theory.weights(0.1, True), "iterations", "integer >= 1"),
        (lambda: theory.gamma(0.1, 0.0, 3), "beta", "positive and finite"),
        (lambda: theory.gamma(0.1, -1.0, 3), "beta", "positive and finite"),
        (lambda: theory.gamma(0.1, float("inf"), 3), "beta", "positive and finite"),
        (lambda: theory.gamma(0.1, jnp.ones(2), 3), "beta", r"shape \(2,\)"),
        (lambda: theory.gamma(0.1, jnp.array([1.0, 0.0, 1.0]), 3), "beta", "positive"),
        (lambda: theory.gamma_printed(1.0, 1.0, 3), "alpha", r"outside \[0, 1\)"),
        (lambda: theory.gamma_printed(jnp.zeros(3), 1.0, 3), "alpha", r"shape \(3,\)"),
        (lambda: theory.effective_updates(2.0, 3), "alpha", "outside"),
        (lambda: theory.nesterov_schedule(0), "iterations", "integer >= 1"),
    ],
)
def test_bad_input(call, argument, says):
    with pytest.raises(InvalidArgument, match=says) as caught:
        call()
    assert caught.value.argument == argument


def test_traced_iterations_are_refused():
    with pytest.raises((InvalidArgument, TypeError), match=r"traced|iterations"):
        jax.jit(lambda t: theory.weights(0.5, t))(3)
