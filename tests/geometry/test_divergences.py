"""Divergences: their definition, with all digits where policies are close, and what they obey."""

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from drawn_policies import EVERY, GENERATORS, LEGENDRE, divergences, policies
from hypothesis import given
from hypothesis import strategies as st

from apo_sim.geometry import KL, Burg, Euclidean, ForwardKL, JensenShannon, Tsallis

SEEDS = st.integers(0, 2**32 - 1)
NOTHING = -jnp.inf


def definition(name, p, c, ref):
    """What one arm adds, from phi or f itself, in the precision that mpmath is set to."""
    geometry, u = EVERY[name], p / c
    log = mpmath.log

    def bregman(phi, slope):
        return phi(p) - phi(c) - slope(c) * (p - c)

    if name == "kl":
        return bregman(lambda x: x * log(x), lambda x: log(x) + 1)
    if name.startswith("tsallis"):
        q = mpmath.mpf(geometry.q)
        return bregman(lambda x: (x - x**q / q) / (1 - q), lambda x: (1 - x ** (q - 1)) / (1 - q))
    if name == "burg":
        return bregman(lambda x: -log(x), lambda x: -1 / x)
    if name == "euclidean":
        return bregman(lambda x: x * x / 2, lambda x: x)
    if name == "chi square and kl":
        return bregman(
            lambda x: x * x / (2 * ref) + x * log(x / ref) - x, lambda x: x / ref + log(x / ref)
        )
    if name == "forward kl":
        return c * (u - 1 - log(u))
    if name == "jensen shannon":
        return c * (u * log(u) - (1 + u) * log((1 + u) / 2))
    if name == "mixed chi square":
        return c * ((u - 1) ** 2 / 2 + u * log(u) - u + 1)
    a = mpmath.mpf(geometry.alpha)
    return c * (u ** (1 - a) - (1 - a) * u - a) / (a * (a - 1))


def by_definition(name, *logs):
    """Row by row, with so many digits that nothing is lost to cancellation."""
    with mpmath.workdps(60):
        rows = []
        for row in zip(*logs, strict=True):
            arms = zip(*(map(mpmath.exp, log) for log in row), strict=True)
            rows.append(float(mpmath.fsum(definition(name, *arm) for arm in arms)))
    return np.array(rows)


def three(seed, spread=(0.1, 1.0)):
    rng = np.random.default_rng(seed)
    return [policies(rng, spread) for _ in range(3)]


@pytest.mark.parametrize("name", EVERY)
def test_divergences_are_their_definition(name):
    log_policy, log_centre, log_ref = three(0, (0.1, 1.0, 5.0, 20.0))
    found = divergences(name)(log_policy, log_centre, log_ref)[:40]
    expected = by_definition(name, log_policy[:40], log_centre[:40], log_ref[:40])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("distance", [1e-3, 1e-8, 1e-13])
@pytest.mark.parametrize("name", EVERY)
def test_divergences_of_close_policies_keep_their_digits(name, distance):
    """They fall to 1e-26 of their terms; what rounding does to the difference stays."""
    log_centre, moves, log_ref = three(1)
    log_policy = log_centre + distance * moves
    log_policy = log_policy - np.logaddexp.reduce(log_policy, axis=1, keepdims=True)
    found = divergences(name)(log_policy, log_centre, log_ref)[:10]
    expected = by_definition(name, log_policy[:10], log_centre[:10], log_ref[:10])
    # The logarithms are all that is given, and the terms of first order cancel between the arms.
    np.testing.assert_allclose(found, expected, rtol=1e-10 + 1e-15 / distance)


@given(SEEDS)
def test_divergences_are_never_negative_and_vanish_at_the_policy_itself(seed):
    rng = np.random.default_rng(seed)
    log_policy, log_centre, log_ref = (policies(rng, (0.1, 5.0, 50.0)) for _ in range(3))
    log_policy[::2] = log_centre[::2] * (1 + 1e-15)
    for name in EVERY:
        assert divergences(name)(log_policy, log_centre, log_ref).min() >= 0, name
        np.testing.assert_array_equal(divergences(name)(log_centre, log_centre, log_ref), 0.0)


@given(SEEDS)
def test_three_policies_obey_the_identity_of_bregman(seed):
    """B(a, c) = B(a, b) + B(b, c) + <phi'(b) - phi'(c), a - b>."""
    first, second, third = three(seed)
    log_ref = policies(np.random.default_rng(seed), (0.1, 1.0))
    for name in GENERATORS:
        geometry = GENERATORS[name].at(jnp.asarray(log_ref))
        slopes = geometry.dual(jnp.asarray(second)) - geometry.dual(jnp.asarray(third))
        bend = np.sum(np.asarray(slopes) * (np.exp(first) - np.exp(second)), axis=1)
        between = divergences(name)
        whole = between(first, third, log_ref)
        parts = between(first, second, log_ref) + between(second, third, log_ref)
        np.testing.assert_allclose(whole, parts + bend, rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        (KL(), np.log(2.0)),
        (Tsallis(0.5), 8 * 0.5**0.5 - 4),
        (Burg(), np.inf),
        (Euclidean(), 0.25),
        (ForwardKL(), np.inf),
        (JensenShannon(), np.log(1 / 0.75) + 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(2.0)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_arm_may_lose_all_its_mass(geometry, expected):
    even, one = jnp.log(jnp.array([0.5, 0.5])), jnp.array([0.0, NOTHING])
    np.testing.assert_allclose(geometry.divergence(one, even), expected, rtol=1e-14)


def test_an_arm_that_the_centre_lacks():
    even, one = jnp.log(jnp.array([0.5, 0.5])), jnp.array([0.0, NOTHING])
    for name in LEGENDRE.keys() & GENERATORS.keys():
        assert GENERATORS[name].at(even).divergence(even, one) == jnp.inf, name
    # p f'(infinity) of the arm, for those f whose slope has a limit.
    np.testing.assert_allclose(Euclidean().divergence(even, one), 0.25, rtol=1e-14)
    np.testing.assert_allclose(ForwardKL().divergence(even, one), np.log(2.0), rtol=1e-14)
    for name in EVERY:
        assert EVERY[name].at(even).divergence(one, one) == 0.0, name
