"""Wrong labels and ties: their cells by hand, what is learned from them, and how they scatter."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import apo_sim as apo
from apo_sim.losses import Extra
from apo_sim.preferences import (
    Counts,
    Flipped,
    Pairwise,
    Population,
    Ties,
    draw_counts,
    win_counts,
)
from apo_sim.preferences.ranked_pairs import outcomes_of
from apo_sim.proximal import rewards_from_counts

from .laws import LEVEL, p_value, problem_of

PROBLEM = problem_of("game", 2)
POLICY = PROBLEM.log_ref[:, ::-1]
CELLS = np.asarray(Pairwise().cells(PROBLEM, POLICY))
ARMS = CELLS.shape[1]


def split_of(ranker):
    """What is decided, and what is tied and counts half."""
    decided, tied = outcomes_of(ranker, PROBLEM, POLICY)
    assert tied is not None
    return np.asarray(decided), np.asarray(tied)


def learned(cells):
    """What the solver of the proximal step makes of a law, in differences to the first arm."""
    uniform = jnp.log(jnp.full(cells.shape[:2], 1 / cells.shape[1]))
    wide = jnp.array(50.0)
    rewards, residual = rewards_from_counts(apo.DPO(), 1e3 * cells, uniform, jnp.array(1.0), wide)
    assert float(residual) < 1e-6
    return np.asarray(rewards - rewards[:, :1])


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
def test_flipped_cells_by_hand(probability):
    expected = np.zeros(CELLS.shape)
    for x, i, j in np.ndindex(*CELLS.shape):
        expected[x, i, j] += (1 - probability) * CELLS[x, i, j]
        expected[x, j, i] += probability * CELLS[x, i, j]
    ours = Flipped(Pairwise(), probability).cells(PROBLEM, POLICY)
    np.testing.assert_allclose(ours, expected, rtol=1e-14)


@pytest.mark.parametrize("error", [0.0, 0.05, 0.3])
def test_flipped_pairs_teach_the_target_of_conservative_dpo(error):
    """logit(p (1 - e) + (1 - p) e), for two arms in each of some contexts."""
    rewards = jnp.linspace(-3.0, 3.0, 7)
    bandit = apo.Bandit(jnp.stack([jnp.zeros(7), rewards], axis=1), jnp.log(jnp.full((7, 2), 0.5)))
    ours = learned(Flipped(Pairwise(), error).cells(bandit, bandit.log_ref))[:, 1]
    p = scipy.special.expit(np.asarray(rewards))
    expected = scipy.special.logit(p * (1 - error) + (1 - p) * error)
    np.testing.assert_allclose(ours, expected, atol=1e-9)
    if error:
        assert np.abs(ours - np.asarray(rewards)).max() > 0.1


def by_hand(cells, probability, handling):
    """Every pair, with and without a preference."""
    found = np.zeros(cells.shape)
    for x, i, j in np.ndindex(*cells.shape):
        tied = probability * cells[x, i, j] * (i != j)
        found[x, i, j] += cells[x, i, j] - tied
        for place in ((i, j), (j, i)) if handling == "split" else ((i, i), (j, j)):
            found[x, *place] += tied / 2
    return found


@pytest.mark.parametrize(
    ("handling", "probability"), itertools.product(["drop", "split"], [0.0, 0.3, 1.0])
)
def test_cells_of_ties_by_hand(handling, probability):
    ranker = Ties(Pairwise(), probability, handling)
    ours = ranker.cells(PROBLEM, POLICY)
    expected = by_hand(CELLS, probability, handling)
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-17)
    decided, tied = ranker.outcomes(PROBLEM, POLICY)
    assert (tied is None) == (handling == "drop")
    if tied is not None:
        np.testing.assert_allclose(decided + tied, expected, rtol=1e-12, atol=1e-17)
        np.testing.assert_array_equal(tied, jnp.swapaxes(tied, 1, 2))
        np.testing.assert_array_equal(jnp.diagonal(tied, axis1=1, axis2=2), 0.0)


def test_ties_of_ties():
    """Half of the pairs split, and of all of them a third dropped; then labels turned around."""
    split = Ties(Pairwise(), 0.5, "split")
    both = Ties(split, 1 / 3, "drop")
    expected = by_hand(by_hand(CELLS, 0.5, "split"), 1 / 3, "drop")
    np.testing.assert_allclose(both.cells(PROBLEM, POLICY), expected, rtol=1e-12)
    decided, tied = split_of(both)
    np.testing.assert_allclose(tied, 2 / 3 * split_of(split)[1], rtol=1e-12)
    turned = Flipped(both, 0.2)
    flipped, still = split_of(turned)
    np.testing.assert_array_equal(still, tied)
    np.testing.assert_allclose(flipped, 0.8 * decided + 0.2 * np.swapaxes(decided, 1, 2))
    np.testing.assert_allclose(turned.cells(PROBLEM, POLICY), flipped + still, rtol=1e-12)
    twice = split_of(Ties(split, 0.5, "split"))
    once = split_of(Ties(Pairwise(), 0.75, "split"))
    for ours, same in zip(twice, once, strict=True):
        np.testing.assert_allclose(ours, same, rtol=1e-12, atol=1e-17)


def test_dropped_ties_teach_the_same_and_split_ties_less():
    bandit = problem_of("bandit", 2)
    plain = learned(Pairwise().cells(bandit, bandit.log_ref))
    dropped = learned(Ties(Pairwise(), 0.4, "drop").cells(bandit, bandit.log_ref))
    np.testing.assert_allclose(dropped, plain, atol=1e-9)
    two = apo.Bandit(jnp.array([[0.0, 2.0]]), jnp.log(jnp.array([[0.3, 0.7]])))
    split = learned(Ties(Pairwise(), 0.4, "split").cells(two, two.log_ref))[0, 1]
    expected = scipy.special.logit(0.6 * scipy.special.expit(2.0) + 0.4 * 0.5)
    assert split == pytest.approx(expected, abs=1e-9)


SAMPLES, DRAWS = 400, 4000
# A sample variance is off by a share of sqrt(2 / DRAWS) = 0.022 in one standard error.
SIX_ERRORS = 6 * np.sqrt(2 / DRAWS)


def drawn(ranker, problem, log_policy, samples=SAMPLES, draws=DRAWS):
    keys = jax.random.split(jax.random.key(1), draws)

    @jax.jit
    @jax.vmap
    def draw(key):
        return draw_counts(key, ranker, problem, log_policy, samples)

    return np.asarray(draw(keys))


def test_split_ties_scatter_less_than_coins():
    """Var = N (d (1 - d) + t (1 - t)/4 - d t), with d decided for i and t tied between i and j.

    With a coin for each tie it would be N c (1 - c), c = d + t/2: more by N t/4.
    """
    ranker = Ties(Pairwise(), 0.8, "split")
    probs = np.asarray(PROBLEM.context_probs)[:, None, None]
    decided, halves = (probs * part for part in split_of(ranker))
    wins = drawn(ranker, PROBLEM, POLICY)
    np.testing.assert_array_equal(wins.sum(axis=(1, 2, 3)), SAMPLES)
    np.testing.assert_array_equal(2 * wins, np.round(2 * wins))
    assert (wins != np.round(wins)).any()
    tied, cell = 2 * halves, decided + halves
    variance = decided * (1 - decided) + tied * (1 - tied) / 4 - decided * tied
    coins = cell * (1 - cell)
    np.testing.assert_allclose(coins - variance, tied / 4, atol=1e-15)
    error = np.sqrt(SAMPLES * variance / DRAWS)
    assert (np.abs(wins.mean(axis=0) - SAMPLES * cell) < 6 * error).all()
    assert np.abs(wins.var(axis=0) / (SAMPLES * variance) - 1).max() < SIX_ERRORS
    # The control, where arms tie often.
    often = ~np.eye(ARMS, dtype=bool) & (tied > 0.02)
    assert often.any() and (variance < 0.9 * coins)[often].all()
    assert (np.abs(wins.var(axis=0) / (SAMPLES * coins) - 1) > SIX_ERRORS)[often].all()
    # Both arms of a tie have the same half: their difference is of decided pairs alone.
    lead = (wins - np.swapaxes(wins, 2, 3)).var(axis=0)
    other = np.swapaxes(decided, 1, 2)
    expected = decided + other - (decided - other) ** 2
    off = np.broadcast_to(~np.eye(ARMS, dtype=bool), expected.shape)
    assert np.abs(lead[off] / (SAMPLES * expected[off]) - 1).max() < SIX_ERRORS


@pytest.mark.parametrize(
    "ranker", [Ties(Pairwise(), 0.5, "drop"), Flipped(Pairwise(), 0.3)], ids=["dropped", "flipped"]
)
def test_counts_have_the_law_of_the_cells(ranker):
    wins = drawn(ranker, PROBLEM, POLICY, draws=500)
    np.testing.assert_array_equal(wins.sum(axis=(1, 2, 3)), SAMPLES)
    probs = np.asarray(PROBLEM.context_probs)[:, None, None]
    law = probs * np.asarray(ranker.cells(PROBLEM, POLICY))
    assert p_value(wins.sum(axis=0), law) > LEVEL
    assert p_value(wins.sum(axis=0), probs * CELLS) < LEVEL


def test_dropped_ties_leave_the_fewer_comparisons():
    off = ~np.eye(ARMS, dtype=bool)
    probs = np.asarray(PROBLEM.context_probs)[:, None, None]
    compared = drawn(Ties(Pairwise(), 0.5, "drop"), PROBLEM, POLICY, draws=500)[..., off].sum()
    share = 0.5 * (probs * CELLS)[..., off].sum()
    error = np.sqrt(500 * SAMPLES * share * (1 - share))
    assert abs(compared - 500 * SAMPLES * share) < 5 * error


def test_rankers_without_ties_run_the_program_that_they_ran_before():
    def of_the_ranker(key):
        return draw_counts(key, Pairwise(), PROBLEM, POLICY, 100)

    def of_its_cells(key):
        cells = Pairwise().cells(PROBLEM, POLICY)
        return win_counts(key, cells, PROBLEM.context_probs, 100)

    programs = [str(jax.make_jaxpr(f)(jax.random.key(0))) for f in (of_the_ranker, of_its_cells)]
    assert programs[0] == programs[1]
    assert outcomes_of(Pairwise(), PROBLEM, POLICY).tied is None
    with_ties = jax.make_jaxpr(
        lambda key: draw_counts(key, Ties(Pairwise(), 0.1, "split"), PROBLEM, POLICY, 100)
    )(jax.random.key(0))
    assert str(with_ties) != programs[0]


def test_the_mean_of_a_loss_over_the_law_is_that_over_many_draws():
    """Halves count as they should in the mean, too."""
    ranker = Ties(Pairwise(), 0.6, "split")
    scores = jnp.asarray(np.random.default_rng(0).normal(size=CELLS.shape[:2]))
    cells = ranker.cells(PROBLEM, POLICY)
    law = Population(PROBLEM, POLICY, PROBLEM.win_rate(POLICY), cells)
    expected = float(law.mean(apo.DPO(), scores, Extra()))
    wins = draw_counts(jax.random.key(0), ranker, PROBLEM, POLICY, 10**12)
    found = float(Counts(wins).mean(apo.DPO(), scores, Extra()))
    assert found == pytest.approx(expected, abs=1e-5)
    plain = Population(PROBLEM, POLICY, PROBLEM.win_rate(POLICY))
    assert abs(float(plain.mean(apo.DPO(), scores, Extra())) - expected) > 1e-3
