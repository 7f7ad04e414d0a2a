"""The problems that methods are compared on, told apart by a number: one program serves all."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim import families
from apo_sim.one_of import OneOf
from apo_sim.problems import Bandit, Game
from apo_sim.registry.named_families import linear, uniform
from apo_sim.studies.game_kinds import KINDS, three_arms

ARMS = 10
BANDIT_KINDS = ("uniform", "rare best arm", "linear")
GAME_KINDS = ("dominant", "cyclic")
# Mass of the best arm under a reference that hardly gives it.
RARE = 0.01
DIMENSION = 3

Features = Float[Array, "1 arms features"]


def bandit(key: Any, kind: Any) -> tuple[Bandit, Features]:
    """A random bandit of the `kind`-th of `BANDIT_KINDS`, and features that it is linear in.

    Where rewards are not linear in few features, each arm has one of its own.

    Example:
        >>> problem, features = bandit(jax.random.key(0), 1)
        >>> round(float(jnp.exp(problem.log_best_ref[0])), 6), features.shape
        (0.01, (1, 10, 10))
    """
    return OneOf(jnp.asarray(kind, int), (_uniform, _rare, _linear))(key)


def game(key: Any, kind: Any) -> tuple[Game, Features]:
    """A random game of three arms, of the `kind`-th of `GAME_KINDS`.

    Example:
        >>> bool(game(jax.random.key(0), 0)[0].dominance[0] > 0)
        True
    """
    places = jnp.array([KINDS.index("Assumption B.1"), KINDS.index("cycle")])
    return three_arms(key, 1, 3, places[kind]), jnp.eye(3)[None]


def _uniform(key: Any) -> tuple[Bandit, Features]:
    return uniform(key, 1, ARMS), jnp.eye(ARMS)[None]


def _rare(key: Any) -> tuple[Bandit, Features]:
    of_rewards, of_reference = jax.random.split(key)
    problem = uniform(of_rewards, 1, ARMS)
    log_ref = families.best_arm_reference(of_reference, problem.best_arm, ARMS, p_star=RARE)
    return Bandit(problem.reward, log_ref), jnp.eye(ARMS)[None]


def _linear(key: Any) -> tuple[Bandit, Features]:
    features = families.random_features(jax.random.split(key)[0], 1, ARMS, DIMENSION)
    padded = jnp.pad(features, ((0, 0), (0, 0), (0, ARMS - DIMENSION)))
    return linear(key, 1, ARMS), padded
