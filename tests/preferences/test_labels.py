"""Single labelled responses: their law, draws, and the mean of a loss over them, against loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import apo_sim as apo
from apo_sim.losses import KTO
from apo_sim.preferences import Labels, Pairwise, Ties

from .laws import LEVEL, p_value, problem_of, shifted

PROBLEM = problem_of("game", 3)
POLICY = PROBLEM.log_ref[:, ::-1]
CELLS = Pairwise().cells(PROBLEM, POLICY)
PROBS = np.asarray(PROBLEM.context_probs)
SHAPE = POLICY.shape
SCORES = jnp.asarray(np.random.default_rng(0).normal(size=SHAPE))
LAW = Labels.from_cells(CELLS, PROBLEM.context_probs)


@pytest.fixture(scope="module")
def counted():
    return Labels.draw(jax.random.key(1), CELLS, PROBLEM.context_probs, 30)


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, None))
def draw(key, samples):
    return Labels.draw(key, CELLS, PROBLEM.context_probs, samples)


class Squared:
    """A pointwise loss of a user's: scores regressed on the anchor and one above or below it."""

    def __call__(self, h, label, anchor):
        return (h - anchor - 2.0 * label + 1.0) ** 2

    def anchor(self, mean_mismatched_score):
        return jax.lax.stop_gradient(3.0 * mean_mismatched_score)


def test_law_by_hand():
    desirable, undesirable = np.zeros(SHAPE), np.zeros(SHAPE)
    for x, winner, loser in np.ndindex(*CELLS.shape):
        desirable[x, winner] += 0.5 * PROBS[x] * CELLS[x, winner, loser]
        undesirable[x, loser] += 0.5 * PROBS[x] * CELLS[x, winner, loser]
    np.testing.assert_allclose(LAW.desirable, desirable, rtol=1e-12)
    np.testing.assert_allclose(LAW.undesirable, undesirable, rtol=1e-12)
    assert float(LAW.desirable.sum() + LAW.undesirable.sum()) == pytest.approx(1, rel=1e-12)
    # Of plain pairs only win rates matter.
    drawn = PROBS[:, None] * np.exp(POLICY)
    np.testing.assert_allclose(LAW.desirable, drawn * PROBLEM.win_rate(POLICY), rtol=1e-12)


@pytest.mark.parametrize("samples", [50, 10_000])
def test_draws_are_multinomial(samples):
    keys = jax.random.split(jax.random.key(samples), 2000)
    drawn = draw(keys, float(samples))
    counts = np.stack([drawn.desirable, drawn.undesirable], axis=1)
    assert (counts.sum(axis=(1, 2, 3)) == samples).all()
    law = np.stack([LAW.desirable, LAW.undesirable])
    assert p_value(counts.sum(axis=0), law) > LEVEL
    assert p_value(counts.sum(axis=0), shifted(law)) < LEVEL
    spread = counts.var(axis=0) / (samples * law * (1 - law))
    assert np.abs(spread - 1).max() < 0.25


def mean_by_hand(loss, data, scores):
    """All pairs of a response and a context for the anchor, then one response after the other."""
    weight = np.asarray(data.desirable + data.undesirable)
    weight = weight / weight.sum()
    mismatched = sum(
        weight[of_context].sum() * weight[where, response] * float(scores[of_context, response])
        for of_context in range(SHAPE[0])
        for where, response in np.ndindex(*SHAPE)
    )
    anchor = loss.anchor(jnp.asarray(mismatched))
    total = 0.0
    for x, y in np.ndindex(*SHAPE):
        for label, weights in ((1.0, data.desirable), (0.0, data.undesirable)):
            value = loss(scores[x, y], jnp.asarray(label), anchor)
            total += float(weights[x, y]) * float(value)
    return mismatched, total / float(data.desirable.sum() + data.undesirable.sum())


@pytest.mark.parametrize("loss", [KTO(), KTO(0.5, 2.0), Squared()], ids=["kto", "weighted", "own"])
@pytest.mark.parametrize("lift", [-2.0, 0.0, 2.0])
def test_mean_by_hand(counted, loss, lift):
    scores = SCORES + lift
    for data in (LAW, counted, Labels(7.0 * LAW.desirable, 7.0 * LAW.undesirable)):
        mismatched, expected = mean_by_hand(loss, data, scores)
        assert float(data.mismatched_mean(scores)) == pytest.approx(mismatched, rel=1e-12)
        assert float(data.mean(loss, scores)) == pytest.approx(expected, rel=1e-12)
        turned = Labels(data.undesirable, data.desirable)
        assert abs(float(turned.mean(loss, scores)) - expected) > 1e-3


def test_mismatched_scores_are_not_those_of_the_own_contexts():
    own = jnp.sum((LAW.desirable + LAW.undesirable) * SCORES)
    assert abs(float(own - LAW.mismatched_mean(SCORES))) > 1e-2


@pytest.mark.parametrize("lift", [-2.0, 1.0])
def test_population_form_of_kto(lift):
    """1/2 - sum_y mu(y) (2 W(y) - 1) sigmoid(h(y) - z): only win rates matter."""
    scores = np.asarray(SCORES) + lift
    drawn = PROBS[:, None] * np.exp(POLICY)
    z = max(0.0, float(LAW.mismatched_mean(jnp.asarray(scores))))
    assert (z == 0) == (lift < 0)
    pull = 2 * np.asarray(PROBLEM.win_rate(POLICY)) - 1
    expected = 0.5 - (drawn * pull * scipy.special.expit(scores - z)).sum()
    assert float(LAW.mean(KTO(), jnp.asarray(scores))) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("lift", [-2.0, 1.0])
def test_no_gradient_through_the_anchor(lift):
    scores = SCORES + lift
    z = KTO().anchor(LAW.mismatched_mean(scores))
    drawn = PROBS[:, None] * np.exp(POLICY)
    pull = 2 * np.asarray(PROBLEM.win_rate(POLICY)) - 1
    s = scipy.special.expit(np.asarray(scores - z))
    slope = jax.grad(lambda scores: LAW.mean(KTO(), scores))(scores)
    np.testing.assert_allclose(slope, -drawn * pull * s * (1 - s), rtol=1e-10)

    class Leaky(KTO):
        def anchor(self, mean_mismatched_score):
            return jnp.maximum(mean_mismatched_score, 0.0)

    leaky = jax.grad(lambda scores: LAW.mean(Leaky(), scores))(scores)
    assert (np.abs(leaky - slope).max() > 1e-4) == (lift > 0)


def test_split_ties_are_labelled_both_ways():
    """Half desirable and half not: as their cells say."""
    cells = Ties(Pairwise(), 1.0, "split").cells(PROBLEM, POLICY)
    law = Labels.from_cells(cells, PROBLEM.context_probs)
    np.testing.assert_allclose(law.desirable, law.undesirable, rtol=1e-12)


def test_precision_is_that_of_the_data():
    with jax.enable_x64(False):
        cells, probs = CELLS.astype(jnp.float32), PROBLEM.context_probs.astype(jnp.float32)
        data = Labels.draw(jax.random.key(0), cells, probs, 1000)
        mean = data.mean(KTO(), SCORES.astype(jnp.float32))
    assert mean.dtype == data.desirable.dtype == jnp.float32
    assert np.isfinite(float(mean))


def test_kto_is_no_loss_of_pairs():
    with pytest.raises(apo.InvalidArgument, match="single labelled responses"):
        apo.losses.derivatives(KTO(), jnp.zeros(()))  # type: ignore[arg-type]
