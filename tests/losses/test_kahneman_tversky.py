"""Losses of single labelled responses: KTO's known values, and what is one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

import apo_sim as apo
from apo_sim.errors import InvalidArgument
from apo_sim.losses import KTO, PointwiseLoss, is_pointwise
from apo_sim.losses.loss import as_loss, as_pointwise

# To the compiler, subnormal numbers are zero.
SCORES = st.floats(-50.0, 50.0, allow_subnormal=False)
WEIGHTS = st.floats(0.1, 10.0)


@given(SCORES, st.floats(0.0, 50.0), WEIGHTS, WEIGHTS)
def test_known_values(h, z, desirable, undesirable):
    loss = KTO(desirable, undesirable)
    one, none = jnp.ones(()), jnp.zeros(())
    for label, expected in (
        (one, desirable * scipy.special.expit(z - h)),
        (none, undesirable * scipy.special.expit(h - z)),
    ):
        found = loss(jnp.asarray(h), label, jnp.asarray(z))
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-300)


def test_scores_far_out_are_finite_with_their_gradients():
    far = jnp.array([-1e300, -800.0, 0.0, 800.0, 1e300])
    for label in (0.0, 1.0):

        def total(h, label=label):
            return jnp.sum(KTO()(h, jnp.full_like(h, label), jnp.array(1.0)))

        value, slope = jax.value_and_grad(total)(far)
        assert np.isfinite(float(value)) and np.all(np.isfinite(slope))


@given(SCORES)
def test_the_anchor_is_not_negative_and_takes_no_gradient(mean):
    anchor, slope = jax.value_and_grad(KTO().anchor)(jnp.asarray(mean))
    assert float(anchor) == max(mean, 0.0)
    assert float(slope) == 0.0


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf, [1.0, 2.0], "1"])
@pytest.mark.parametrize("name", ["desirable", "undesirable"])
def test_weights_out_of_their_range_are_named(name, weight):
    with pytest.raises(InvalidArgument) as caught:
        KTO(**{name: weight})
    assert caught.value.argument == name


class Own:
    """Of a user's."""

    def __call__(self, h, label, anchor):
        return (h - anchor - label) ** 2

    def anchor(self, mean_mismatched_score):
        return jax.lax.stop_gradient(mean_mismatched_score)


class Anchored:
    """A loss of pairs with a number of that name."""

    anchor = 0.5

    def __call__(self, h_winner, h_loser, extra):
        return (h_winner - h_loser - self.anchor) ** 2


def test_kinds_are_told_apart():
    own, anchored = Own(), Anchored()
    assert isinstance(KTO(), PointwiseLoss) and is_pointwise(KTO()) and is_pointwise(own)
    assert as_pointwise("loss", KTO()) == KTO() and as_pointwise("loss", own) is own
    assert not is_pointwise(anchored) and as_loss("loss", anchored) is anchored
    for loss in (KTO(), own):
        with pytest.raises(InvalidArgument, match="single labelled responses"):
            as_loss("loss", loss)
    for loss in (apo.DPO(), anchored, KTO, None, lambda h, label, anchor: h):
        with pytest.raises(InvalidArgument, match="is not a loss on labelled responses"):
            as_pointwise("loss", loss)


@pytest.mark.parametrize(
    ("call", "anchor", "message"),
    [
        (lambda self, h: h, lambda self, mean: mean, "loss(h, label, anchor)"),
        (lambda self, h, label, z: h, lambda self: 0.0, "anchor(mean_mismatched_score)"),
        (lambda self, h, label, z: jnp.stack([h, h]), lambda self, mean: mean, "not a number"),
        (lambda self, h, label, z: None, lambda self, mean: mean, "not a number"),
    ],
)
def test_a_pointwise_loss_of_another_form_is_refused(call, anchor, message):
    loss: Any = type("Loss", (), {"__call__": call, "anchor": anchor})()
    with pytest.raises(InvalidArgument) as caught:
        as_pointwise("loss", loss)
    assert message in str(caught.value)
