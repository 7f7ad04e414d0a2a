"""A small attention network over sequences."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from apo_sim.policies.policy import Params
from apo_sim.policies.sequence import Level, check_sizes, log_joint, normal
from apo_sim.problems import LogPolicy
from apo_sim.pytree import pytree_dataclass, static


@pytree_dataclass
class Attention:
    """One causal attention layer and one hidden layer on top (Vaswani et al. 2017), one head.

    A prefix attends to its own tokens and to a mark of the beginning; tokens know their places.

    Args:
        vocabulary: number of tokens V, at least 2.
        length: tokens in a sequence L; V^L sequences are enumerated.
        width: units of every layer.

    Raises:
        InvalidArgument: sizes that are not counts, or more than `MAX_SEQUENCES` sequences.

    Example:
        >>> policy = Attention(vocabulary=3, length=4, width=8)
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
        keys = dict(
            zip(("token", "place", "mix", "in", "out"), jax.random.split(key, 5), strict=True)
        )
        width = self.width
        return {
            # The last token is the mark of the beginning.
            "token": jax.random.normal(keys["token"], (self.vocabulary + 1, width)),
            "place": jax.random.normal(keys["place"], (self.length, width)),
            "mix": normal(keys["mix"], (width, 3 * width)),
            "in": normal(keys["in"], (width, width)),
            "bias": jnp.zeros(width),
            "out": normal(keys["out"], (width, self.vocabulary)),
        }

    def conditionals(self, params: Params) -> tuple[Level, ...]:
        vocabulary = self.vocabulary
        # What a token says depends on itself and its place only, so all prefixes share it.
        prefix = self._layer(params, params["token"][vocabulary:] + params["place"][0])
        seen, levels = [prefix], [self._read(params, [prefix])]
        for level in range(1, self.length):
            tokens = self._layer(params, params["token"][:vocabulary] + params["place"][level])
            seen = [tuple(jnp.repeat(part, vocabulary, axis=0) for part in old) for old in seen]
            count = vocabulary ** (level - 1)
            seen.append(tuple(jnp.tile(part, (count, 1)) for part in tokens))
            levels.append(self._read(params, seen))
        return tuple(levels)

    def _layer(self, params: Params, embedded: Float[Array, "tokens width"]):
        """What tokens are, and their queries, keys and values."""
        return (embedded, *jnp.split(embedded @ params["mix"], 3, axis=1))

    def _read(self, params: Params, seen: list) -> Level:
        """The next token's log-probabilities for every prefix, from all that it has seen."""
        embedded, query, *_ = seen[-1]
        keys = jnp.stack([part[2] for part in seen], axis=1)
        values = jnp.stack([part[3] for part in seen], axis=1)
        scores = jnp.einsum("pd,pld->pl", query, keys) / self.width**0.5
        mixed = embedded + jnp.einsum("pl,pld->pd", jax.nn.softmax(scores, axis=1), values)
        hidden = mixed + jax.nn.gelu(mixed @ params["in"] + params["bias"])
        return jax.nn.log_softmax(hidden @ params["out"], axis=1)

    def log_prob(self, params: Params) -> LogPolicy:
        return log_joint(self.conditionals(params))
