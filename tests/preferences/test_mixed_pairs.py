"""Samplers that look at the policy's own logits, and the pairs that are drawn together by them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax

import apo_sim as apo
from apo_sim import InvalidArgument
from apo_sim.preferences import FromPolicy, FromReference, Pairwise, Uniform, draw_pairs
from apo_sim.preferences.mixed_pairs import DPOMixP, DPOMixR
from apo_sim.preferences.samplers import LogitMixture

from . import laws
from .laws import LEVEL, PAIRS, p_value, shifted, tallied

# A bandit or a game, as its name says.
problem_of: Any = laws.problem_of


def of(problem: Any) -> Any:
    """Another policy than the reference."""
    return problem.log_ref[:, ::-1]


@pytest.mark.parametrize("kind", ["bandit", "game"])
def test_a_mixture_of_logits_has_its_law(kind):
    problem = problem_of(kind, 3)
    policy, reference = np.exp(of(problem)), np.exp(problem.log_ref)
    expected = policy**1.5 / reference**0.5
    found = np.exp(LogitMixture(1.5, -0.5).log_probs(problem, of(problem)))
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), rtol=1e-12)


def test_mixtures_of_logits_hold_the_other_samplers():
    bandit = problem_of("bandit", 2)
    for weights, sampler in (
        ((1.0, 0.0, 0.0), FromPolicy()),
        ((0.0, 1.0, 0.0), FromReference()),
        ((0.0, 0.0, 0.0), Uniform()),
    ):
        found = LogitMixture(*weights).log_probs(bandit, of(bandit))
        np.testing.assert_allclose(found, sampler.log_probs(bandit, of(bandit)), atol=1e-14)
    by_reward = LogitMixture(0.0, 0.0, -2.0).log_probs(bandit, of(bandit))
    np.testing.assert_allclose(
        np.exp(by_reward), softmax(-2.0 * np.asarray(bandit.reward), axis=1), rtol=1e-12
    )


def two_parts(problem: Any, scores: Any) -> Any:
    """The law by its two kinds of pairs, as their authors define it, and their total weight."""
    parts = []
    for x in range(len(scores)):
        up, down, arms = softmax(scores[x]), softmax(-scores[x]), scores.shape[1]
        alphas = [arms**2, np.exp(scores[x][:, None] - scores[x]).sum()]
        uniform = np.full((arms, arms), 1 / arms**2)
        # The pair counts in both orders, as their sampling probability does.
        kinds = [2 * uniform, np.outer(up, down) + np.outer(down, up)]
        parts.append(sum(a * kind for a, kind in zip(alphas, kinds, strict=True)) / sum(alphas))
    return np.array(parts) * np.asarray(problem.preference)


def test_mixed_pairs_are_the_mixture_of_their_two_kinds():
    bandit = problem_of("bandit", 3)
    scores = 0.7 * np.asarray(of(bandit) - bandit.log_ref)
    found = DPOMixP(0.7).cells(bandit, of(bandit))
    np.testing.assert_allclose(found, two_parts(bandit, scores), rtol=1e-12)
    found = DPOMixR().cells(bandit, of(bandit))
    np.testing.assert_allclose(found, two_parts(bandit, np.asarray(bandit.reward)), rtol=1e-12)
    # The second kind by itself is what two mixtures of logits draw.
    up, down = LogitMixture(0.7, -0.7), LogitMixture(-0.7, 0.7)
    second = np.asarray(Pairwise(up, down).cells(bandit, of(bandit)))
    uniform = np.asarray(Pairwise(Uniform(), Uniform()).cells(bandit, of(bandit)))
    share = np.exp(scores[:, :, None] - scores[:, None, :]).sum(axis=(1, 2), keepdims=True)
    mixed = (16 * uniform + share * second) / (16 + share)
    np.testing.assert_allclose(DPOMixP(0.7).cells(bandit, of(bandit)), mixed, rtol=1e-12)


def test_mixed_pairs_curve_the_loss_alike_in_all_directions():
    """At the minimiser DPO's Hessian is then that of the complete graph."""
    bandit = problem_of("bandit", 1)
    lead = np.asarray(bandit.reward[0])[:, None] - np.asarray(bandit.reward[0])
    slope = expit(lead) * expit(-lead)

    def curvatures(ranker):
        pairs = np.asarray(ranker.cells(bandit, of(bandit)))[0]
        pull = (pairs + pairs.T) * slope
        return np.linalg.eigvalsh(np.diag(pull.sum(axis=1)) - pull)[1:]

    mixed = curvatures(DPOMixR())
    np.testing.assert_allclose(mixed, mixed[0], rtol=1e-12)
    uniform = curvatures(Pairwise(Uniform(), Uniform()))
    assert uniform.max() > 1.05 * uniform.min()


@pytest.mark.parametrize("ranker", [DPOMixP(0.5), DPOMixR()])
def test_pairs_have_the_law_of_the_cells(ranker):
    bandit = problem_of("bandit", 3)

    @jax.jit
    def draw(key):
        law = ranker.cells(bandit, of(bandit)) * bandit.context_probs[:, None, None]
        return draw_pairs(key, ranker, bandit, of(bandit), PAIRS), law

    rows, law = draw(jax.random.key(3))
    found, law = tallied(rows, law.shape), np.asarray(law)
    assert law.sum() == pytest.approx(1, rel=1e-12)
    assert p_value(found, law) > LEVEL
    assert p_value(found, shifted(law)) < LEVEL


def test_they_run_in_the_loop_and_may_be_traced():
    bandit = problem_of("bandit", 2)

    @jax.jit
    @jax.vmap
    def gaps(beta):
        ranker = DPOMixP(beta)
        return apo.run(bandit, beta=beta, ranker=ranker, iterations=3).suboptimality

    plain = apo.run(bandit, beta=0.5, iterations=3).suboptimality
    np.testing.assert_allclose(gaps(jnp.array([0.5, 2.0]))[0], plain, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_extreme_logits_give_laws(dtype):
    log_ref = jnp.log(jnp.array([[0.5, 0.3, 0.2]], dtype))
    bandit = apo.Bandit(jnp.array([[1.0, 0.0, -1.0]], dtype), log_ref)
    gone = jnp.array([[0.0, -1e30, -jnp.inf]], dtype)
    for beta in (1e-6, 1e6):
        cells = DPOMixP(beta).cells(bandit, gone)
        assert cells.dtype == dtype and float(cells.sum()) == pytest.approx(1, rel=1e-5)
        law = jnp.exp(LogitMixture(-beta, beta, beta).log_probs(bandit, gone))
        assert law.dtype == dtype and float(law.sum()) == pytest.approx(1, rel=1e-5)


GAME = problem_of("game", 1)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: LogitMixture(jnp.inf), "of_policy"),
        (lambda: LogitMixture(1.0, jnp.ones(2)), "of_reference"),
        (lambda: LogitMixture(0.0, 0.0, jnp.nan), "of_reward"),
        (lambda: LogitMixture(0.0, 0.0, 1.0).log_probs(GAME, GAME.log_ref), "of_reward"),
        (lambda: DPOMixP(0.0), "beta"),
        (lambda: DPOMixP(jnp.ones(3)), "beta"),
        (lambda: DPOMixR().cells(GAME, GAME.log_ref), "problem"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(make, name):
    with pytest.raises(InvalidArgument, match=f"^{name}"):
        make()
