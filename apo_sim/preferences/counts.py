"""Pairs, summed up."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from apo_sim.checks import concrete
from apo_sim.errors import InvalidArgument
from apo_sim.losses import Extra, Loss
from apo_sim.preferences.ranked_pairs import as_cells
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class Counts:
    """How often each arm beat each other one.

    Args:
        wins: wins[x, i, j], shape (contexts, arms, arms); not all zero. They need not be whole:
            a tie may be half a win.

    Raises:
        InvalidArgument: counts that are none.

    Example:
        >>> from apo_sim import DPO
        >>> data = Counts(jnp.array([[[0.0, 3.0], [1.0, 0.0]]]))
        >>> float(data.mean(DPO(), jnp.zeros((1, 2)), Extra()))
        0.693147
    """

    wins: Float[Array, "contexts arms arms"]

    def __post_init__(self) -> None:
        wins = as_cells("wins", self.wins)
        check_some("wins", wins)
        object.__setattr__(self, "wins", wins)

    def mean(
        self, loss: Loss, scores: Float[Array, "contexts arms"], extra: Extra
    ) -> Float[Array, ""]:
        """Mean over the pairs.

        Args:
            loss: of two scores.
            scores: h = beta log(policy / proximal centre), shape (contexts, arms).
            extra: what the loss may need, its `log_normalizer` of shape (contexts, 1) or a number.
        """
        of_pairs = Extra(jnp.asarray(extra.log_normalizer)[..., None])
        values = loss(scores[:, :, None], scores[:, None, :], of_pairs)
        return jnp.sum(self.wins / jnp.sum(self.wins) * values)


def check_some(name: str, *weights: Array) -> None:
    """Refuse weights that are all zero: they have no mean."""
    known = [concrete(array) for array in weights]
    if all(values is not None and not np.any(values) for values in known):
        raise InvalidArgument(
            name, weights[0], "is zero everywhere", "pass counts with at least one pair"
        )
