"""The strategies that users get: everything they promise, and that they reach the corners."""

import builtins
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import apo_sim as apo
from apo_sim import testing


@given(testing.policies(2, 3, max_log_ratio=690.0))
def test_policies_are_normalised(log_policy):
    assert log_policy.shape == (2, 3)
    np.testing.assert_allclose(np.logaddexp.reduce(log_policy, axis=1), 0.0, atol=1e-12)
    assert np.ptp(np.asarray(log_policy), axis=1).max() <= 690.0 + 1e-9


@given(testing.bandits(2, 3, min_gap=0.5))
def test_bandits_keep_their_gap_and_range(bandit):
    assert np.all(bandit.gap >= 0.5 - 1e-12)
    assert np.abs(bandit.reward).max() <= 1.0


@given(testing.games(2, 3, min_dominance=0.25))
def test_games_keep_their_dominance(game):
    assert np.all(game.dominance >= 0.25 - 1e-12)


@given(testing.alphas(), testing.betas(1e-6, 1e6), testing.keys())
def test_parameters_stay_in_range(alpha, beta, key):
    assert 0 <= alpha < 1
    assert 1e-6 <= beta <= 1e6
    assert key.shape == () and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


@given(testing.schedules(testing.betas(), 3), testing.reward_paths(3, 2, 4, max_size=5.0))
def test_paths_have_their_shape(betas, rewards):
    assert betas.shape == (3,)
    assert rewards.shape == (3, 2, 4) and np.abs(rewards).max() <= 5.0


@given(testing.bandits(st.integers(1, 3), st.integers(2, 4)))
def test_sizes_may_be_strategies(bandit):
    assert 1 <= bandit.num_contexts <= 3
    assert 2 <= bandit.num_arms <= 4


@given(testing.win_counts(1, 3, max_count=100), testing.context_distributions(3))
def test_counts_and_distributions(wins, probs):
    assert wins.shape == (1, 3, 3)
    assert np.all(wins >= 0) and np.all(wins <= 100) and np.all(wins == np.round(wins))
    assert np.all(probs >= 0) and abs(float(probs.sum()) - 1) < 1e-12


# Any example will do: no time is spent on making it small.
QUICK = settings(max_examples=1000, database=None, phases=[Phase.generate])


def unseen_and_undefeated(wins):
    wins = np.asarray(wins[0]) * ~np.eye(3, dtype=bool)
    drawn = wins.sum(axis=0) + wins.sum(axis=1)
    return (drawn == 0).any() and ((drawn > 0) & (wins.sum(axis=0) == 0)).any()


CORNERS = {
    "a tie at the top": (testing.bandits(1, 3), lambda b: float(b.gap[0]) == 0),
    "a rare best arm": (testing.bandits(1, 3), lambda b: float(b.log_best_ref[0]) < -20),
    "a context that never comes up": (
        testing.bandits(2, 3),
        lambda b: float(b.context_probs.min()) == 0,
    ),
    "no dominant arm": (testing.games(1, 3), lambda g: float(g.dominance[0]) < 0),
    "a certain win": (testing.games(1, 3), lambda g: float(g.preference.max()) == 1),
    "an alpha close to one": (testing.alphas(), lambda alpha: alpha > 1 - 1e-9),
    "a large beta": (testing.betas(), lambda beta: beta > 500),
    "an unseen arm and an undefeated one": (testing.win_counts(1, 3), unseen_and_undefeated),
}


@pytest.mark.parametrize("name", CORNERS)
def test_corners_are_reached(name):
    strategy, wanted = CORNERS[name]
    find(strategy, wanted, settings=QUICK)


def test_a_wrong_claim_is_refuted():
    """What the strategies are for: the printed bound (C.8) is false."""

    def violates(bandit):
        policy = apo.theory.exact_policy(bandit, 2.0)
        printed = apo.theory.gap_printed(None, 2.0, log_p_star=bandit.log_best_ref)
        return float(bandit.suboptimality(policy)) > float(bandit.context_probs @ printed)

    found = find(testing.bandits(1, 2), violates, settings=QUICK)
    assert float(np.exp(found.log_best_ref[0])) > 0.4


def test_without_hypothesis_the_message_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("hypothesis"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"apo_sim.testing needs hypothesis; install it"):
        importlib.reload(testing)
    monkeypatch.undo()
    importlib.reload(testing)
