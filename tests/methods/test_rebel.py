"""REBEL: least squares on drawn pairs, and the natural policy gradient where they link all arms."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim.methods.npg import NPG
from apo_sim.methods.rebel import REBEL
from apo_sim.methods.reward_sources import FittedReward
from apo_sim.preferences import Counts

sys.path.insert(0, str(Path(__file__).parent))
from rewards_by_hand import a_bandit, check_continued

BANDIT = a_bandit()
POLICY = np.exp(np.asarray(BANDIT.log_ref))
RATES = jnp.array([0.5, 2.0, 0.3, 1.1, 0.8])
CLASS: Any = FittedReward


@pytest.fixture(scope="module")
def steps():
    """A model of the reward learnt from some labels, and a step on others; compiled once."""
    method = REBEL(0.7, FittedReward())

    @jax.jit
    def both(earlier, wins):
        state = method.init(BANDIT, None)
        model, _ = method.source.learn(BANDIT, state.source, Counts(earlier), jnp.array(0))
        state = type(state)(model, state.log_policy)
        new, report = method.step(BANDIT, state, Counts(wins), jnp.array(1))
        return new.log_policy, report.rewards

    return both


def by_hand(policy, pairs, eta, reward):
    """Least squares in the log-ratios of one context; then every group gets its probability."""
    arms = len(policy)
    rows = np.array([np.eye(arms)[i] - np.eye(arms)[j] for i, j in pairs])
    targets = np.array([eta * (reward[i] - reward[j]) for i, j in pairs])
    log_ratio = np.linalg.lstsq(rows, targets, rcond=None)[0]
    group = np.arange(arms)
    for _ in range(arms):
        for i, j in pairs:
            group[[i, j]] = min(group[i], group[j])
    new = policy * np.exp(log_ratio)
    for name in set(group):
        new[group == name] *= policy[group == name].sum() / new[group == name].sum()
    return new


def test_the_exact_step_is_that_of_the_natural_policy_gradient():
    rebel = apo.solve(BANDIT, REBEL(RATES), iterations=5, save="path")
    npg = apo.solve(BANDIT, NPG(RATES), iterations=5, save="path")
    np.testing.assert_allclose(rebel.path.log_policy, npg.path.log_policy, rtol=1e-13, atol=1e-13)


def test_so_it_is_wherever_the_pairs_link_all_arms():
    """On one and the same fitted rewards, whose error falls as 1 / sqrt(n)."""
    settings: dict[str, Any] = {"iterations": 2, "samples": 2_000, "key": jax.random.key(6)}
    rebel = apo.solve(BANDIT, REBEL(0.7, FittedReward()), **settings)
    npg = apo.solve(BANDIT, NPG(0.7, FittedReward()), **settings)
    np.testing.assert_allclose(rebel.final_log_policy, npg.final_log_policy, atol=1e-12)


@pytest.mark.parametrize("pairs", [[(0, 1), (2, 3)], [(3, 0), (0, 2), (0, 0)]])
def test_groups_of_pairs(steps, pairs):
    """Some arms are not linked to others; the model of the reward knows them all from before."""
    earlier, wins = np.ones((2, 4, 4)), np.zeros((2, 4, 4))
    earlier[:, 0] = 2.0
    for i, j in pairs:
        wins[0, i, j] += 2.0
        wins[0, j, i] += 1.0
    log_policy, rewards = steps(jnp.asarray(earlier), jnp.asarray(wins))
    expected = by_hand(POLICY[0], pairs, 0.7, np.asarray(rewards[0]))
    np.testing.assert_allclose(np.exp(log_policy[0]), expected, atol=1e-12)
    # Without a pair there is nothing to fit.
    np.testing.assert_allclose(np.exp(log_policy[1]), POLICY[1], atol=1e-14)


def test_single_responses_pair_with_each_other():
    """Three of them: the arms not among them keep their probability."""
    method, key = REBEL(0.7), jax.random.key(7)
    found = apo.solve(BANDIT, method, iterations=1, samples=3, key=key)
    drawn = method.request.draw(jax.random.fold_in(key, 0), BANDIT, BANDIT.log_ref, 3.0).drawn
    for x in range(2):
        seen = [y for y in range(4) if drawn[x, y] > 0]
        pairs = [(i, j) for i in seen for j in seen] or [(0, 0)]
        expected = by_hand(POLICY[x], pairs, 0.7, np.asarray(BANDIT.reward[x]))
        np.testing.assert_allclose(np.exp(found.final_log_policy[x]), expected, atol=1e-12)


def test_side_by_side_and_continued():
    final = lambda eta: apo.solve(BANDIT, REBEL(eta), iterations=2).final_log_policy  # noqa: E731
    many = jax.vmap(final)(RATES[:2])
    np.testing.assert_allclose(many, np.stack([final(r) for r in RATES[:2]]), atol=1e-13)
    check_continued(BANDIT, REBEL(RATES), 3)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: REBEL(-1.0), "learning_rate"),
        (lambda: REBEL(source=CLASS), "source"),
        (lambda: apo.solve(BANDIT, REBEL(RATES), iterations=6), "learning_rate"),
        (
            lambda: apo.solve(apo.Game(BANDIT.preference, BANDIT.log_ref), REBEL(), iterations=1),
            "source",
        ),
    ],
)
def test_bad_input(call, argument):
    with pytest.raises(apo.InvalidArgument) as raised:
        call()
    assert raised.value.argument == argument
