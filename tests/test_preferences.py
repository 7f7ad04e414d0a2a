"""Rankers and the win counts that sum their data up."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import apo_sim as apo
from apo_sim.preferences import draw_pairs, win_counts

REWARD = jnp.array([[0.9, 0.1, 0.1, -0.7]])
POLICY = np.array([0.4, 0.3, 0.2, 0.1])
BANDIT = apo.Bandit(REWARD, jnp.log(jnp.asarray(POLICY))[None])


def test_pairwise_cells_enumerated():
    preference = np.asarray(BANDIT.preference[0])
    cells = np.zeros((4, 4))
    for first, second in itertools.product(range(4), repeat=2):
        drawn = POLICY[first] * POLICY[second]
        cells[first, second] += drawn * preference[first, second]
        cells[second, first] += drawn * preference[second, first]
    ours = apo.Pairwise().cells(BANDIT, BANDIT.log_ref)[0]
    np.testing.assert_allclose(ours, cells, rtol=1e-12)
    assert float(ours.sum()) == pytest.approx(1)


@pytest.mark.parametrize("responses", [2, 3, 5])
def test_best_against_worst_cells_enumerated(responses):
    reward = np.asarray(REWARD[0])
    cells = np.zeros((4, 4))
    for drawn in itertools.product(range(4), repeat=responses):
        chance = np.prod(POLICY[list(drawn)])
        score = reward[list(drawn)]
        best = [i for i in range(responses) if score[i] == score.max()]
        worst = [i for i in range(responses) if score[i] == score.min()]
        # All level: two different responses take the two places.
        places = [(i, j) for i in best for j in worst if i != j]
        for i, j in places:
            cells[drawn[i], drawn[j]] += chance / len(places)
    ours = apo.BestAgainstWorst(responses).cells(BANDIT, BANDIT.log_ref)[0]
    np.testing.assert_allclose(ours, cells, atol=1e-12)


def test_best_against_worst_needs_two():
    with pytest.raises(apo.InvalidArgument, match="responses"):
        apo.BestAgainstWorst(1)


@pytest.mark.parametrize("samples", [40, 10_000])
def test_win_counts_chi_square(samples):
    bandit = apo.Bandit(
        jnp.array([[0.5, -0.5, 0.0], [1.0, 0.0, -1.0]]),
        jnp.log(jnp.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])),
        jnp.array([0.25, 0.75]),
    )
    cells = apo.Pairwise().cells(bandit, bandit.log_ref)
    keys = jax.random.split(jax.random.key(samples), 2000)
    draw = jax.jit(jax.vmap(lambda key: win_counts(key, cells, bandit.context_probs, samples)))
    wins = np.asarray(draw(keys))
    assert np.all(wins.sum(axis=(1, 2, 3)) == samples)
    law = np.asarray(bandit.context_probs[:, None, None] * cells).ravel()
    assert stats.chisquare(wins.sum(0).ravel(), law * wins.sum()).pvalue > 1e-4
    # Each count by itself is binomial, not only their sum over the repetitions.
    spread = wins.reshape(len(wins), -1).var(axis=0) / (samples * law * (1 - law))
    assert np.abs(spread - 1).max() < 0.25


def test_win_counts_of_a_context_ignore_the_others():
    cells = apo.Pairwise().cells(BANDIT, BANDIT.log_ref)
    key = jax.random.key(2)
    first = win_counts(key, cells, jnp.ones(1), 10**9)
    again = jax.vmap(lambda k: win_counts(k, cells, jnp.ones(1), 10**9))(key[None])[0]
    assert np.array_equal(first, again)


# Pairs one by one


def problem_of(kind, contexts, levels):
    """Rewards or win rates on few levels, so that arms tie."""
    rng = np.random.default_rng(contexts)
    shape = (contexts, 4)
    log_ref = jax.nn.log_softmax(jnp.asarray(rng.normal(size=shape)), axis=1)
    probs = jnp.asarray(rng.dirichlet(np.full(contexts, 5.0)))
    reward = jnp.asarray(rng.integers(levels, size=shape).astype(float))
    if kind == "bandit":
        return apo.Bandit(reward, log_ref, probs)
    # Arms of one level have the same rows, hence the same win rate against any policy.
    return apo.Game(jax.nn.sigmoid(0.7 * (reward[:, :, None] - reward[:, None, :])), log_ref, probs)


class Listless:
    """A ranker that does not draw pairs one by one."""

    def cells(self, problem, log_policy):
        return apo.Pairwise().cells(problem, log_policy)


RANKERS = {"pairwise": apo.Pairwise(), "best": apo.BestAgainstWorst(3), "listless": Listless()}
PAIRS = 200_000


def p_value(found, law):
    """Of a chi-square test; what cannot be drawn must not have been."""
    assert not found[law <= 1e-12].any()
    seen = law > 1e-12
    return stats.chisquare(found[seen], law[seen] / law[seen].sum() * found.sum()).pvalue


@pytest.mark.parametrize(
    ("name", "kind", "contexts"),
    [
        *itertools.product(["pairwise", "best"], ["bandit", "game"], [1, 3]),
        ("listless", "game", 3),
    ],
)
def test_pairs_have_the_law_of_the_cells(name, kind, contexts):
    problem = problem_of(kind, contexts, levels=3)
    log_policy = problem.log_ref[:, ::-1]

    @jax.jit
    def draw(key):
        pairs = draw_pairs(key, RANKERS[name], problem, log_policy, PAIRS)
        law = RANKERS[name].cells(problem, log_policy)
        return pairs, law * problem.context_probs[:, None, None]

    rows, law = draw(jax.random.key(3))
    assert {row.shape for row in rows} == {(PAIRS,)}
    found = np.zeros(law.shape)
    np.add.at(found, tuple(map(np.asarray, rows)), 1.0)
    law = np.asarray(law)
    assert p_value(found, law) > 1e-4
    # The control: a law that is off by three hundredths in one place.
    wrong = law.copy()
    place = np.unravel_index(np.argmax(law), law.shape)
    wrong[place] += 0.03
    assert p_value(found, wrong) < 1e-4
