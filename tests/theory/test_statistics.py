import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apo_sim import theory
from apo_sim.errors import InvalidArgument, UnknownName

from .dynamics import random_bandit, solution

FLAVOURS: list[theory.Flavour] = ["printed", "corrected", "sharp"]
VALID = FLAVOURS[1:]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("bound", [1e-3, 0.5, 1.0, 1 + 1e-7, 1.5, 5.0, 300.0])
def test_slopes_against_mpmath(bound):
    with mpmath.workdps(400):

        def sig(z):
            return 1 / (1 + mpmath.exp(-mpmath.mpf(z)))

        r = mpmath.mpf(bound)
        printed = sig(1 + r) * sig(-1 - r)
        sharp = (sig(2 * r) - sig(2)) / (2 * r - 2) if r > 1 else sig(2 * r) * sig(-2 * r)
        printed, sharp = float(mpmath.log(printed)), float(mpmath.log(sharp))
    assert float(theory.log_slope(bound, "printed")) == pytest.approx(printed, rel=1e-13)
    assert float(theory.log_slope(bound, "corrected")) == pytest.approx(printed, rel=1e-13)
    assert float(theory.log_slope(bound, "sharp")) == pytest.approx(sharp, rel=1e-13)


@pytest.mark.parametrize("bound", [0.3, 1.0, 2.0, 6.0])
def test_slopes_bound_every_difference_quotient(bound):
    true = np.linspace(-2 * min(1, bound), 2 * min(1, bound), 401)[:, None]
    fitted = np.linspace(-2 * bound, 2 * bound, 803)[None, :] + 1e-9  # never equal
    quotient = (sigmoid(true) - sigmoid(fitted)) / (true - fitted)
    corrected, sharp = (np.exp(float(theory.log_slope(bound, f))) for f in VALID)
    assert quotient.min() >= sharp * (1 - 1e-7)
    assert sharp >= corrected
    # The control: no larger slope would do.
    assert quotient.min() < 1.02 * sharp


def test_the_sharp_price_of_a_large_bound_is_linear():
    prices = [np.exp(-float(theory.log_slope(r, "sharp"))) / r for r in [1e2, 1e3, 1e4]]
    assert prices == pytest.approx([2 / sigmoid(-2)] * 3, rel=0.02)
    assert -float(theory.log_slope(1e4, "corrected")) == pytest.approx(10001.0)


def test_reward_error_bound_by_hand():
    log_size, slope = np.log(8), sigmoid(2.5) * sigmoid(-2.5)
    expected = np.log(8 / 0.05) / 1000 / slope**2
    got = [float(theory.reward_error_bound(1000, log_size, 1.5, 0.05, flavour=f)) for f in FLAVOURS]
    assert got[0] == pytest.approx(expected, rel=1e-12)
    assert got[1] == pytest.approx(2 * expected, rel=1e-12)
    secant = sigmoid(3.0) - sigmoid(2.0)
    assert got[2] == pytest.approx(2 * np.log(8 / 0.05) / 1000 / secant**2, rel=1e-12)


def fitted_errors(rng, repetitions, samples, candidates=16, arms=4):
    """Mean squared errors of maximum likelihood over a finite class that holds the truth."""
    rewards = rng.uniform(-1, 1, (repetitions, candidates, arms))
    policy = rng.dirichlet(np.ones(arms), repetitions)
    difference = rewards[..., :, None] - rewards[..., None, :]
    pair = policy[:, :, None] * policy[:, None, :]
    cell = pair * sigmoid(difference[:, 0])  # the first candidate is the truth
    wins = np.stack([rng.multinomial(samples, c.ravel() / c.sum()) for c in cell])
    log_likelihood = np.einsum(
        "rc,rkc->rk", wins, np.log(sigmoid(difference)).reshape(repetitions, candidates, -1)
    )
    best = difference[np.arange(repetitions), log_likelihood.argmax(axis=1)]
    return np.einsum("rij,rij->r", pair, (best - difference[:, 0]) ** 2)


@pytest.mark.parametrize("flavour", VALID)
def test_maximum_likelihood_keeps_to_the_reward_error_bound(flavour):
    errors = fitted_errors(np.random.default_rng(0), 2000, samples=300)
    bound = float(theory.reward_error_bound(300, np.log(16), 1.0, 0.05, flavour=flavour))
    assert np.mean(errors > bound) <= 0.05
    # The control: a bound a hundred times smaller is broken too often.
    assert np.mean(errors > bound / 100) > 0.05


