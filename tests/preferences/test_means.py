"""The mean loss of all pairs, of counts and of lists, against double loops in NumPy."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim.losses import Extra, dpo, population_rewards
from apo_sim.preferences import Counts, Flipped, Pairs, Pairwise, Population, Ties
from apo_sim.preferences import population as population_module

CONTEXTS, ARMS, BETA = 3, 4, 2.0
RNG = np.random.default_rng(0)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


LOG_REF = log_softmax(RNG.normal(size=(CONTEXTS, ARMS)))
CENTRE = jnp.asarray(log_softmax(RNG.normal(size=(CONTEXTS, ARMS))))
PROBS = RNG.dirichlet(np.ones(CONTEXTS))
SCORES = jnp.asarray(RNG.normal(size=(CONTEXTS, ARMS)))
SKEW = np.triu(RNG.uniform(-0.5, 0.5, (CONTEXTS, ARMS, ARMS)), 1)
# They take NumPy arrays too, which their fields' types, of what they hold, do not say.
Bandit: Any = apo.Bandit
Game: Any = apo.Game
PROBLEMS = {
    "bandit": Bandit(RNG.uniform(-1, 1, (CONTEXTS, ARMS)), LOG_REF, PROBS),
    "game": Game(0.5 + SKEW - np.swapaxes(SKEW, 1, 2), LOG_REF, PROBS),
}


def hinge(h_winner, h_loser, extra):
    return jax.nn.softplus(2.0 - 2.0 * (h_winner - h_loser))


LOSSES = {"dpo": apo.DPO(), "ipo": apo.IPO(0.5), "sppo": apo.SPPO(), "own": hinge}


class Plain:
    """A loss without what it knows about its mean."""

    def __init__(self, loss):
        self.loss = loss

    def __call__(self, h_winner, h_loser, extra):
        return self.loss(h_winner, h_loser, extra)


def population(problem):
    """All pairs, and what SPPO needs beside them."""
    win_rate = problem.win_rate(CENTRE)
    log_z = jax.nn.logsumexp(CENTRE + win_rate / BETA, axis=1, keepdims=True)
    return Population(problem, CENTRE, win_rate), Extra(BETA * log_z)


def in_numpy(loss, problem, scores):
    """Context, two responses and a coin, one after the other."""
    policy, preference = np.exp(CENTRE), np.asarray(problem.preference)
    win_rate = np.einsum("xij,xj->xi", preference, policy)
    b = BETA * np.log(np.sum(policy * np.exp(win_rate / BETA), axis=1))
    of_pair = {
        "dpo": lambda won, lost, x: np.log1p(np.exp(lost - won)),
        "ipo": lambda won, lost, x: (won - lost - 2.0) ** 2,
        "sppo": lambda won, lost, x: 0.5 * (won - 1 + b[x]) ** 2 + 0.5 * (lost + b[x]) ** 2,
        "own": lambda won, lost, x: np.log1p(np.exp(2 - 2 * (won - lost))),
    }[loss]
    total = 0.0
    for x, first, second in itertools.product(range(CONTEXTS), range(ARMS), range(ARMS)):
        drawn = PROBS[x] * policy[x, first] * policy[x, second]
        one, two, wins = scores[x, first], scores[x, second], preference[x, first, second]
        total += drawn * (wins * of_pair(one, two, x) + (1 - wins) * of_pair(two, one, x))
    return total


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("name", LOSSES)
def test_all_pairs_in_numpy(name, kind, monkeypatch):
    """The short cut of the loss, the sum over all pairs, and the sum in blocks, with gradients."""
    problem, loss = PROBLEMS[kind], LOSSES[name]
    every, extra = population(problem)

    def means():
        return jax.jit(
            lambda scores: [
                jax.value_and_grad(lambda s, own=own: every.mean(own, s, extra))(scores)
                for own in (loss, Plain(loss))
            ]
        )(SCORES)

    short, dense = means()
    # Blocks of one row, the last ones of rows that are not there.
    monkeypatch.setattr(population_module, "_PAIRS_AT_ONCE", 3 * ARMS * CONTEXTS)
    monkeypatch.setattr(dpo, "_PAIRS_AT_ONCE", 3 * ARMS)
    short_in_blocks, blocks = means()
    expected = in_numpy(name, problem, np.asarray(SCORES))
    for value, slope in (short, dense, short_in_blocks, blocks):
        assert float(value) == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(slope, dense[1], rtol=1e-10, atol=1e-14)
    # The control: preferences turned around.
    turned = in_numpy(name, problem, -np.asarray(SCORES))
    assert abs(turned - expected) > 1e-3


def test_blocks_are_used(monkeypatch):
    """What the comparison above rests on."""
    used = []
    blocks = Population._in_blocks
    monkeypatch.setattr(Population, "_in_blocks", lambda *args: used.append(None) or blocks(*args))
    every, extra = population(PROBLEMS["game"])
    every.mean(hinge, SCORES, extra)
    assert not used
    monkeypatch.setattr(population_module, "_PAIRS_AT_ONCE", CONTEXTS * ARMS**2 - 1)
    every.mean(hinge, SCORES, extra)
    every.mean(apo.IPO(), SCORES, extra)  # which brings its own
    assert len(used) == 1


@pytest.mark.parametrize(
    ("name", "kind"), [("dpo", "bandit"), ("ipo", "game"), ("ipo", "bandit"), ("sppo", "game")]
)
def test_population_rewards_minimise_it(name, kind):
    """h = beta log(policy / centre) of the policy that they make."""
    problem, loss = PROBLEMS[kind], LOSSES[name]
    rewards = population_rewards(loss, problem, CENTRE)
    assert rewards is not None

    @jax.jit
    def slope(rewards):
        def mean(logits):
            scores = BETA * (jax.nn.log_softmax(logits, axis=1) - CENTRE)
            data, extra = population(problem)
            return data.mean(loss, scores, extra)

        return jax.grad(mean)(CENTRE + rewards / BETA)

    np.testing.assert_allclose(slope(rewards), 0.0, atol=1e-14)
    assert float(abs(slope(1.1 * rewards)).max()) > 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_counts_and_pairs_of_the_same_data(name):
    rng = np.random.default_rng(1)
    rows = [rng.integers(size, size=50) for size in (CONTEXTS, ARMS, ARMS)]
    wins = np.zeros((CONTEXTS, ARMS, ARMS))
    np.add.at(wins, tuple(rows), 1.0)
    log_z = jnp.asarray(rng.normal(size=(CONTEXTS, 1)))
    loss: Any = LOSSES[name]
    context, winner, loser = map(jnp.asarray, rows)
    listed, extra = Pairs(context, winner, loser), Extra(log_z)
    expected = np.mean(
        [
            float(loss(SCORES[x, i], SCORES[x, j], Extra(log_z[x, 0])))
            for x, i, j in zip(*rows, strict=True)
        ]
    )
    assert float(listed.mean(loss, SCORES, extra)) == pytest.approx(expected, rel=1e-12)
    counted = Counts(jnp.asarray(wins)).mean(loss, SCORES, extra)
    assert float(counted) == pytest.approx(expected, rel=1e-12)
    # The control: winners for losers.
    turned = Counts(jnp.asarray(np.swapaxes(wins, 1, 2))).mean(loss, SCORES, extra)
    assert abs(float(turned) - expected) > 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_the_law_of_a_ranker(name):
    """Its cells, in loops; and those of plain pairs are what no cells stand for."""
    problem, loss = PROBLEMS["game"], LOSSES[name]
    every, extra = population(problem)
    for ranker in (Pairwise(), apo.BestAgainstWorst(3), Flipped(Pairwise(), 0.2)):
        cells = ranker.cells(problem, CENTRE)
        law = Population(problem, CENTRE, every.win_rate, cells)
        expected = sum(
            PROBS[x] * float(cells[x, i, j]) * float(loss(SCORES[x, i], SCORES[x, j], of_context))
            for x, of_context in enumerate(map(Extra, jnp.ravel(extra.log_normalizer)))
            for i, j in np.ndindex(ARMS, ARMS)
        )
        found = float(law.mean(loss, SCORES, extra))
        assert found == pytest.approx(expected, rel=1e-12)
        plain = float(every.mean(loss, SCORES, extra))
        assert (found == pytest.approx(plain, rel=1e-12)) == (ranker == Pairwise())


def test_flipped_pairs_ask_for_the_conservative_target():
    """At logit(p (1 - e) + (1 - p) e) the mean of DPO over two arms has no slope."""
    bandit = Bandit(np.array([[0.5, -1.0]]), np.log([[0.3, 0.7]]))
    cells = Flipped(Pairwise(), 0.2).cells(bandit, bandit.log_ref)
    law = Population(bandit, bandit.log_ref, bandit.win_rate(bandit.log_ref), cells)
    p = 1 / (1 + np.exp(-1.5))
    noisy = p * 0.8 + (1 - p) * 0.2
    slope = jax.grad(lambda lead: law.mean(apo.DPO(), jnp.array([[lead, 0.0]]), Extra()))
    assert abs(float(slope(np.log(noisy / (1 - noisy))))) < 1e-15
    assert abs(float(slope(1.5))) > 1e-2


@pytest.mark.parametrize("name", LOSSES)
def test_one_number_for_all_contexts_will_do(name):
    """An `Extra` of scores that are known up to a constant."""
    rng = np.random.default_rng(2)
    context, winner, loser = (rng.integers(size, size=20) for size in (CONTEXTS, ARMS, ARMS))
    wins = np.zeros((CONTEXTS, ARMS, ARMS))
    np.add.at(wins, (context, winner, loser), 1.0)
    loss: Any = LOSSES[name]
    every, _ = population(PROBLEMS["game"])
    law = Population(
        PROBLEMS["game"], CENTRE, every.win_rate, Ties(Pairwise(), 0.1).cells(every.problem, CENTRE)
    )
    listed: Any = Pairs
    for data in (every, law, Counts(jnp.asarray(wins)), listed(context, winner, loser)):
        full = data.mean(loss, SCORES, Extra(jnp.full((CONTEXTS, 1), 0.3)))
        assert float(data.mean(loss, SCORES, Extra(0.3))) == pytest.approx(float(full), rel=1e-13)


def test_batches_begin_again_after_the_last_pair():
    places: Any = Pairs
    pairs = places([0, 1, 2, 0, 1], [0, 1, 2, 3, 0], [3, 2, 1, 0, 1])
    batch = pairs.batch(jnp.array(2), 2)
    assert batch.context.tolist() == [1, 0]
    assert (batch.winner.tolist(), batch.loser.tolist()) == ([0, 0], [1, 3])
