"""What a step notes on the way: how the pairs stand, and what becomes of its update."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from apo_sim.llm.data.batches import Batch
from apo_sim.llm.data.preference_pairs import Preference, Tokens

# Beyond it, exp overflows single precision.
_LARGEST_LOG = 80.0
# Tokens of a phrase that counts as repeated.
_PHRASE = 4


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
        mass has left both; `kl`, r - 1 - log r with r the policy's probability of a response over
        the proximal centre's, in nats a response, never negative; `length`, tokens a response.

    Along responses drawn from the proximal centre at temperature 1, and paired whatever they are,
    `kl` estimates KL(proximal centre, policy) without bias. Pairs of the best against the worst,
    and those that others brought, make of it a distance only.

    Source: `kl`: Schulman (2020), "Approximating KL divergence", the estimator k3.

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
    apart = jnp.minimum(log_probs - reference, _LARGEST_LOG)
    # What is left of differences as small as their rounding may be below zero.
    divergence = jnp.maximum(jnp.expm1(apart) - apart, 0.0)
    return {
        "chosen_log_prob": mean(log_probs[:, 0]),
        "rejected_log_prob": mean(log_probs[:, 1]),
        "chosen_reward": mean(rewards[:, 0]),
        "rejected_reward": mean(rewards[:, 1]),
        "pair_mass": mean(together[0] - together[1]),
        "kl": mean(0.5 * jnp.sum(divergence, axis=-1)),
        "length": mean(0.5 * jnp.sum(given, axis=-1)),
    }


def token_entropy(logits: Float[Array, "... vocabulary"]) -> Float[Array, "..."]:
    """Entropy of the next token, in nats, in single precision; no gradient goes through it.

    Args:
        logits: of the tokens of the vocabulary.

    Example:
        >>> token_entropy(jnp.array([[0.0, 0.0], [50.0, 0.0]])).round(3).tolist()
        [0.693, 0.0]
    """
    logits = jax.lax.stop_gradient(logits).astype(jnp.float32)
    below = logits - jnp.max(logits, axis=-1, keepdims=True)
    # In one pass over the vocabulary, which is the largest array of a step.
    weights = jnp.exp(below)
    total = jnp.sum(weights, axis=-1)
    return jnp.log(total) - jnp.sum(weights * below, axis=-1) / total


def mean_entropy(
    entropies: Float[Array, "pairs sides responses"], batch: Batch
) -> Float[Array, ""]:
    """Mean of `token_entropy` over the tokens of chosen and rejected responses, in nats a token.

    Args:
        entropies: at each token of the responses.
        batch: the pairs, each with its weight.

    Example:
        >>> from apo_sim.llm.data.batches import batches
        >>> (batch,) = batches([Preference((1,), (2, 9), (3, 4, 9))], 1, beta=1.0, padding=0)
        >>> float(mean_entropy(jnp.ones((1, 2, 16)).at[0, 0].set(6.0), batch))
        3.0
    """
    given = jnp.asarray(batch.mask)[:, :2, -batch.responses :]
    weight = jnp.asarray(batch.weight)[:, None, None] * given
    # A part of a batch may hold nothing but rows that fill it up.
    total = jnp.maximum(jnp.sum(weight), jnp.finfo(jnp.float32).tiny)
    return jnp.sum(weight * entropies[:, :2]) / total


def response_figures(pairs: Sequence[Preference], ends: Collection[int]) -> dict[str, float]:
    """Means over the responses of an iteration's pairs, each pair with its weight.

    Args:
        pairs: at least one.
        ends: tokens that end a response.

    Returns:
        `ended`, the share of the responses that ended by themselves, and not by the longest
        length; `repetition`, the share of a response's phrases of four tokens that it has said
        before.

    Source: `repetition`: seq-rep-4 of Welleck et al. (2020), "Neural text generation with
    unlikelihood training".

    Example:
        >>> response_figures([Preference((1,), (2, 2, 2, 2, 2, 2), (3, 4, 9))], {9})
        {'ended': 0.5, 'repetition': 0.333...}
    """
    weights = [pair.weight for pair in pairs]
    if not sum(weights):
        weights = None
    ended = [0.5 * ((pair.winner[-1] in ends) + (pair.loser[-1] in ends)) for pair in pairs]
    repeated = [0.5 * (_repetition(pair.winner) + _repetition(pair.loser)) for pair in pairs]
    return {
        "ended": float(np.average(ended, weights=weights)),
        "repetition": float(np.average(repeated, weights=weights)),
    }


def _repetition(tokens: Tokens) -> float:
    phrases = list(zip(*(tokens[start:] for start in range(_PHRASE)), strict=False))
    return 1.0 - len(set(phrases)) / len(phrases) if phrases else 0.0


class Watched(NamedTuple):
    """State of `watched`: figures of the last update, and the state of what makes it."""

    gradient: Array
    gradient_l1: Array
    lost_updates: Array
    inner: Any


# Fields of the state that a log wants.
FIGURES = ("gradient", "gradient_l1", "lost_updates")


def watched(made: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same updates, with three figures of them in the optimiser's state.

    `gradient` is the norm of the gradient, `gradient_l1` the sum of its absolute values.
    `lost_updates` is the share of those parameters with an update whose value it leaves as it was,
    since their precision has no number that near.

    Example:
        >>> rule = watched(optax.sgd(1e-3))
        >>> params = jnp.array([1.0, 1e-2, 0.0], "bfloat16")
        >>> _, state = rule.update(jnp.ones(3, "bfloat16"), rule.init(params), params)
        >>> round(float(state.lost_updates), 3), round(float(state.gradient), 1)
        (0.333, 1.7)
    """

    def init(params: Any) -> Watched:
        # Not one array three times: a step gives each buffer away once.
        return Watched(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()), made.init(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Watched]:
        dtype = jnp.zeros(()).dtype
        norm = optax.global_norm(updates).astype(dtype)
        sums = [jnp.sum(jnp.abs(leaf), dtype=dtype) for leaf in jax.tree.leaves(updates)]
        updates, inner = made.update(updates, state.inner, params)
        return updates, Watched(norm, sum(sums, jnp.zeros(())), _lost(params, updates), inner)

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
