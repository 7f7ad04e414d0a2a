"""Who is drawn and who wins: the cells by enumeration, and pairs one by one by their law."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim.preferences import (
    DrawsPairs,
    FixedPolicy,
    Flipped,
    FromPolicy,
    FromReference,
    Pairwise,
    Ranker,
    Sampler,
    SplitsTies,
    Ties,
    Uniform,
    draw_pairs,
    samplers,
)

from .laws import LEVEL, PAIRS, p_value, problem_of, shifted, tallied

# It takes lists too, which its fields' types, of what they hold, do not say.
Mixture: Any = samplers.Mixture

REWARD = jnp.array([[0.9, 0.1, 0.1, -0.7]])
POLICY = np.array([0.4, 0.3, 0.2, 0.1])
BANDIT = apo.Bandit(REWARD, jnp.log(jnp.asarray(POLICY))[None])


class Greedier:
    """A sampler of a user's: the policy, squared."""

    def log_probs(self, problem, log_policy):
        return jax.nn.log_softmax(2.0 * log_policy, axis=1)


class Listless:
    """A ranker that does not draw pairs one by one."""

    def cells(self, problem, log_policy):
        return Pairwise().cells(problem, log_policy)


def laws(problem, log_policy):
    """Each sampler, and its law in NumPy."""
    policy, reference = np.exp(log_policy), np.exp(problem.log_ref)
    uniform = np.full(policy.shape, 1 / policy.shape[1])
    skewed = np.random.default_rng(7).dirichlet(np.ones(policy.shape[1]), len(policy))
    mixed = Mixture([0.7, 0.0, 0.3], [FromPolicy(), Greedier(), FromReference()])
    return {
        "policy": (FromPolicy(), policy),
        "reference": (FromReference(), reference),
        "uniform": (Uniform(), uniform),
        "fixed": (FixedPolicy(jnp.log(jnp.asarray(skewed))), skewed),
        "mixture": (mixed, 0.7 * policy + 0.3 * reference),
        "own": (Greedier(), policy**2 / (policy**2).sum(axis=1, keepdims=True)),
    }


@pytest.mark.parametrize("kind", ["bandit", "game"])
def test_samplers_have_their_law(kind):
    problem = problem_of(kind, 3)
    log_policy = problem.log_ref[:, ::-1]
    for sampler, law in laws(problem, log_policy).values():
        assert isinstance(sampler, Sampler)
        np.testing.assert_allclose(
            jnp.exp(sampler.log_probs(problem, log_policy)), law, rtol=1e-12, atol=1e-300
        )


def enumerated(problem, first_law, second_law):
    """Two responses and a coin, one after the other."""
    preference = np.asarray(problem.preference)
    contexts, arms, _ = preference.shape
    cells = np.zeros(preference.shape)
    for x, first, second in itertools.product(range(contexts), range(arms), range(arms)):
        drawn = first_law[x, first] * second_law[x, second]
        cells[x, first, second] += drawn * preference[x, first, second]
        cells[x, second, first] += drawn * preference[x, second, first]
    return cells


@pytest.mark.parametrize("kind", ["bandit", "game"])
def test_pairwise_cells_enumerated(kind):
    problem = problem_of(kind, 3)
    log_policy = problem.log_ref[:, ::-1]
    found = laws(problem, log_policy)
    for one, other in itertools.product(found.values(), found.values()):
        expected = enumerated(problem, one[1], other[1])
        ours = Pairwise(one[0], other[0]).cells(problem, log_policy)
        np.testing.assert_allclose(ours, expected, rtol=1e-11)
        np.testing.assert_allclose(ours.sum(axis=(1, 2)), 1.0, rtol=1e-12)
    plain = Pairwise().cells(problem, log_policy)
    expected = enumerated(problem, found["policy"][1], found["policy"][1])
    np.testing.assert_allclose(plain, expected, rtol=1e-12)
    # The control: the other response from the reference.
    mixed = enumerated(problem, found["policy"][1], found["reference"][1])
    assert np.abs(plain - mixed).max() > 1e-2


def best_against_worst(score, law, responses):
    """Every list of responses, and every way in which those that tie share the two places."""
    arms = len(law)
    cells = np.zeros((arms, arms))
    for drawn in itertools.product(range(arms), repeat=responses):
        chance = np.prod(law[list(drawn)])
        scores = score[list(drawn)]
        best = [i for i in range(responses) if scores[i] == scores.max()]
        worst = [i for i in range(responses) if scores[i] == scores.min()]
        # All level: two different responses take the two places.
        places = [(i, j) for i in best for j in worst if i != j]
        for i, j in places:
            cells[drawn[i], drawn[j]] += chance / len(places)
    return cells


