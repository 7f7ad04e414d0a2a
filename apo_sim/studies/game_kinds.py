"""Random games of three arms from random references, by how their arms are ordered.

One function draws them all, told apart by a number: a sweep then compiles one program for them.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from apo_sim import families
from apo_sim.errors import InvalidArgument
from apo_sim.one_of import OneOf
from apo_sim.problems import Game, LogPolicy

KINDS = ("Assumption B.1", "best arm only", "transitive", "any game", "cycle")


@functools.partial(jax.jit, static_argnames=("contexts", "arms"))
def three_arms(key: Any, contexts: int, arms: int, kind: Any = 0) -> Game:
    """A random game of the `kind`-th of `KINDS`, from a reference uniform on the simplex.

    Args:
        key: a `jax.random.key`.
        contexts: 1.
        arms: 3.
        kind: place in `KINDS`; may be traced.

    Raises:
        InvalidArgument: other sizes.

    Example:
        >>> game = three_arms(jax.random.key(0), 1, 3, KINDS.index("best arm only"))
        >>> bool(game.dominance[0] < 0), int((game.preference[0] > 0.5).sum(axis=1).max())
        (True, 2)
    """
    if (contexts, arms) != (1, 3):
        raise InvalidArgument(
            "arms", arms, "does not fit rock-paper-scissors", "pass arms=3, contexts=1"
        )
    of_reference, of_game = jax.random.split(key)
    # Exponential variables, normalised: uniform on the simplex, without a sampler of gammas.
    log_ref = jax.nn.log_softmax(jnp.log(jax.random.exponential(of_reference, (1, 3))))
    draws = (_dominant, _best_arm_only, _transitive, _any, _cycle)
    return OneOf(jnp.asarray(kind, int), draws)(of_game, log_ref)


def _dominant(key: jax.Array, log_ref: LogPolicy) -> Game:
    return families.dominant_game(key, 1, 3, log_ref=log_ref)


def _best_arm_only(key: jax.Array, log_ref: LogPolicy) -> Game:
    """Arm 0 beats both others by less than arm 1 beats arm 2, so Assumption B.1 fails."""
    first, second = jnp.sort(jax.random.uniform(key, (2,), log_ref.dtype, 0.02, 0.4))
    return _game(first, first, second + 0.05, log_ref)


def _transitive(key: jax.Array, log_ref: LogPolicy) -> Game:
    return families.transitive_game(key, 1, 3, log_ref=log_ref)


def _any(key: jax.Array, log_ref: LogPolicy) -> Game:
    return families.random_game(key, 1, 3, log_ref=log_ref)


def _cycle(key: jax.Array, log_ref: LogPolicy) -> Game:
    """Rock-paper-scissors, the winner's lead random."""
    lead = jax.random.uniform(key, (), log_ref.dtype, 0.05, 0.45)
    return _game(lead, -lead, lead, log_ref)


def _game(first: Any, second: Any, third: Any, log_ref: LogPolicy) -> Game:
    """Leads of arm 0 over arms 1 and 2, and of arm 1 over arm 2."""
    zero = jnp.zeros_like(first)
    upper = jnp.stack([zero, first, second, zero, zero, third, zero, zero, zero]).reshape(3, 3)
    return Game(0.5 + (upper - upper.T)[None], log_ref)
