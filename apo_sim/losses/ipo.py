"""Identity preference optimisation."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.checks import check_positive, check_single
from apo_sim.losses.loss import Extra
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class IPO:
    """The squared loss (h_winner - h_loser - 1/tau)^2.

    Source: the paper's scaling of Azar et al. (2024), who write h as a plain log-ratio and
    1/(2 tau). Its population minimiser is (2/tau) P(y > proximal centre): SPPO's reward, scaled
    (N12, ours).

    Args:
        tau: inverse of the target margin, above 0.

    Raises:
        InvalidArgument: tau is not positive and finite, or is an array.

    Example:
        >>> import jax.numpy as jnp
        >>> float(IPO(tau=0.5)(jnp.array(1.5), jnp.array(0.0), Extra()))
        0.25
    """

    tau: float | Float[Array, ""] = 1.0

    def __post_init__(self) -> None:
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

    def population_loss(
        self,
        scores: Float[Array, "contexts arms"],
        policy: Float[Array, "contexts arms"],
        win_rate: Float[Array, "contexts arms"],
        extra: Extra,
    ) -> Float[Array, " contexts"]:
        """Mean over all pairs, from mean and variance of the scores and the pull of the wins."""
        del extra
        margin = 1.0 / self.tau
        mean = jnp.sum(policy * scores, axis=1, keepdims=True)
        variance = jnp.sum(policy * (scores - mean) ** 2, axis=1)
        pull = jnp.sum(policy * (2.0 * win_rate - 1.0) * scores, axis=1)
        return 2.0 * variance - 4.0 * margin * pull + margin**2
