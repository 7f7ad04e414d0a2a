"""Momentum on the log-probabilities of every next token."""

import jax

from apo_sim.geometry import KL, Geometry
from apo_sim.policies.sequence import log_joint
from apo_sim.pytree import like, pytree_dataclass


@pytree_dataclass
class InTokens:
    """Extrapolate log pi(token | prefix) for every prefix, and normalise at each token.

    This is what a sampler does that mixes the logits of two language models. It differs from
    extrapolating whole sequences by the normalisers along the sequence. The policy must be a
    `SequencePolicy`.

    Source: ours, for the reviews' question 7.

    Example:
        >>> import jax.numpy as jnp
        >>> from apo_sim import Constant
        >>> from apo_sim.policies import Recurrent
        >>> policy, space, rule = Recurrent(2, 2, width=2), InTokens(), Constant(0.5)
        >>> params = policy.init(jax.random.key(0))
        >>> state = space.init(policy, rule, params, jnp.zeros((1, 4)))
        >>> _, offset, _ = space.extrapolate(policy, rule, params, jnp.zeros((1, 4)), state, 1)
        >>> float(abs(offset).max()) < 1e-6  # nothing was learned
        True
    """

    def init(self, policy, momentum, params, offset, geometry: Geometry = KL()):
        return momentum.init(_by_prefix(policy.log_prob(params) + offset, policy))

    def extrapolate(self, policy, momentum, params, offset, state, t, geometry: Geometry = KL()):
        network = policy.log_prob(params)
        trained = _by_prefix(network + offset, policy)
        extrapolated, state = like(momentum.extrapolate(trained, state, t), (trained, state))
        levels = tuple(jax.nn.log_softmax(level, axis=1) for level in extrapolated)
        return params, log_joint(levels) - network, state


def _by_prefix(log_weights, policy):
    """Any policy over sequences as next tokens: log P(token | prefix), level by level."""
    vocabulary, levels = policy.vocabulary, []
    below = log_weights[0]
    for _ in range(policy.length):
        children = below.reshape(-1, vocabulary)
        levels.append(jax.nn.log_softmax(children, axis=1))
        below = jax.nn.logsumexp(children, axis=1)
    return tuple(reversed(levels))
