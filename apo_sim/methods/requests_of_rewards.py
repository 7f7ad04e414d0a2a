"""The data of a method that sees rewards: single responses and what each is worth."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from apo_sim.preferences.drawing import counts_by_context
from apo_sim.preferences.scored import Scored
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class ScoredResponses:
    """Responses of the behaviour policy, each with its reward r*, of a bandit.

    Example:
        >>> import jax
        >>> from apo_sim import families
        >>> bandit = families.uniform_bandit(jax.random.key(0), 1, 3)
        >>> float(ScoredResponses().draw(jax.random.key(1), bandit, bandit.log_ref, 9).drawn.sum())
        9.0
    """

    @property
    def accumulated(self) -> bool:
        return False

    def fixes_shape(self, problem: Problem, samples: Any) -> bool:
        return False

    def exact(self, problem: Any, behaviour: LogPolicy) -> Scored:
        drawn = jnp.exp(behaviour) * problem.context_probs[:, None]
        # A probability may be too small for a float; the reward is known all the same.
        return Scored(problem.reward, drawn, jnp.ones(drawn.shape, bool))

    def draw(self, key: Key[Array, ""], problem: Any, behaviour: LogPolicy, samples: Any) -> Scored:
        law = jnp.exp(behaviour)
        return Scored(problem.reward, counts_by_context(key, law, problem.context_probs, samples))
