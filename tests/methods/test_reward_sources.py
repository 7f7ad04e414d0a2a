"""Rewards as the bandit has them, and as a Bradley-Terry model of labels does."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import apo_sim as apo
from apo_sim import preferences
from apo_sim.methods.npg import NPG
from apo_sim.methods.reward_sources import FittedReward, RewardSource, TrueReward

sys.path.insert(0, str(Path(__file__).parent))
from rewards_by_hand import a_bandit, bradley_terry, centred, losses

BANDIT = a_bandit()
GAME = apo.Game(BANDIT.preference, BANDIT.log_ref)
KEY = jax.random.key(2)
NOTHING: Any = None
LIST: Any = [1.0, 2.0]
CLASS: Any = apo.Pairwise
SOURCE: Any = TrueReward


def bounded_by_hand(wins, bound):
    """The best Bradley-Terry rewards of three arms with one pair of them 2 R apart."""
    found = []
    for top in range(3):
        for bottom in set(range(3)) - {top}:
            (middle,) = {0, 1, 2} - {top, bottom}
            r = np.zeros(3)
            r[top], r[bottom] = bound, -bound

            def slope(value, r=r, middle=middle):
                lead = np.delete(value - r, middle)
                won, lost = np.delete(wins[middle], middle), np.delete(wins[:, middle], middle)
                return np.sum(won - (won + lost) / (1 + np.exp(-lead)))

            ends = slope(-bound), slope(bound)
            inside = ends[0] > 0 > ends[1]
            middle_reward: Any = (
                brentq(slope, -bound, bound) if inside else np.sign(ends[0]) * bound
            )
            r[middle] = middle_reward
            found.append(r)
    return min(found, key=lambda r: losses(wins, r))


@pytest.fixture(scope="module")
def learn():
    """One compiled program for every fit to three arms."""
    return jax.jit(
        lambda problem, source: source.learn(
            problem,
            source.init(problem),
            source.request.exact(problem, problem.log_ref),
            jnp.array(0),
        )[1]
    )


def test_exact_labels_tell_the_reward(learn):
    bandit = a_bandit(1, arms=3)
    found = learn(bandit, FittedReward())
    expected = centred(np.asarray(bandit.reward), np.exp(bandit.log_ref))
    np.testing.assert_allclose(found.advantage, expected, atol=1e-8)
    # Two responses of every pair.
    law = np.asarray(bandit.context_probs)[:, None] * np.exp(bandit.log_ref)
    np.testing.assert_allclose(found.drawn, 2 * law, rtol=1e-12)


def test_the_bound_is_that_of_the_fit(learn):
    bandit = a_bandit(1, arms=3)
    bandit = apo.Bandit(3.0 * bandit.reward, bandit.log_ref, bandit.context_probs)
    found = learn(bandit, FittedReward(reward_bound=0.75))
    cells = np.asarray(apo.Pairwise().cells(bandit, bandit.log_ref))
    for x in range(2):
        expected = bounded_by_hand(cells[x] * (1 - np.eye(3)), 0.75)
        reward = np.asarray(found.reward[x])
        np.testing.assert_allclose(np.ptp(reward), 1.5, rtol=1e-9)
        np.testing.assert_allclose(reward - reward.mean(), expected - expected.mean(), atol=1e-7)


@pytest.mark.parametrize("refit", [True, False])
def test_the_labels_that_a_model_is_fitted_to(refit):
    """Redrawn outside of the loop, and fitted by Newton's method."""
    source = FittedReward(refit=refit)
    settings: dict[str, Any] = {"iterations": 3, "samples": 2_000, "key": KEY, "save": "path"}
    found = apo.solve(BANDIT, NPG(0.7, source), **settings)
    wins, draw = np.zeros((2, 4, 4)), jax.jit(source.request.draw)
    for t in range(3):
        behaviour = found.path.behaviour[t]
        new = np.asarray(draw(jax.random.fold_in(KEY, t), BANDIT, behaviour, 2_000.0).wins)
        if refit or t == 0:
            wins = wins + new
        reward = np.stack([bradley_terry(context) for context in wins])
        expected = centred(reward, new.sum(axis=1) + new.sum(axis=2))
        assert found.path.rewards is not None
        np.testing.assert_allclose(found.path.rewards[t], expected, atol=1e-6)


def test_arms_never_compared_have_no_advantage():
    source = FittedReward()
    state = source.init(BANDIT)
    wins = jnp.zeros((2, 4, 4)).at[0, 1, 2].set(3.0).at[0, 2, 1].set(1.0).at[0, 3, 3].set(5.0)
    found = jax.jit(source.learn)(BANDIT, state, preferences.Counts(wins), jnp.array(0))[1]
    np.testing.assert_array_equal(found.known, [[False, True, True, False], [False] * 4])
    half = 0.5 * np.log(3.0)
    np.testing.assert_allclose(found.advantage, [[0, half, -half, 0], [0] * 4], atol=1e-6)
    np.testing.assert_array_equal(found.drawn[0], [0.0, 4.0, 4.0, 10.0])


def test_a_game_has_no_reward():
    with pytest.raises(apo.InvalidArgument, match=r"source = TrueReward\(\) needs a reward"):
        apo.solve(GAME, NPG(), iterations=1)
    FittedReward().check(GAME)


@pytest.mark.parametrize(
    ("ranker", "own"),
    [
        (apo.Pairwise(), True),
        (preferences.Flipped(preferences.Ties(apo.Pairwise(), 0.1), 0.1), True),
        (apo.Pairwise(second=preferences.FromReference()), False),
        (preferences.Flipped(apo.BestAgainstWorst(), 0.1), False),
    ],
)
def test_whose_responses_they_are(ranker, own):
    source = FittedReward(ranker=ranker)
    assert isinstance(source, RewardSource) and source.on_policy == own


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: FittedReward(refit=NOTHING), "refit"),
        (lambda: FittedReward(reward_bound=0.0), "reward_bound"),
        (lambda: FittedReward(reward_bound=LIST), "reward_bound"),
        (lambda: FittedReward(ranker=CLASS), "ranker"),
        (lambda: FittedReward(reward_bound=1e6).check(BANDIT), "reward_bound"),
        (lambda: NPG(source=SOURCE), "source"),
        (lambda: NPG(source=NOTHING), "source"),
    ],
)
def test_bad_input(call, argument):
    with pytest.raises(apo.InvalidArgument) as raised:
        call()
    assert raised.value.argument == argument
