"""Optimisers: optax's own numbers, with settings that may be traced."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import apo_sim as apo
from apo_sim.optimizers import SGD, AdamW, Optimizer, RMSProp, as_optimizer

STEPS = 6
START = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}

# Ours, of a rate and a share, and optax's with the same settings.
PAIRS = {
    "sgd": (SGD, optax.sgd),
    "adamw": (
        lambda rate, share: AdamW(rate, share, b2=0.95, weight_decay=0.1),
        lambda rate, share: optax.adamw(rate, share, b2=0.95, weight_decay=0.1),
    ),
    "rmsprop": (RMSProp, optax.rmsprop),
}


def slope(params):
    return jax.grad(lambda p: jnp.sum(p["a"] ** 4) + jnp.sin(p["b"]) * p["a"][0])(params)


def path(optimizer):
    def step(carry, _):
        params, state = carry
        change, state = optimizer.update(slope(params), state, params)
        params = optax.apply_updates(params, change)
        return (params, state), params

    return jax.lax.scan(step, (START, optimizer.init(START)), length=STEPS)[1]


@pytest.mark.parametrize("name", PAIRS)
def test_same_steps_as_optax_under_vmap_over_the_settings(name):
    ours, theirs = PAIRS[name]
    rates, shares = jnp.array([0.01, 0.03]), jnp.array([0.0, 0.8])
    found = jax.jit(jax.vmap(lambda rate, share: path(ours(rate, share))))(rates, shares)
    for lane, (rate, share) in enumerate(zip(rates.tolist(), shares.tolist(), strict=True)):
        expected = jax.jit(lambda own=theirs(rate, share): path(own))()
        for leaf in START:
            np.testing.assert_allclose(found[leaf][lane], expected[leaf], rtol=1e-12)
    # The control: the settings matter.
    assert float(abs(found["a"][0] - found["a"][1]).max()) > 1e-3


def test_defaults():
    assert (AdamW(0.1).b1, AdamW(0.1).b2, AdamW(0.1).weight_decay) == (0.9, 0.999, 0.0)
    assert SGD(0.1).momentum == 0.0 and RMSProp(0.1).decay == 0.99


class Uphill:
    """One of the user's own that JAX does not see through."""

    def init(self, params):
        return ()

    def update(self, updates, state, params=None):
        return updates, state


def test_what_is_an_optimiser():
    for own in (SGD(0.1), AdamW(0.1), RMSProp(0.1), optax.adam(0.1), Uphill()):
        taken = as_optimizer(own)
        assert isinstance(taken, Optimizer)
        # It passes into a compiled program.
        change = jax.jit(lambda rule, one: rule.update(one, rule.init(one), one)[0])
        assert float(change(taken, jnp.ones(2))[0]) != 0.0
    rule = SGD(0.1)
    assert as_optimizer(rule) is rule
    for wrong in (SGD, None, 0.1, "adam"):
        with pytest.raises(apo.InvalidArgument, match=r"optimizer = .* is not an optimiser; pass"):
            as_optimizer(wrong)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(0.0), "learning_rate = 0.0 must be positive"),
        (lambda: AdamW(-1e-3), "learning_rate = -0.001 must be positive"),
        (lambda: RMSProp(np.nan), "learning_rate = nan must be positive and finite"),
        (lambda: AdamW("1e-3"), "learning_rate = '1e-3' is not an array"),  # type: ignore[arg-type]
        (lambda: SGD(jnp.ones(2)), r"learning_rate = .* is not a single number"),
        (lambda: SGD(0.1, 1.0), r"momentum = 1.0 lies outside \[0, 1\)"),
        (lambda: AdamW(0.1, b1=-0.1), "b1 = -0.1 lies outside"),
        (lambda: AdamW(0.1, b2=1.0), "b2 = 1.0 lies outside"),
        (lambda: AdamW(0.1, weight_decay=-0.1), "weight_decay = -0.1 must be .* at least 0"),
        (lambda: AdamW(0.1, weight_decay=np.nan), "weight_decay = nan must be finite"),
        (lambda: AdamW(0.1, weight_decay="0"), "weight_decay = '0' is not an array"),  # type: ignore[arg-type]
        (lambda: RMSProp(0.1, 1.5), "decay = 1.5 lies outside"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(apo.InvalidArgument, match=message):
        make()
