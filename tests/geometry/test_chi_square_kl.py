"""Chi-square with KL: its reference, and coordinates far from it."""

import jax
import jax.numpy as jnp
import numpy as np
from drawn_policies import ROWS, policies, prox, rewards

from apo_sim.geometry import ChiSquareKL, MixedChiSquare

EVEN = jnp.log(jnp.array([0.5, 0.5]))
SKEWED = jnp.log(jnp.array([0.9, 0.1]))


def test_a_reference_is_bound_once():
    assert ChiSquareKL().at(EVEN).log_ref is EVEN
    assert ChiSquareKL(EVEN).at(SKEWED).log_ref is EVEN


def test_a_reference_is_data():
    def step(log_ref, reward):
        return ChiSquareKL().at(log_ref).prox(log_ref, reward, 1.0)

    references, reward = jnp.stack([EVEN, SKEWED]), jnp.array([1.0, 0.0])
    found = jax.jit(jax.vmap(step, (0, None)))(references, reward)
    for row, log_ref in zip(found, references, strict=True):
        np.testing.assert_allclose(row, step(log_ref, reward), rtol=1e-13)


def test_from_the_reference_it_is_the_link_of_chi_po():
    reward = jnp.array([3.0, -1.0])
    link = MixedChiSquare().prox(SKEWED, reward, 0.1)
    np.testing.assert_allclose(
        ChiSquareKL(SKEWED).prox(SKEWED, reward, 0.1), link, rtol=1e-13, atol=1e-15
    )


def test_a_policy_far_from_its_reference_stays_where_it_is():
    """An arm's coordinate of 1e290 does not wash out those of the others.

    What is given is a logarithm of -668, which is rounded to 1e-13.
    """
    log_ref = jnp.array([-668.0, -1e-12, -30.0])
    log_ref = log_ref - jax.nn.logsumexp(log_ref)
    for centre in ([0.999, 5e-4, 5e-4], [0.5, 0.3, 0.2], [1.0 - 1e-9, 1e-9 - 1e-12, 1e-12]):
        log_centre = jnp.log(jnp.array(centre))
        found = ChiSquareKL(log_ref).prox(log_centre, jnp.zeros(3), 1.0)
        np.testing.assert_allclose(jnp.exp(found), centre, rtol=1e-10, atol=1e-13)


def test_the_reference_holds_policies_back():
    """chi-PO's point: pi / ref grows no faster than the pull, and KL's exponentially."""
    log_ref = jnp.log(jnp.array([1e-6, 1.0 - 1e-6]))
    found = ChiSquareKL(log_ref).prox(log_ref, jnp.array([100.0, 0.0]), 1.0)
    assert 50.0 < jnp.exp(found - log_ref)[0] < 102.0


def test_large_coordinates_leave_the_policy_normalised():
    """A pull of 1e6 takes ten digits from a normaliser that is solved for once."""
    rng = np.random.default_rng(5)
    log_centre, log_ref = (policies(rng, (10.0,)) for _ in range(2))
    for _ in range(5):
        found = prox("chi square and kl")(log_centre, rewards(rng), np.full(ROWS, 1e-6), log_ref)
        np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, rtol=0, atol=1e-12)
