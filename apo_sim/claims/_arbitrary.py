"""A loss that learns any rewards whatever: closed forms must hold for them, too."""

from typing import Any

import jax.numpy as jnp

from apo_sim.pytree import pytree_dataclass, static


@pytree_dataclass
class ArbitraryRewards:
    """A loss whose minimiser is any function of the policy: here a random, bounded one.

    Args:
        mixing: random numbers, shape (arms, arms).
        of_probabilities: whether they depend on these, which an arm that vanished has as well, or
            on their logarithms.

    Example:
        >>> import apo_sim as apo
        >>> bandit = apo.Bandit(jnp.zeros((1, 2)), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> loss = ArbitraryRewards(jnp.array([[1.0, 0.0], [0.0, 0.0]]), of_probabilities=True)
        >>> loss.population_rewards(bandit, bandit.log_ref).round(3).tolist()
        [[0.598, 0.0]]
    """

    mixing: Any
    of_probabilities: bool = static(default=False)

    def __call__(self, h_winner: Any, h_loser: Any, extra: Any) -> Any:
        return h_loser - h_winner

    def population_rewards(self, problem: Any, log_policy: Any) -> Any:
        seen = 5.0 * jnp.exp(log_policy) if self.of_probabilities else log_policy
        return jnp.sin(seen @ self.mixing + problem.reward)
