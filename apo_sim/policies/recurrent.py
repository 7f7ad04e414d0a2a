"""A recurrent network over sequences."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from apo_sim.policies.policy import Params
from apo_sim.policies.sequence import Level, check_sizes, log_joint, normal
from apo_sim.problems import LogPolicy
from apo_sim.pytree import pytree_dataclass, static


@pytree_dataclass
class Recurrent:
    """Tokens one after another from a gated recurrent unit (Cho et al. 2014).

    Args:
        vocabulary: number of tokens V, at least 2.
        length: tokens in a sequence L; V^L sequences are enumerated.
        width: units of the recurrent state.

    Raises:
        InvalidArgument: sizes that are not counts, or more than `MAX_SEQUENCES` sequences.

    Example:
        >>> policy = Recurrent(vocabulary=3, length=4, width=8)
        >>> log_prob = policy.log_prob(policy.init(jax.random.key(0)))
        >>> log_prob.shape, round(float(jnp.exp(log_prob).sum()), 4)
        ((1, 81), 1.0)
    """

    vocabulary: int = static()
    length: int = static()
    width: int = static(default=32)

    def __post_init__(self) -> None:
        check_sizes(self.vocabulary, self.length, self.width)

    def init(self, key: Key[Array, ""]) -> Params:
        to_token, to_gates, to_state, to_out = jax.random.split(key, 4)
        gates, width = 3 * self.width, self.width
        return {
            "token": normal(to_token, (self.vocabulary, gates)),
            "state": normal(to_gates, (width, gates)),
            "bias": jnp.zeros(gates),
            "start": normal(to_state, (1, width)),
            "out": normal(to_out, (width, self.vocabulary)),
        }

    def conditionals(self, params: Params) -> tuple[Level, ...]:
        state = jnp.tanh(params["start"])
        levels: list[Level] = []
        for level in range(self.length):
            levels.append(jax.nn.log_softmax(state @ params["out"], axis=1))
            if level + 1 < self.length:
                state = self._children(params, state)
        return tuple(levels)

    def _children(self, params: Params, state: Float[Array, "prefixes width"]):
        """The states after every next token of every prefix, side by side."""
        from_state = (state @ params["state"] + params["bias"])[:, None]
        from_token = params["token"][None]
        z_state, r_state, n_state = jnp.split(from_state, 3, axis=-1)
        z_token, r_token, n_token = jnp.split(from_token, 3, axis=-1)
        update = jax.nn.sigmoid(z_state + z_token)
        reset = jax.nn.sigmoid(r_state + r_token)
        proposed = jnp.tanh(reset * n_state + n_token)
        new = update * state[:, None] + (1.0 - update) * proposed
        return new.reshape(-1, self.width)

    def log_prob(self, params: Params) -> LogPolicy:
        return log_joint(self.conditionals(params))
