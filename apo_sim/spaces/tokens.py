"""Momentum on the log-probabilities of every next token."""

from typing import Any

import jax
from jaxtyping import Array

from apo_sim.geometry import KL, Geometry
from apo_sim.momentum import Momentum
from apo_sim.policies import Policy
from apo_sim.policies.sequence import Level, log_joint
from apo_sim.problems import LogPolicy
from apo_sim.pytree import like, pytree_dataclass
from apo_sim.spaces.space import Params, State


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

    def init(
        self,
        policy: Policy,
        momentum: Momentum,
        params: Params,
        offset: LogPolicy,
        geometry: Geometry = KL(),
    ) -> State:
        return momentum.init(_by_prefix(policy.log_prob(params) + offset, policy))

    def extrapolate(
        self,
        policy: Policy,
        momentum: Momentum,
        params: Params,
        offset: LogPolicy,
        state: State,
        t: Any,
        geometry: Geometry = KL(),
    ) -> tuple[Params, LogPolicy, State]:
        network = policy.log_prob(params)
        trained = _by_prefix(network + offset, policy)
        extrapolated, state = like(momentum.extrapolate(trained, state, t), (trained, state))
        levels = tuple(jax.nn.log_softmax(level, axis=1) for level in extrapolated)
        return params, log_joint(levels) - network, state


def _by_prefix(log_weights: LogPolicy, policy: Any) -> tuple[Level, ...]:
    """A `SequencePolicy`, or another one over its actions: log P(token | prefix), by level."""
    vocabulary: int = policy.vocabulary
    levels: list[Level] = []
    below: Array = log_weights[0]
    for _ in range(policy.length):
        children = below.reshape(-1, vocabulary)
        levels.append(jax.nn.log_softmax(children, axis=1))
        below = jax.nn.logsumexp(children, axis=1)
    return tuple(reversed(levels))