@pytest.mark.parametrize("responses", [2, 3, 5])
def test_best_against_worst_cells_enumerated(responses):
    expected = best_against_worst(np.asarray(REWARD[0]), POLICY, responses)
    ours = apo.BestAgainstWorst(responses).cells(BANDIT, BANDIT.log_ref)[0]
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    expected = best_against_worst(np.asarray(REWARD[0]), np.full(4, 0.25), responses)
    ours = apo.BestAgainstWorst(responses, Uniform()).cells(BANDIT, BANDIT.log_ref)[0]
    np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_best_of_a_game_is_what_beats_the_policy_whoever_draws():
    """The paper ranks by how often a response beats the policy in training."""
    game = problem_of("game", 1, levels=4)
    log_policy = game.log_ref[:, ::-1]
    ours = apo.BestAgainstWorst(3, FromReference()).cells(game, log_policy)[0]
    score, law = np.asarray(game.win_rate(log_policy))[0], np.exp(game.log_ref)[0]
    np.testing.assert_allclose(ours, best_against_worst(score, law, 3), atol=1e-12)


RANKERS = {
    "pairwise": Pairwise(),
    "best": apo.BestAgainstWorst(3),
    "listless": Listless(),
    "two samplers": Pairwise(FromPolicy(), FromReference()),
    "mixture": Pairwise(Uniform(), Mixture([0.5, 0.5], [FromPolicy(), FromReference()])),
    "own sampler": Pairwise(Greedier(), Greedier()),
    "best of the reference": apo.BestAgainstWorst(4, FromReference()),
    "flipped": Flipped(apo.BestAgainstWorst(3), 0.2),
    "flipped listless": Flipped(Listless(), 0.9),
    "ties dropped": Ties(apo.BestAgainstWorst(3), 0.4, "drop"),
    "ties split": Ties(apo.BestAgainstWorst(3), 0.4, "split"),
    "all": Flipped(Ties(Ties(Pairwise(Uniform()), 0.3, "split"), 0.5, "drop"), 0.1),
}


@pytest.mark.parametrize(
    ("name", "kind", "contexts"),
    [
        *itertools.product(["pairwise", "best", "two samplers"], ["bandit", "game"], [1, 3]),
        *itertools.product(["mixture", "best of the reference"], ["game"], [1, 3]),
        *itertools.product(["own sampler", "listless", "flipped listless"], ["game"], [3]),
        *itertools.product(["flipped", "ties dropped", "ties split", "all"], ["bandit"], [3]),
    ],
)
def test_pairs_have_the_law_of_the_cells(name, kind, contexts):
    problem = problem_of(kind, contexts)
    log_policy = problem.log_ref[:, ::-1]

    @jax.jit
    def draw(key):
        pairs = draw_pairs(key, RANKERS[name], problem, log_policy, PAIRS)
        law = RANKERS[name].cells(problem, log_policy)
        return pairs, law * problem.context_probs[:, None, None]

    rows, law = draw(jax.random.key(3))
    assert {row.shape for row in rows} == {(PAIRS,)}
    found, law = tallied(rows, law.shape), np.asarray(law)
    assert law.sum() == pytest.approx(1, rel=1e-12)
    assert p_value(found, law) > LEVEL
    assert p_value(found, shifted(law)) < LEVEL


def test_what_a_ranker_can_do_is_declared():
    for name, ranker in RANKERS.items():
        assert isinstance(ranker, Ranker)
        assert isinstance(ranker, DrawsPairs) == (name != "listless")
    assert not isinstance(Pairwise(), SplitsTies) and not isinstance(Listless(), SplitsTies)
    assert isinstance(Ties(Pairwise(), 0.1), SplitsTies)


def test_parameters_of_rankers_may_be_traced():
    """Many probabilities and distributions in one program."""
    problem = problem_of("bandit", 2)

    @jax.jit
    @jax.vmap
    def cells(probability, log_policy):
        ranker = Flipped(Ties(Pairwise(FixedPolicy(log_policy)), probability, "split"), probability)
        return ranker.cells(problem, problem.log_ref)

    policies = jnp.stack([problem.log_ref, problem.log_ref[:, ::-1]])
    found = cells(jnp.array([0.1, 0.4]), policies)
    for probability, log_policy, ours in zip([0.1, 0.4], policies, found, strict=True):
        ranker = Flipped(Ties(Pairwise(FixedPolicy(log_policy)), probability, "split"), probability)
        np.testing.assert_allclose(ours, ranker.cells(problem, problem.log_ref), rtol=1e-12)
