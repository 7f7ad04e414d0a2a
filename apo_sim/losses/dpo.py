"""Direct preference optimisation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.losses.base import Extra
from apo_sim.problems import Bandit, LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class DPO:
    """The logistic loss -log sigmoid(h_winner - h_loser).

    Source: the paper's Example 3.1 (Rafailov et al. 2023). Under Bradley-Terry preferences its
    population minimiser is the latent reward, whatever policy collected the data; on other
    games it has no closed form and is solved for.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(DPO()(jnp.array(2.0), jnp.array(2.0), Extra())), 4)
        0.6931
    """

    def __call__(
        self, h_winner: Float[Array, "..."], h_loser: Float[Array, "..."], extra: Extra
    ) -> Float[Array, "..."]:
        return jax.nn.softplus(h_loser - h_winner)

    def derivatives(self, difference: Array) -> tuple[Array, Array, Array]:
        """Value, slope and curvature from a single exponential."""
        decay = jnp.exp(-jnp.abs(difference))
        value = jnp.log1p(decay) + jnp.maximum(-difference, 0.0)
        tail = 1.0 / (1.0 + decay)
        slope = -jnp.where(difference > 0, decay, 1.0) * tail
        return value, slope, decay * tail * tail

    def population_rewards(
        self, problem: Problem, log_policy: LogPolicy
    ) -> Float[Array, "contexts arms"] | None:
        """The latent reward of a bandit; None for a game."""
        del log_policy
        return problem.reward if isinstance(problem, Bandit) else None
