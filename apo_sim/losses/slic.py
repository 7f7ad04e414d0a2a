"""Sequence likelihood calibration: the hinge loss."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.checks import check_positive, check_single
from apo_sim.losses.loss import Extra
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class SLiC:
    """The hinge loss max(0, margin - (h_winner - h_loser)).

    The loss learns only which of two arms wins more often: their scores differ by exactly the
    margin, or by any number up to it if both win equally often. It has no curvature and in general
    many minimisers, the corners of a linear program, so it can be fitted by gradient but not solved
    for on a table.

    Args:
        margin: lead of the winner beyond which a pair costs nothing, above 0.

    Raises:
        InvalidArgument: a margin that is not positive and finite, or is an array.

    Source: Zhao et al. (2023), "SLiC-HF", equation (2) without its likelihood term, on log-ratios
    instead of log-likelihoods.

    Example:
        >>> loss = SLiC(margin=1.0)
        >>> loss(jnp.array([0.0, 0.4, 3.0]), jnp.zeros(3), Extra()).round(3).tolist()
        [1.0, 0.6, 0.0]
    """

    margin: float | Float[Array, ""] = 1.0

    def __post_init__(self) -> None:
        check_single("margin", self.margin, "pass one number above 0")
        check_positive("margin", self.margin)

    def __call__(
        self, h_winner: Float[Array, "..."], h_loser: Float[Array, "..."], extra: Extra
    ) -> Float[Array, "..."]:
        return jnp.maximum(0.0, self.margin - (h_winner - h_loser))
