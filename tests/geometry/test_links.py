"""Links of f-divergences: f' as it is written, optimality of the step, and limits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_policies import LINKS, policies, prox, rewards, scores

from apo_sim.geometry import KL, AlphaDivergence, ForwardKL

RATIOS = np.array([1e-8, 0.1, 0.5, 1.0, 2.0, 30.0])
SLOPES = {
    "forward kl": lambda u: -1 / u,
    "jensen shannon": lambda u: np.log(2 * u / (1 + u)),
    "alpha": lambda u: (1 - u**-0.5) / 0.5,
    "alpha near kl": lambda u: (1 - u**-0.05) / 0.05,
    "mixed chi square": lambda u: u + np.log(u),
}


@pytest.mark.parametrize("name", LINKS)
def test_scores_are_the_slope_of_the_divergence(name):
    """f' as published, and the derivative of what `divergence` sums up, up to a constant."""
    link: Any = LINKS[name]
    found = link.score_of_ratio(jnp.log(RATIOS))
    np.testing.assert_allclose(found, SLOPES[name](RATIOS), rtol=1e-12, atol=1e-15)

    def divergence(policy):
        return link.divergence(jnp.log(policy), jnp.log(centre))

    centre, policy = jnp.array([0.2, 0.3, 0.5]), jnp.array([0.6, 0.3, 0.1])
    slope = jax.grad(divergence)(policy) - SLOPES[name](np.asarray(policy / centre))
    np.testing.assert_allclose(slope, np.full(3, slope[0]), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", LINKS)
def test_the_score_of_the_step_is_the_reward(name):
    """The conditions of optimality: beta f'(pi / pi_t) = r up to a constant in y."""
    rng = np.random.default_rng(0)
    log_centre, reward = policies(rng, (0.1, 1.0, 5.0)), rewards(rng)
    beta = 10.0 ** rng.uniform(-1, 3, len(reward))
    stepped = prox(name)(log_centre, reward, beta, log_centre)
    pulled = beta[:, None] * scores(name)(stepped, log_centre, log_centre)
    constant = np.mean(pulled - reward, axis=1, keepdims=True)
    np.testing.assert_allclose(pulled, reward + constant, rtol=1e-9, atol=1e-9)
    assert np.abs(pulled).max() > 0.5


def test_alpha_lies_between_kl_and_forward_kl():
    log_centre, reward = jnp.log(jnp.array([0.2, 0.3, 0.5])), jnp.array([1.0, 0.3, -0.5])

    def step(geometry):
        return geometry.prox(log_centre, reward, 0.5)

    np.testing.assert_allclose(step(AlphaDivergence(1e-7)), step(KL()), rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        step(AlphaDivergence(1 - 1e-7)), step(ForwardKL()), rtol=0, atol=1e-5
    )


def test_coordinates_are_log_probabilities_and_may_come_unnormalised():
    log_centre = jnp.log(jnp.array([[0.2, 0.8]]))
    reward = jnp.array([[1.0, 0.0]])
    for name, link in LINKS.items():
        assert link.dual(log_centre) is log_centre
        step = jax.jit(link.step)
        lifted, plain = step(log_centre + 3.0, reward, 1.0), step(log_centre, reward, 1.0)
        np.testing.assert_allclose(lifted, plain, rtol=0, atol=1e-14, err_msg=name)


def test_an_arm_without_mass_never_gains_any():
    log_centre = jnp.array([[-jnp.inf, -jnp.inf, 0.0, -1.0]])
    reward = jnp.array([[9.0, 1.0, -0.5, 0.5]])
    for name in ("forward kl", "jensen shannon", "mixed chi square"):
        step = jax.jit(LINKS[name].step)
        found = step(log_centre, reward, 1.0)
        rest = step(log_centre[:, 2:], reward[:, 2:], 1.0)
        np.testing.assert_array_equal(found[:, :2], -jnp.inf, err_msg=name)
        np.testing.assert_allclose(found[:, 2:], rest, rtol=0, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("name", LINKS)
def test_centres_beyond_the_range_of_probabilities(name):
    """An arm of a probability of exp(-2000) gains, and nothing leaves the floats."""
    log_centre = jnp.array([[-2000.0, -1e-30]])
    step = jax.jit(LINKS[name].step)
    for beta in (1e-3, 1.0, 1e3):
        found = step(log_centre, jnp.array([[1.0, 0.0]]), beta)
        assert np.all(np.isfinite(found))
        assert np.all(found <= 1e-12)
        assert found[0, 0] >= -2000.0 + 1e-4
        np.testing.assert_allclose(np.logaddexp.reduce(found, axis=1), 0.0, rtol=0, atol=1e-12)
