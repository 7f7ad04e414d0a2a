"""The NumPy side of the benchmark computes what the library computes."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest
import scipy.special

import apo_sim as apo

PATH = pathlib.Path(__file__).parents[2] / "experiments" / "peers_numpy.py"


@pytest.fixture(scope="module")
def peers():
    spec = importlib.util.spec_from_file_location("peers_numpy", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["exact_plain", "exact_tuned"])
def test_exact_path(peers, name):
    bandit = apo.families.uniform_bandit(jax.random.key(0), contexts=3, arms=7)
    alphas = np.array([0.0, 0.6])
    suboptimality, tv = getattr(peers, name)(
        np.asarray(bandit.reward), np.asarray(bandit.log_ref), alphas, beta=2.0, iterations=5
    )
    for index, alpha in enumerate(alphas):
        ours = apo.run(bandit, momentum=apo.Constant(float(alpha)), beta=2.0, iterations=5)
        np.testing.assert_allclose(suboptimality[index], ours.suboptimality, atol=1e-12)
        np.testing.assert_allclose(tv[index], ours.tv, atol=1e-12)


def test_sampled_step(peers):
    bandit = apo.families.uniform_bandit(jax.random.key(1), contexts=1, arms=4)
    cells = peers.pair_law(np.asarray(bandit.log_ref[0]), np.asarray(bandit.preference[0]))
    np.testing.assert_allclose(cells, apo.Pairwise().cells(bandit, bandit.log_ref)[0], atol=1e-15)

    rng = np.random.default_rng(0)
    wins = np.stack([peers.draw_wins(rng, cells, 500) for _ in range(3)])
    rewards = peers.best_rewards(wins)
    win_prob = scipy.special.expit(rewards[:, :, None] - rewards[:, None, :])
    expected = (wins + np.swapaxes(wins, 1, 2)) * win_prob
    # The likelihood is concave, and its slope vanishes where wins are what the scores expect.
    np.testing.assert_allclose(expected.sum(axis=2), wins.sum(axis=2), rtol=1e-10)
