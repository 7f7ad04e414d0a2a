"""Random instances in NumPy, and the package's problems made of them."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from hypothesis import settings

import apo_sim as apo

from .reference import normalise

FEW = settings(max_examples=20, deadline=None)


def random_bandit(rng, arms, spread=1.5):
    """Rewards in [-1, 1] and a reference, each of shape (K,)."""
    return rng.uniform(-1, 1, arms), normalise(spread * rng.normal(size=arms))


def random_preference(rng, arms):
    """Independent win probabilities, shape (K, K)."""
    upper = np.triu(rng.uniform(size=(arms, arms)), 1)
    return upper + np.tril(1 - upper.T, -1) + np.eye(arms) / 2


def bandit(reward, log_ref):
    return apo.Bandit(jnp.atleast_2d(jnp.asarray(reward)), jnp.atleast_2d(jnp.asarray(log_ref)))


def game(preference, log_ref):
    return apo.Game(jnp.asarray(preference)[None], jnp.asarray(log_ref)[None])


def saved_run(*arguments: Any, save: Any = "path", **options: Any) -> Any:
    """A run of the package that keeps its path."""
    return apo.run(*arguments, save=save, **options)
