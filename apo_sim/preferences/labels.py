"""Single responses, each with a label."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from apo_sim.checks import Real, as_key, checked
from apo_sim.errors import InvalidArgument
from apo_sim.losses import PointwiseLoss
from apo_sim.preferences.counts import check_some
from apo_sim.preferences.drawing import counts_by_context
from apo_sim.preferences.ranked_pairs import (
    WEIGHTS,
    Cells,
    Number,
    as_cells,
    as_samples,
    check_contexts,
)
from apo_sim.pytree import pytree_dataclass

_WEIGHTS = Real(
    "must be finite and at least 0",
    lambda weights: weights >= 0,
    "pass counts or probabilities, shape (contexts, arms)",
    shape=(None, None),
)


@pytree_dataclass
class Labels:
    """Responses that were found desirable or undesirable, each by itself.

    Args:
        desirable: how much each response was, shape (contexts, arms): counts, or probabilities.
        undesirable: the same for the other label; both together not all zero.

    Raises:
        InvalidArgument: weights that are none, of different shapes, or all zero.

    Source: the data of KTO (Ethayarajh et al. 2024).

    Example:
        >>> from apo_sim.losses import KTO
        >>> data = Labels(jnp.array([[3.0, 1.0]]), jnp.array([[0.0, 2.0]]))
        >>> float(data.mean(KTO(), jnp.zeros((1, 2))))
        0.5
    """

    desirable: Float[Array, "contexts arms"]
    undesirable: Float[Array, "contexts arms"]

    def __post_init__(self) -> None:
        desirable = _WEIGHTS("desirable", self.desirable)
        undesirable = _WEIGHTS("undesirable", self.undesirable)
        if desirable.shape != undesirable.shape:
            raise InvalidArgument(
                "undesirable",
                self.undesirable,
                f"has another shape than the desirable weights, {desirable.shape}",
                "pass two arrays of the same shape",
            )
        check_some("desirable", desirable, undesirable)
        object.__setattr__(self, "desirable", desirable)
        object.__setattr__(self, "undesirable", undesirable)

    @staticmethod
    @checked(cells=as_cells, context_probs=WEIGHTS)
    def from_cells(cells: Cells, context_probs: Float[Array, " _"]) -> "Labels":
        """The law of the labels of pairs: the winner is desirable, the loser is not.

        Args:
            cells: law of (winner, loser) in each context, shape (contexts, arms, arms).
            context_probs: law of contexts, shape (contexts,).

        Returns:
            Probabilities of (context, label, response): half of each pair's for either label.

        Example:
            >>> law = Labels.from_cells(jnp.array([[[0.25, 0.5], [0.0, 0.25]]]), jnp.ones(1))
            >>> law.desirable.tolist(), law.undesirable.tolist()
            ([[0.375, 0.125]], [[0.125, 0.375]])
        """
        check_contexts(cells, context_probs)
        desirable, undesirable = _law(cells)
        share = context_probs[:, None]
        return Labels(share * desirable, share * undesirable)

    @staticmethod
    @checked(key=as_key, cells=as_cells, context_probs=WEIGHTS, samples=as_samples)
    def draw(
        key: Key[Array, ""],
        cells: Cells,
        context_probs: Float[Array, " _"],
        samples: Number,
    ) -> "Labels":
        """Draw labelled responses, each from a pair of its own.

        Args:
            key: a `jax.random.key`.
            cells: law of (winner, loser) in each context, shape (contexts, arms, arms).
            context_probs: law of contexts, shape (contexts,).
            samples: number of responses N, up to 1e12; may be traced.

        Returns:
            How often each response got each label, N in all.

        Example:
            >>> import jax
            >>> cells = jnp.array([[[0.0, 1.0], [0.0, 0.0]]])
            >>> drawn = Labels.draw(jax.random.key(0), cells, jnp.ones(1), 100)
            >>> float(drawn.desirable[0, 0] + drawn.undesirable[0, 1])
            100.0
        """
        check_contexts(cells, context_probs)
        law = jnp.concatenate(_law(cells), axis=1)
        return Labels(*jnp.split(counts_by_context(key, law, context_probs, samples), 2, axis=1))

    def mismatched_mean(self, scores: Float[Array, "contexts arms"]) -> Float[Array, ""]:
        """Mean score of a response to some context met in another, both drawn from these data.

        Contexts and responses are independent: a response may meet its own context by chance.
        """
        weight = self.desirable + self.undesirable
        weight = weight / jnp.sum(weight)
        return jnp.sum(weight, axis=1) @ scores @ jnp.sum(weight, axis=0)

    def mean(self, loss: PointwiseLoss, scores: Float[Array, "contexts arms"]) -> Any:
        """Mean over the labelled responses.

        Args:
            loss: of one labelled response.
            scores: h = beta log(policy / proximal centre), shape (contexts, arms).
        """
        anchor = loss.anchor(self.mismatched_mean(scores))
        total = jnp.sum(self.desirable) + jnp.sum(self.undesirable)
        liked = self.desirable / total * loss(scores, jnp.ones_like(scores), anchor)
        disliked = self.undesirable / total * loss(scores, jnp.zeros_like(scores), anchor)
        return jnp.sum(liked + disliked)


def _law(cells: Cells) -> tuple[Array, Array]:
    """Of desirable and of undesirable responses, in each context."""
    return 0.5 * jnp.sum(cells, axis=2), 0.5 * jnp.sum(cells, axis=1)
