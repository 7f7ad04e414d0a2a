"""Pairs, one by one."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from apo_sim.checks import concrete, may_be_numbers
from apo_sim.errors import InvalidArgument
from apo_sim.losses import Extra, Loss
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class Pairs:
    """A list of N pairs.

    Args:
        context: of each pair, shape (N,).
        winner: arm preferred, shape (N,).
        loser: the other one, shape (N,).

    Raises:
        InvalidArgument: something that is not a list of indices, lists of different lengths.

    Example:
        >>> from apo_sim import DPO
        >>> data = Pairs([0, 0], [1, 1], [0, 1])
        >>> float(data.mean(DPO(), jnp.zeros((1, 2)), Extra()))
        0.693147
    """

    context: Int[Array, " pairs"]
    winner: Int[Array, " pairs"]
    loser: Int[Array, " pairs"]

    def __post_init__(self) -> None:
        context = _as_places("context", self.context)
        for name in ("context", "winner", "loser"):
            places = _as_places(name, getattr(self, name))
            if places.shape != context.shape:
                raise InvalidArgument(
                    name, places, f"is not for {context.size} pairs", "pass lists of one length"
                )
            object.__setattr__(self, name, places)

    def batch(self, number: Int[Array, ""], size: int) -> "Pairs":
        """The `number`-th so many pairs, beginning again after the last one."""
        rows = (number * size + jnp.arange(size)) % self.winner.shape[0]
        return Pairs(self.context[rows], self.winner[rows], self.loser[rows])

    def mean(
        self, loss: Loss, scores: Float[Array, "contexts arms"], extra: Extra
    ) -> Float[Array, ""]:
        """Mean over the pairs.

        Args:
            loss: of two scores.
            scores: h = beta log(policy / proximal centre), shape (contexts, arms).
            extra: what the loss may need, its `log_normalizer` of shape (contexts, 1) or a number.
        """
        log_normalizer = jnp.broadcast_to(extra.log_normalizer, (scores.shape[0], 1))
        of_pairs = Extra(log_normalizer[self.context, 0])
        winner, loser = scores[self.context, self.winner], scores[self.context, self.loser]
        return jnp.mean(loss(winner, loser, of_pairs))


def _as_places(name: str, value: Any) -> Int[Array, " pairs"]:
    remedy = "pass integers from 0 on, one for each pair"
    try:
        array = jnp.asarray(value) if may_be_numbers(value) else None
    except (TypeError, ValueError, RuntimeError, OverflowError):
        array = None
    if array is None or not jnp.issubdtype(array.dtype, jnp.integer):
        raise InvalidArgument(name, value, "is not a list of indices", remedy)
    if array.ndim != 1 or array.size == 0:
        raise InvalidArgument(name, value, f"has shape {array.shape}", remedy)
    values = concrete(array)
    if values is not None and (values < 0).any():
        raise InvalidArgument(name, value, "contains negative indices", remedy)
    return array
