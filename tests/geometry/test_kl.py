"""KL: the coordinates that the loop has always had, to the last bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apo_sim.geometry import KL


def log_softmax(log_weights):
    """As the loop normalises, term by term."""
    shifted = log_weights - jnp.max(log_weights, axis=1, keepdims=True)
    weights = jnp.exp(shifted)
    total = weights @ jnp.ones(weights.shape[1], weights.dtype)
    return shifted - jnp.log(total)[:, None], weights, total


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("spread", [1.0, 1e3])
def test_normalising_is_the_loops_to_the_last_bit(dtype, spread):
    dual = (spread * jax.random.normal(jax.random.key(0), (50, 17))).astype(dtype)
    for wrap in (jax.jit, lambda function: function):
        found, expected = wrap(KL().normalise)(dual), wrap(log_softmax)(dual)
        for ours, its in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, its)


def test_coordinates_are_the_policy():
    log_policy = jnp.log(jnp.array([0.25, 0.75]))
    assert KL().dual(log_policy) is log_policy
    assert KL().log_policy(log_policy) is log_policy
    assert KL().score_of_ratio(log_policy) is log_policy