def tv_between(p, q, context_probs):
    return context_probs @ np.abs(np.exp(p) - np.exp(q)).sum(axis=1) / 2


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.5, 0.9]), st.floats(0.05, 3.0))
def test_errors_of_the_rewards_propagate_as_the_bounds_say(seed, alpha, noise):
    bandit = random_bandit(seed)
    rng = np.random.default_rng(seed + 1)
    reward, context_probs = np.asarray(bandit.reward), np.asarray(bandit.context_probs)
    errors = noise * rng.normal(size=(6, 2, 4))
    path = solution(np.asarray(bandit.log_ref), lambda t, _: reward + errors[t], alpha, 2.0, 6)
    exact = theory.exact_policy(bandit, path.gamma[-1])
    kappa = theory.coverage(path.log_policy[-1], exact, path.behaviour[:-1])

    policy = np.exp(path.behaviour[:-1])
    variance = (policy * errors**2).sum(axis=2) - (policy * errors).sum(axis=2) ** 2
    mean_square = (2 * variance @ context_probs).max()
    tv = tv_between(path.log_policy[-1], np.asarray(exact), context_probs)
    for flavour in VALID:
        # So many samples that Lemma D.1 allows exactly these errors, union over updates included.
        one = theory.log_reward_error_bound(1, 2.0, 1.0, 0.05 / 6, flavour=flavour)
        samples = np.exp(float(one)) / mean_square
        bound = theory.tv_statistical(
            kappa.log_corrected, alpha, 2.0, samples, 1.0, 2.0, 0.05, flavour=flavour
        )
        assert tv <= float(bound) * (1 + 1e-9)


def test_the_printed_coverage_breaks_that_propagation():
    # Two arms, one update, data from the uniform policy, and an error that flips the policy.
    log_ref = np.log(np.full((1, 2), 0.5))
    reward = np.array([[0.5, -0.5]])
    bandit = type(random_bandit(0))(jnp.asarray(reward), jnp.asarray(log_ref))
    beta = 0.05
    path = solution(log_ref, lambda t, _: -reward, 0.0, beta, 1)
    exact = theory.exact_policy(bandit, path.gamma[-1])
    kappa = theory.coverage(path.log_policy[-1], exact, path.behaviour[:-1])
    mean_square = 2.0  # (2 - (-2))^2 / 4 over ordered pairs of two arms, half of them unequal
    samples = np.exp(float(theory.log_reward_error_bound(1, 2.0, 1.0, 0.05))) / mean_square

    def bound(log_kappa):
        return float(theory.tv_statistical(log_kappa, 0.0, beta, samples, 1.0, 2.0, 0.05))

    tv = tv_between(path.log_policy[-1], np.asarray(exact), np.ones(1))
    assert tv > 0.999
    assert bound(kappa.log_printed) < 0.01 * tv
    assert tv <= bound(kappa.log_corrected)


def test_tv_statistical_by_hand():
    log_kappa, alpha, beta, samples, size, delta = np.log([5.0, 2.0, 1.0]), 0.3, 4.0, 1e4, 50, 0.1
    slope = sigmoid(3.0) * sigmoid(-3.0)
    complexity = np.log(3 * size / delta)
    printed = np.sqrt(3 * 8.0 * complexity / (samples * (beta * (1 - alpha)) ** 2)) / slope
    secant = (sigmoid(4.0) - sigmoid(2.0)) / 2
    weights = np.array([1 + 0.3 + 0.09, 1.3, 1.0]) / beta
    sharp = weights @ np.sqrt([5.0, 2.0, 1.0]) * np.sqrt(2 * complexity / samples) / secant / 2
    args = (log_kappa, alpha, beta, samples, 2.0, np.log(size), delta)
    got = [float(theory.tv_statistical(*args, flavour=f)) for f in FLAVOURS]
    assert got == pytest.approx([printed, np.sqrt(2) * printed, sharp], rel=1e-12)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_samples_needed_bring_the_bound_to_the_threshold(flavour):
    log_kappa = jnp.array([30.0, 3.0, 0.0])
    log_n = theory.log_samples_needed(
        log_kappa, 0.3, 0.5, 2.0, 4.0, 0.05, threshold=0.1, flavour=flavour
    )
    bound = theory.tv_statistical(
        log_kappa, 0.3, 0.5, np.exp(float(log_n)), 2.0, 4.0, 0.05, flavour=flavour
    )
    assert float(bound) == pytest.approx(0.1, rel=1e-9)


@pytest.mark.parametrize("log_kappa", [0.0, 20.0, 2000.0])
def test_samples_needed_of_a_table_solve_their_equation(log_kappa):
    kappa = jnp.full(4, log_kappa)
    log_n = theory.log_samples_needed_tabular(kappa, 0.5, 0.1, 3.0, 10, 0.05, contexts=7)
    entropy = 70 * np.logaddexp(0.0, np.log(12.0) + float(log_n))
    again = theory.log_samples_needed(kappa, 0.5, 0.1, 3.0, entropy, 0.05)
    assert float(again) == pytest.approx(float(log_n), rel=1e-12)
    if log_kappa < 100:
        samples = np.exp(float(log_n))
        assert float(theory.tabular_entropy(10, samples, 3.0, contexts=7)) == pytest.approx(entropy)


