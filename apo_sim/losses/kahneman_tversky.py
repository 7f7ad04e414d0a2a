"""Kahneman-Tversky optimisation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.checks import check_positive, check_single
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class KTO:
    """A loss on one labelled response: 1 - sigmoid of its distance to the correct side of z.

    With h = beta log(policy / proximal centre), a desirable response costs
    lambda_D (1 - sigmoid(h - z)) and an undesirable one lambda_U (1 - sigmoid(z - h)). The anchor
    z is max(0, mean of h over mismatched contexts and responses), an estimate of beta KL, and no
    gradient goes through it. In population only win rates matter: with equal weights the loss is
    1/2 - sum_y mu(y) (2 P(y > mu) - 1) sigmoid(h(y) - z), up to the labels' own constant.

    Args:
        desirable: lambda_D, above 0.
        undesirable: lambda_U, above 0.

    Raises:
        InvalidArgument: a weight that is not positive and finite, or an array.

    Source: Ethayarajh et al. (2024), equations (7) and (8).

    Example:
        >>> float(KTO(undesirable=2.0)(jnp.array(0.0), jnp.array(0.0), jnp.array(0.0)))
        1.0
    """

    desirable: float | Float[Array, ""] = 1.0
    undesirable: float | Float[Array, ""] = 1.0

    def __post_init__(self) -> None:
        for name in ("desirable", "undesirable"):
            check_single(name, getattr(self, name), "pass one number above 0")
            check_positive(name, getattr(self, name))

    def __call__(
        self, h: Float[Array, "..."], label: Float[Array, "..."], anchor: Float[Array, ""]
    ) -> Float[Array, "..."]:
        liked = self.desirable * jax.nn.sigmoid(anchor - h)
        disliked = self.undesirable * jax.nn.sigmoid(h - anchor)
        return label * liked + (1.0 - label) * disliked

    def anchor(self, mean_mismatched_score: Float[Array, ""]) -> Float[Array, ""]:
        """max(0, mean), without a gradient."""
        return jax.lax.stop_gradient(jnp.maximum(mean_mismatched_score, 0.0))
