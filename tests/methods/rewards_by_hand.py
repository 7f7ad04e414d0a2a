"""Reward optimisation without the library: Bradley-Terry fits in NumPy, and rates in samples."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import apo_sim as apo

SIZES = np.array([1e4, 4e4, 1.6e5])
SEEDS = 300


def a_bandit(seed: int = 0, contexts: int = 2, arms: int = 4) -> apo.Bandit:
    """Rewards in [-1, 1], a reference policy and contexts that are not uniform."""
    rng = np.random.default_rng(seed)
    reward = rng.uniform(-1, 1, (contexts, arms))
    ref = rng.dirichlet(np.full(arms, 3.0), contexts)
    return apo.Bandit(
        jnp.asarray(reward), jnp.log(ref), jnp.asarray(rng.dirichlet(np.full(contexts, 5.0)))
    )


def softmax(scores):
    """Row by row."""
    weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def losses(wins, r):
    """Minus the log-likelihood of Bradley-Terry rewards r given win counts of one context."""
    arms = range(len(r))
    return sum(wins[i, j] * np.logaddexp(0.0, r[j] - r[i]) for i in arms for j in arms)


def bradley_terry(wins):
    """Rewards of one context by Newton's method, of mean 0; every pair of arms has met."""
    arms = len(wins)
    r, met = np.zeros(arms), wins + wins.T
    for _ in range(50):
        slope, curvature = np.zeros(arms), np.zeros((arms, arms))
        for i in range(arms):
            for j in range(arms):
                if i != j:
                    p = 1.0 / (1.0 + np.exp(r[j] - r[i]))
                    slope[i] += wins[i, j] - met[i, j] * p
                    curvature[i, i] += met[i, j] * p * (1 - p)
                    curvature[i, j] -= met[i, j] * p * (1 - p)
        r = r + np.linalg.lstsq(curvature, slope, rcond=1e-12)[0]
    return r - r.mean()


def centred(scores, weights):
    """Minus the weighted mean, row by row."""
    return scores - (weights * scores).sum(axis=1, keepdims=True) / weights.sum(
        axis=1, keepdims=True
    )


def equal(first: Any, second: Any) -> None:
    """Two trees, to the last bit; keys by their numbers."""

    def plain(leaf):
        is_key = jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if is_key else leaf

    jax.tree.map(np.testing.assert_array_equal, *(jax.tree.map(plain, t) for t in (first, second)))


def check_continued(
    problem: Any, method: Any, samples: Any, half: int = 2, **settings: Any
) -> None:
    """A run in two parts, of `half` iterations each, is the whole run, to the last bit.

    Where length and settings are those of another test's run, they share its compiled program.
    """
    settings = {"samples": samples, **settings}
    key = jax.random.key(5)
    whole = apo.solve(problem, method, iterations=2 * half, key=key, **settings)
    start = apo.solve(problem, method, iterations=half, key=key, **settings)
    rest = apo.solve(problem, method, iterations=half, state=start.state, **settings)
    joined = np.concatenate([start.suboptimality, rest.suboptimality])
    np.testing.assert_array_equal(joined, whole.suboptimality)
    equal(rest.state, whole.state)


def check_rate(problem: Any, method: Any, target: Any, iterations: int = 2) -> None:
    """The squared distance to the exact method falls as 1/n, within four standard errors.

    Args:
        problem: what to run on.
        method: the method.
        target: policy that infinitely many samples lead to, shape (contexts, arms).
        iterations: of every run.
    """

    def squared_error(key, samples):
        found = apo.solve(problem, method, iterations=iterations, samples=samples, key=key)
        return jnp.sum((jnp.exp(found.final_log_policy) - target) ** 2)

    # One row of all runs: a second jax.vmap would trace everything once more.
    keys = jnp.tile(jax.random.split(jax.random.key(8), SEEDS), len(SIZES))
    errors = jax.jit(jax.vmap(squared_error))(keys, np.repeat(SIZES, SEEDS))
    errors = np.asarray(errors).reshape(len(SIZES), SEEDS)
    mean = errors.mean(axis=1)
    spread = errors.std(axis=1, ddof=1) / np.sqrt(SEEDS) / mean
    assert (mean > 0).all() and (spread < 0.15).all()
    for k in range(len(SIZES) - 1):
        off = np.log(mean[k] / mean[k + 1]) - np.log(SIZES[k + 1] / SIZES[k])
        assert abs(off) < 4 * np.hypot(spread[k], spread[k + 1]), (k, off, spread)
