"""The negative entropy: the geometry of KL-regularised preference optimisation."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.geometry._excess import excess
from apo_sim.geometry._in_order import log_sum_exp
from apo_sim.geometry.bregman import Bregman, Dual, LogPolicy, PerContext, Weights, of_arms
from apo_sim.pytree import pytree_dataclass


class LogCoordinates(Bregman):
    """Coordinates that are log-probabilities, up to a constant in y."""

    def dual(self, log_policy: LogPolicy) -> Dual:
        return log_policy

    def normalise(self, dual: Dual) -> tuple[Dual, Weights, PerContext]:
        """log_softmax, and softmax as weights and their total: one exponential, no division."""
        shifted = dual - jnp.max(dual, axis=-1, keepdims=True)
        weights = jnp.exp(shifted)
        # A product with ones, because a reduction along an array's last axis is not vectorised.
        total = weights @ jnp.ones(weights.shape[-1], weights.dtype)
        return shifted - jnp.log(total)[..., None], weights, total

    def log_policy(self, dual: Dual) -> LogPolicy:
        return dual

    def policy(self, dual: Dual) -> LogPolicy:
        return jax.nn.log_softmax(dual, axis=-1)

    def normaliser(self, dual: Dual, mass: float | Float[Array, "..."] = 1.0) -> PerContext:
        return jax.nn.logsumexp(dual, axis=-1) - jnp.log(mass)


@pytree_dataclass
class KL(LogCoordinates):
    """phi(p) = p log p: the step of DPO, IPO and SPPO, pi proportional to pi_t exp(r / beta).

    Source: equation (3.2) of the paper. It is the only geometry here that is both of Bregman's
    kind and an f-divergence: its score is log(policy / centre).

    Example:
        >>> import jax.numpy as jnp
        >>> even = jnp.log(jnp.array([0.5, 0.5]))
        >>> jnp.exp(KL().prox(even, jnp.array([0.0, jnp.log(3.0)]), beta=1.0)).round(3).tolist()
        [0.25, 0.75]
    """

    of_log_ratio: ClassVar[bool] = True

    def score(self, log_policy: LogPolicy, log_centre: LogPolicy) -> Dual:
        return log_policy - log_centre

    def shift(self, dual: Dual, reward: Dual, beta: Any, where: Any = None, axis: int = -1) -> Any:
        stepped = self.step(dual, reward, of_arms(beta, axis))
        if where is None:
            return beta * log_sum_exp(stepped, axis)
        before, after = (log_sum_exp(jnp.where(where, z, -jnp.inf), axis) for z in (dual, stepped))
        return beta * (after - before)

    def score_of_ratio(self, log_ratio: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The score of one arm from its log(policy / centre), which is the score itself."""
        return log_ratio

    def _divergence(self, log_policy: LogPolicy, log_centre: LogPolicy) -> Dual:
        return excess(log_centre, log_policy, log_policy - log_centre, 1.0)