def test_one_sample_is_the_least():
    assert float(theory.log_samples_needed(jnp.zeros(1), 0.0, 1e6, 1.0, 0.1, 0.5)) == 0.0


def test_extremes():
    for flavour in FLAVOURS:
        for bound in [1e-6, 1e6]:
            for samples in [1, 10**12]:
                got = theory.log_tv_statistical(
                    jnp.array([1e6, 0.0]),
                    1 - 1e-12,
                    1e-6,
                    samples,
                    bound,
                    700.0,
                    1e-300,
                    flavour=flavour,
                )
                assert np.isfinite(float(got))
    assert float(theory.tabular_entropy(10**4, 10**12, 1e6, 10**4)) == pytest.approx(
        1e8 * np.log(4e18)
    )


def test_sharp_takes_schedules_and_one():
    args = (1e4, 2.0, 1.0, 0.05)
    schedule = theory.nesterov_schedule(3)
    got = theory.tv_statistical(
        jnp.zeros(3), schedule, jnp.full(3, 2.0), *args, flavour="sharp"
    ) / theory.tv_statistical(jnp.zeros(3), 0.0, 2.0, *args, flavour="sharp")
    assert float(got) == pytest.approx(float(theory.weights(schedule, 3).sum()) / 3)
    theory.tv_statistical(jnp.zeros(3), 1.0, 2.0, *args, flavour="sharp")


def test_inside_transformations():
    samples = jnp.array([10.0, 1e3, 1e9])
    bounds = jnp.array([0.5, 1.0, 4.0])

    @jax.jit
    @jax.vmap
    def batched(samples, bound):
        return (
            theory.tv_statistical(
                jnp.ones(3), 0.3, 2.0, samples, bound, 2.0, 0.05, flavour="sharp"
            ),
            theory.reward_error_bound(samples, 2.0, bound, 0.05),
            theory.log_samples_needed_tabular(jnp.ones(3), 0.3, 2.0, bound, 5, 0.05),
        )

    tv, error, needed = batched(samples, bounds)
    one = theory.tv_statistical(jnp.ones(3), 0.3, 2.0, 1e3, 1.0, 2.0, 0.05, flavour="sharp")
    assert float(tv[1]) == pytest.approx(float(one))
    np.testing.assert_allclose(error, theory.reward_error_bound(samples, 2.0, bounds, 0.05))
    assert float(needed[2]) == pytest.approx(
        float(theory.log_samples_needed_tabular(jnp.ones(3), 0.3, 2.0, 4.0, 5, 0.05))
    )
    slope = jax.grad(lambda r: theory.log_slope(r, "sharp"))(1.0)
    assert np.isfinite(float(slope))


KAPPA = jnp.zeros(3)


@pytest.mark.parametrize(
    ("call", "argument", "says"),
    [
        (lambda: theory.reward_error_bound(0, 1.0, 1.0, 0.05), "samples", "positive"),
        (lambda: theory.reward_error_bound(10, 1.0, 0.0, 0.05), "reward_bound", "positive"),
        (lambda: theory.reward_error_bound(10, 1.0, 1.0, 0.0), "delta", r"outside \(0, 1\)"),
        (lambda: theory.reward_error_bound(10, 1.0, 1.0, 1.0), "delta", r"outside \(0, 1\)"),
        (
            lambda: theory.tv_statistical(jnp.zeros((3, 1)), 0.3, 1.0, 10, 1.0, 1.0, 0.05),
            "log_coverage",
            "shape",
        ),
        (lambda: theory.tv_statistical(KAPPA, 1.0, 1.0, 10, 1.0, 1.0, 0.05), "alpha", "outside"),
        (
            lambda: theory.tv_statistical(KAPPA, jnp.zeros(3), 1.0, 10, 1.0, 1.0, 0.05),
            "alpha",
            "shape",
        ),
        (lambda: theory.tv_statistical(KAPPA, 0.3, 0.0, 10, 1.0, 1.0, 0.05), "beta", "positive"),
        (
            lambda: theory.tv_statistical(KAPPA, 0.3, 1.0, jnp.ones(2), 1.0, 1.0, 0.05),
            "samples",
            "shape",
        ),
        (
            lambda: theory.log_samples_needed(KAPPA, 0.3, 1.0, 1.0, 1.0, 0.05, threshold=0.0),
            "threshold",
            "positive",
        ),
        (
            lambda: theory.log_samples_needed_tabular(KAPPA, 0.3, 1.0, 1.0, 0, 0.05),
            "arms",
            "integer >= 1",
        ),
        (lambda: theory.tabular_entropy(3, 10, -1.0), "reward_bound", "positive"),
    ],
)
def test_bad_input(call, argument, says):
    with pytest.raises(InvalidArgument, match=says) as caught:
        call()
    assert caught.value.argument == argument


def test_unknown_flavour():
    with pytest.raises((UnknownName, TypeError), match="sharpe"):
        theory.log_slope(1.0, "sharpe")  # type: ignore[arg-type]
