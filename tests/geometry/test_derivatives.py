"""First and second derivatives of the step in centre, reward and beta, under vmap and jit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_policies import EVERY, KINDS

CASES, ARMS = 12, 4
# Centred differences in double precision: right to about the square of the step.
STEP = 1e-5


def drawn(seed):
    """Logits of the centre, reward and log beta, in one row a case; directions; references."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(CASES, 2 * ARMS + 1))
    logits = rng.normal(size=(CASES, ARMS))
    ways = rng.normal(size=inputs.shape)
    return inputs, ways, np.asarray(jax.nn.log_softmax(jnp.asarray(logits), axis=1))


def derivatives(name):
    """Value, gradient, and the gradient's own change along a direction, case by case."""
    weights = jnp.arange(1.0, ARMS + 1.0) / ARMS

    def value(inputs, log_ref):
        centre = jax.nn.log_softmax(inputs[:ARMS])
        reward, beta = inputs[ARMS:-1], jnp.exp(inputs[-1])
        policy: Any = EVERY[name].at(log_ref).prox(centre, reward, beta)
        # Of arms that are lost, the logarithm has no derivative, and the probability has.
        return weights @ jnp.exp(policy) + weights[1:] @ jnp.maximum(policy[1:], -50.0)

    def one(inputs, way, log_ref):
        gradient = jax.grad(value)
        return (
            value(inputs, log_ref),
            *jax.jvp(lambda inputs: gradient(inputs, log_ref), (inputs,), (way,)),
        )

    return jax.jit(jax.vmap(one))


@pytest.mark.parametrize("name", KINDS)
def test_derivatives_are_those_of_finite_differences(name):
    inputs, ways, log_ref = drawn(0)
    function = derivatives(name)
    _, gradient, curvature = function(inputs, ways, log_ref)
    ahead, behind = (function(inputs + sign * STEP * ways, ways, log_ref) for sign in (1, -1))
    along = np.sum(np.asarray(gradient) * ways, axis=1)
    np.testing.assert_allclose((ahead[0] - behind[0]) / (2 * STEP), along, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose((ahead[1] - behind[1]) / (2 * STEP), curvature, rtol=1e-5, atol=1e-6)
    assert np.abs(along).max() > 0.1


@pytest.mark.parametrize("name", ["tsallis", "chi square and kl", "euclidean", "forward kl"])
def test_the_step_of_a_policy_with_rare_arms_has_finite_derivatives(name):
    log_centre = jax.nn.log_softmax(jnp.array([0.0, -600.0, -1.0, -300.0]))
    log_ref = jnp.log(jnp.full(4, 0.25))

    def value(reward):
        policy = EVERY[name].at(log_ref).prox(log_centre, reward, 0.01)
        return jnp.sum(jnp.exp(policy) * jnp.arange(4.0))

    reward = jnp.array([0.3, 1.0, -1.0, 1.0])
    assert jnp.all(jnp.isfinite(jax.jit(jax.grad(value))(reward)))


def test_the_normaliser_is_differentiated_in_the_mass_too():
    dual = jnp.array([0.3, -1.0, 0.2])
    for name in ("kl", "tsallis", "chi square and kl", "euclidean"):
        geometry = EVERY[name].at(jnp.log(jnp.array([0.5, 0.2, 0.3])))
        normaliser = jax.jit(jax.value_and_grad(geometry.normaliser, argnums=1))
        ahead, behind = (normaliser(dual, 0.4 + sign * STEP)[0] for sign in (1, -1))
        found = normaliser(dual, 0.4)[1]
        np.testing.assert_allclose((ahead - behind) / (2 * STEP), found, rtol=1e-7, err_msg=name)
