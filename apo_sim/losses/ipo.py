"""Identity preference optimisation."""

from jaxtyping import Array, Float

from apo_sim.checks import check_positive, check_single
from apo_sim.losses.base import Extra
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class IPO:
    """The squared loss (h_winner - h_loser - 1/tau)^2.

    Source: the paper's scaling of Azar et al. (2024), who write h as a plain log-ratio and
    1/(2 tau). Its population minimiser is (2/tau) P(y > proximal centre): SPPO's reward, scaled
    (N12, ours).

    Args:
        tau: inverse of the margin asked for, above 0.

    Raises:
        InvalidArgument: tau not positive and finite, or an array.

    Example:
        >>> import jax.numpy as jnp
        >>> float(IPO(tau=0.5)(jnp.array(1.5), jnp.array(0.0), Extra()))
        0.25
    """

    tau: float | Float[Array, ""] = 1.0

    def __post_init__(self):
        check_single("tau", self.tau, "pass one number")
        check_positive("tau", self.tau)

    def __call__(
        self, h_winner: Float[Array, "..."], h_loser: Float[Array, "..."], extra: Extra
    ) -> Float[Array, "..."]:
        return (h_winner - h_loser - 1.0 / self.tau) ** 2

    def population_rewards(
        self, problem: Problem, log_policy: LogPolicy
    ) -> Float[Array, "contexts arms"]:
        """(2/tau) P(y > policy), the least-squares solution up to a constant."""
        return (2.0 / self.tau) * problem.win_rate(log_policy)
