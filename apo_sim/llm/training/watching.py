"""What a step notes on the way: how the pairs stand, and what becomes of its update."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from apo_sim.llm.data.batches import Batch


def pair_figures(
    log_probs: Float[Array, "pairs sides"], batch: Batch
) -> dict[str, Float[Array, ""]]:
    """Means over the pairs of a batch, chosen and rejected responses apart.

    Args:
        log_probs: log pi of winner and loser, and of whatever follows them, in nats.
        batch: the pairs.

    Returns:
        `chosen_log_prob` and `rejected_log_prob`, in nats a response; `chosen_reward` and
        `rejected_reward`, beta times their distance from the proximal centre's; `pair_mass`, by
        how much the logarithm of both probabilities together has grown since, in nats: below zero,
        mass has left both; `length`, tokens a response.

    Example:
        >>> import numpy as np
        >>> from apo_sim.llm.data.batches import batches
        >>> from apo_sim.llm.data.preference_pairs import Preference
        >>> pairs = [Preference((1,), (2, 9), (3, 4, 9))]
        >>> reference = np.log([[0.2, 0.2]])
        >>> (batch,) = batches(pairs, 2, beta=0.5, padding=0, reference=reference)
        >>> found = pair_figures(jnp.log(jnp.array([[0.1, 0.1], [1.0, 1.0]])), batch)
        >>> float(found["pair_mass"]), float(found["chosen_reward"]), float(found["length"])
        (-0.693, -0.347, 2.5)
    """

    def mean(values: Float[Array, " pairs"]) -> Float[Array, ""]:
        return jnp.mean(batch.weight * values)

    log_probs, reference = log_probs[:, :2], batch.reference[:, :2]
    rewards = batch.beta[:, None] * (log_probs - reference)
    together = [jnp.logaddexp(both[:, 0], both[:, 1]) for both in (log_probs, reference)]
    given = jnp.sum(jnp.asarray(batch.mask)[:, :2, -batch.responses :], axis=-1)
    return {
        "chosen_log_prob": mean(log_probs[:, 0]),
        "rejected_log_prob": mean(log_probs[:, 1]),
        "chosen_reward": mean(rewards[:, 0]),
        "rejected_reward": mean(rewards[:, 1]),
        "pair_mass": mean(together[0] - together[1]),
        "length": mean(0.5 * jnp.sum(given, axis=-1)),
    }


class Watched(NamedTuple):
    """State of `watched`: figures of the last update, and the state of what makes it."""

    gradient: Array
    lost_updates: Array
    inner: Any


# Fields of the state that a log wants.
FIGURES = ("gradient", "lost_updates")


def watched(made: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same updates, with two figures of them in the optimiser's state.

    `gradient` is the norm of the gradient. `lost_updates` is the share of those parameters with an
    update whose value it leaves as it was, since their precision has no number that near.

    Example:
        >>> rule = watched(optax.sgd(1e-3))
        >>> params = jnp.array([1.0, 1e-2, 0.0], "bfloat16")
        >>> _, state = rule.update(jnp.ones(3, "bfloat16"), rule.init(params), params)
        >>> round(float(state.lost_updates), 3), round(float(state.gradient), 1)
        (0.333, 1.7)
    """

    def init(params: Any) -> Watched:
        # Two arrays, not one twice: a step gives each buffer away once.
        return Watched(jnp.zeros(()), jnp.zeros(()), made.init(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Watched]:
        norm = optax.global_norm(updates)
        updates, inner = made.update(updates, state.inner, params)
        return updates, Watched(norm.astype(jnp.zeros(()).dtype), _lost(params, updates), inner)

    return optax.GradientTransformation(init, update)


def _lost(params: Any, updates: Any) -> Float[Array, ""]:
    """Share of the updates that are not zero and change nothing."""
    lost, all_of_them = jnp.zeros(()), jnp.zeros(())
    for old, by in zip(jax.tree.leaves(params), jax.tree.leaves(updates), strict=True):
        asked = by != 0
        stays = optax.apply_updates(old, by) == old
        lost += jnp.sum(asked & stays, dtype=lost.dtype)
        all_of_them += jnp.sum(asked, dtype=lost.dtype)
    return lost / jnp.maximum(all_of_them, 1.0)
