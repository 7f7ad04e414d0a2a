import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from apo_sim import theory
from apo_sim.errors import InvalidArgument
from apo_sim.problems import Bandit

from .dynamics import random_bandit, random_game, solution


def run(problem, alpha=0.5, beta=2.0, seed=0):
    rewards = np.random.default_rng(seed).normal(size=(5, 2, 4))
    return solution(np.asarray(problem.log_ref), lambda t, _: rewards[t], alpha, beta, 5)


def test_reward_bounds_against_loops():
    bandit = random_bandit(0)
    path, beta = run(bandit), np.array([1.0, 2.0, 0.5, 3.0, 1.0])
    got = theory.assumptions(bandit, path, beta)
    by_update = [
        np.abs(beta[t] * (path.log_policy[t + 1] - path.behaviour[t])).max() for t in range(5)
    ]
    np.testing.assert_allclose(got.reward_bound_by_update, by_update)
    assert float(got.reward_bound) == pytest.approx(max(by_update))
    visited = [*path.log_policy, *path.behaviour]
    pairs = itertools.product(visited, range(5))
    all_pairs = max(np.abs(beta[t] * (p - path.behaviour[t])).max() for p, t in pairs)
    assert float(got.reward_bound_all_pairs) == pytest.approx(all_pairs)
    assert all_pairs >= max(by_update)
    assert float(got.reward_span) == pytest.approx(np.ptp(path.rewards, axis=2).max())


def test_visited_bounds_are_those_of_every_shorter_run():
    bandit = random_bandit(0)
    path, beta = run(bandit), np.array([1.0, 2.0, 0.5, 3.0, 1.0])
    got = theory.visited_bounds(path, beta)
    for length in range(1, 6):
        visited = [*path.log_policy[: length + 1], *path.behaviour[: length + 1]]
        pairs = itertools.product(visited, range(length))
        farthest = max(np.abs(beta[t] * (p - path.behaviour[t])).max() for p, t in pairs)
        assert float(got.all_pairs[length - 1]) == pytest.approx(farthest)
    np.testing.assert_allclose(
        got.consecutive, theory.assumptions(bandit, path, beta).reward_bound_by_update
    )


def test_span_is_at_most_twice_the_bound():
    bandit = random_bandit(1)
    got = theory.assumptions(bandit, run(bandit), 2.0)
    assert float(got.reward_span) <= 2 * float(got.reward_bound) * (1 + 1e-12)
    assert float(got.reward_span) > float(got.reward_bound)  # the control: once does not do


def test_all_pairs_grow_with_the_run_though_the_steps_do_not():
    bandit = random_bandit(2)

    def bounds(iterations, alpha):
        path = solution(
            np.asarray(bandit.log_ref), lambda *_: np.asarray(bandit.reward), alpha, 1.0, iterations
        )
        got = theory.assumptions(bandit, path, 1.0)
        return float(got.reward_bound), float(got.reward_bound_all_pairs)

    (short, short_all), (long, long_all) = bounds(50, 0.5), bounds(200, 0.5)
    assert long <= short * 1.01
    assert long_all / short_all == pytest.approx(4, rel=0.1)
    assert bounds(200, 0.75)[1] / long_all == pytest.approx(2, rel=0.1)


def test_gaps_and_dominance():
    bandit = random_bandit(3)
    got = theory.assumptions(bandit, run(bandit), 2.0)
    top = np.sort(np.asarray(bandit.reward))[:, ::-1]
    assert got.gap is not None
    np.testing.assert_allclose(got.gap, top[:, 0] - top[:, 1])
    assert bool(got.gap_holds) and bool(got.dominance_holds)
    np.testing.assert_array_equal(got.log_p_star, bandit.log_best_ref)

    tied = Bandit(jnp.ones((2, 4)), bandit.log_ref)
    got = theory.assumptions(tied, run(tied), 2.0)
    assert not got.gap_holds and not got.dominance_holds


def test_a_game_has_no_reward_gap():
    game = random_game(1)
    got = theory.assumptions(game, run(game), 2.0)
    assert got.gap is None and not got.gap_holds
    np.testing.assert_array_equal(got.dominance, game.dominance)


@pytest.mark.parametrize("missing", ["log_policy", "behaviour", "rewards"])
def test_a_run_without_its_path_is_refused(missing):
    bandit = random_bandit(0)
    path = run(bandit)
    setattr(path, missing, None)
    with pytest.raises(InvalidArgument, match=rf'{missing}; run it again with save="path"'):
        theory.assumptions(bandit, path, 2.0)


def test_bad_beta():
    bandit = random_bandit(0)
    with pytest.raises(InvalidArgument, match="positive"):
        theory.assumptions(bandit, run(bandit), 0.0)
    with pytest.raises(InvalidArgument, match="shape"):
        theory.assumptions(bandit, run(bandit), jnp.ones(4))
