"""How contexts, responses and counts are drawn, whatever they are drawn for."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from apo_sim.problems import LogPolicy, Problem
from apo_sim.sampling import multinomial, multinomials

Contexts = Int[Array, " samples"]
Drawn = Int[Array, "number samples"]
Uniforms = Float[Array, "number samples"]


def counts_by_context(
    key: Key[Array, ""],
    law: Float[Array, "contexts outcomes"],
    context_probs: Float[Array, " contexts"],
    samples: int | float | Float[Array, ""] | Int[Array, ""],
) -> Float[Array, "contexts outcomes"]:
    """How often each outcome came up in each context, over `samples` draws in all.

    Args:
        key: a `jax.random.key`.
        law: of the outcomes in each context, up to a factor.
        context_probs: law of contexts.
        samples: number of draws; may be traced.
    """
    contexts = law.shape[0]
    to_contexts, *within = jax.random.split(key, contexts + 1)
    total = jnp.asarray(samples, law.dtype)
    per_context = multinomial(to_contexts, total, context_probs) if contexts > 1 else total[None]
    return multinomials(jnp.stack(within), per_context, law)


def responses(
    key: Key[Array, ""],
    problem: Problem,
    log_policies: Sequence[LogPolicy],
    samples: int,
    number: int,
) -> tuple[Contexts, Drawn]:
    """Contexts, and independent responses to each.

    Args:
        key: a `jax.random.key`.
        problem: a Bandit or a Game.
        log_policies: what draws them, each of shape (contexts, arms).
        samples: how many contexts.
        number: how many responses each of the policies gives to each of them.

    Returns:
        The contexts, shape (samples,), and the responses, those of the first policy first, shape
        (number * len(log_policies), samples).
    """
    to_context, to_arms = jax.random.split(key)
    all_uniform = jax.random.uniform(
        to_arms, (number * len(log_policies), samples), log_policies[0].dtype
    )
    context = None
    if problem.num_contexts > 1:
        context = by_inversion(to_context, problem.context_probs, (samples,))
    arms = [
        _at_uniforms(all_uniform[place * number : (place + 1) * number], jnp.exp(policy), context)
        for place, policy in enumerate(log_policies)
    ]
    drawn = arms[0] if len(arms) == 1 else jnp.concatenate(arms)
    return jnp.zeros(samples, drawn.dtype) if context is None else context, drawn


def _at_uniforms(uniform: Uniforms, policy: LogPolicy, context: Contexts | None) -> Drawn:
    """Where the distribution function of each sample's context passes a uniform number."""
    if context is None:
        return _inverse(policy[0], uniform)
    contexts, arms = policy.shape
    # One context's distribution function follows the other, each one higher.
    upto = jnp.cumsum(policy, axis=1)
    upto = jnp.minimum(upto / upto[:, -1:], 1.0) + jnp.arange(contexts)[:, None]
    place = jnp.searchsorted(upto.ravel(), context + uniform, side="right")
    return jnp.clip(place - context * arms, 0, arms - 1)


def by_inversion(
    key: Key[Array, ""], weights: Float[Array, " outcomes"], shape: tuple[int, ...]
) -> Int[Array, "..."]:
    """Independent draws of an outcome, in proportion to the weights."""
    return _inverse(weights, jax.random.uniform(key, shape, weights.dtype))


def _inverse(weights, uniform):
    upto = jnp.cumsum(weights)
    place = jnp.searchsorted(upto, uniform * upto[-1], side="right")
    return jnp.minimum(place, weights.size - 1)
