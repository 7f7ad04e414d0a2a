"""What a loss of log-probabilities is made of, with a loss of the library at its heart."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.conformance.inputs import Inputs
from apo_sim.geometry.links import Link
from apo_sim.losses import Extra, Loss, PointwiseLoss, is_pointwise

ANCHORS = ("clamped", "free", "reversed", "none")


@dataclass(frozen=True)
class Recipe:
    """A loss of the library on h = beta f(score), and what may be done to it.

    Attributes:
        loss: of the library, of pairs or pointwise.
        beta: weight of the scores, a number or one for each row.
        scale: factor of the whole loss.
        margin: taken from the winner's h.
        reference: whether a score is a log-ratio, or log pi alone.
        mean: whether it is a mean over the tokens, or their sum.
        swapped: whether the winner is taken for the loser.
        link: f of f-DPO; None: the log-ratio itself.
        bonus: weight of log pi of the reference policy's response (XPO's alpha).
        likelihood: weight of -log pi of the winner.
        anchor: KTO's, one of `ANCHORS`.
        log_normalizer: SPPO's beta log Z; None: it is an input.

    Example:
        >>> from apo_sim.conformance.inputs import random_inputs
        >>> from apo_sim.losses import DPO
        >>> swapped = Recipe(DPO(), beta=0.1, swapped=True)
        >>> swapped(random_inputs(4, seed=0)).shape
        (4,)
    """

    loss: Loss | PointwiseLoss
    beta: Any
    scale: float = 1.0
    margin: float = 0.0
    reference: bool = True
    mean: bool = False
    swapped: bool = False
    link: Link | None = None
    bonus: float = 0.0
    likelihood: float = 0.0
    anchor: str = "clamped"
    log_normalizer: float | None = 0.0

    def __call__(self, inputs: Inputs) -> Any:
        """The value of each pair."""
        fields = dataclasses.fields(inputs)
        inputs = Inputs(**{f.name: jnp.asarray(getattr(inputs, f.name)) for f in fields})
        won, lost = self._scores(inputs)
        if self.swapped:
            won, lost = lost, won
        if is_pointwise(self.loss):
            apart = self.beta * (inputs.policy_kl - inputs.ref_kl)
            values = jnp.vectorize(self._of_responses)(won, lost, apart)
        else:
            fixed = self.log_normalizer
            extra = Extra(inputs.log_normalizer if fixed is None else fixed)
            values = self.loss(won - self.margin, lost, extra)  # type: ignore[arg-type]
        from_ref = jnp.where(inputs.chosen_from_ref, inputs.policy_chosen, inputs.policy_rejected)
        likelihood = self.likelihood * inputs.policy_chosen
        return self.scale * values + self.bonus * from_ref - likelihood

    def _scores(self, inputs: Inputs) -> tuple[Any, Any]:
        won, lost = inputs.policy_chosen, inputs.policy_rejected
        if self.reference:
            won, lost = won - inputs.ref_chosen, lost - inputs.ref_rejected
        if self.mean:
            won, lost = won / inputs.chosen_lengths, lost / inputs.rejected_lengths
        if self.link is not None:
            won, lost = self.link.score_of_ratio(won), self.link.score_of_ratio(lost)
        return self.beta * won, self.beta * lost

    def _of_responses(self, won: Any, lost: Any, apart: Any) -> Any:
        loss: Any = self.loss
        if self.anchor == "none":
            anchor = jnp.zeros_like(apart)
        elif self.anchor == "free":
            anchor = jax.lax.stop_gradient(apart)
        else:
            anchor = loss.anchor(apart if self.anchor == "clamped" else -apart)
        liked, disliked = jnp.ones_like(won), jnp.zeros_like(lost)
        return loss(won, liked, anchor) + loss(lost, disliked, anchor)


def on_log_probabilities(
    loss: Loss | PointwiseLoss, beta: float = 1.0, **changes: Any
) -> Callable[..., Any]:
    """A loss of the library as a function of log-probabilities, with TRL's names.

    Args:
        loss: of the library, of pairs or pointwise.
        beta: weight of the log-ratios.
        **changes: what else `Recipe` takes.

    Example:
        >>> from apo_sim.losses import DPO
        >>> loss = on_log_probabilities(DPO(), beta=0.1)
        >>> w, l = np.array([-3.0]), np.array([-4.0])
        >>> value = loss(
        ...     policy_chosen_logps=w,
        ...     policy_rejected_logps=l,
        ...     ref_chosen_logps=w,
        ...     ref_rejected_logps=l,
        ... )
        >>> round(float(value[0]), 4)
        0.6931
    """
    recipe = Recipe(loss, beta, **changes)

    def function(
        policy_chosen_logps: Any,
        policy_rejected_logps: Any,
        ref_chosen_logps: Any,
        ref_rejected_logps: Any,
        chosen_lengths: Any = 1,
        rejected_lengths: Any = 1,
        policy_kl_logps: Any = 0.0,
        ref_kl_logps: Any = 0.0,
        log_normalizer: Any = 0.0,
        chosen_from_ref: Any = False,
    ) -> Any:
        given = (
            *(policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps),
            *(chosen_lengths, rejected_lengths, policy_kl_logps, ref_kl_logps),
            *(log_normalizer, chosen_from_ref),
        )
        return recipe(Inputs(*(jnp.asarray(array) for array in given)))  # type: ignore[arg-type]

    return function


def differentiate(recipe: Recipe, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Values, shape (rows,), and slopes by log pi of winner and loser, shape (rows, 2).

    Example:
        >>> from apo_sim.conformance.inputs import random_inputs
        >>> from apo_sim.losses import DPO
        >>> values, slopes = differentiate(Recipe(DPO(), 1.0), random_inputs(4, seed=0))
        >>> bool(np.allclose(slopes.sum(axis=1), 0.0))
        True
    """
    with jax.enable_x64(True):
        fields = {f.name: jnp.asarray(getattr(inputs, f.name)) for f in dataclasses.fields(inputs)}

        def total(chosen, rejected):
            changed = {"policy_chosen": chosen, "policy_rejected": rejected}
            values = recipe(Inputs(**{**fields, **changed}))
            return jnp.sum(values), values

        grad = jax.grad(total, argnums=(0, 1), has_aux=True)
        slopes, values = grad(fields["policy_chosen"], fields["policy_rejected"])
        return np.asarray(values), np.stack([np.asarray(slope) for slope in slopes], axis=1)
