"""One number for each action: the policy that the theory is about."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from apo_sim.checks import as_count
from apo_sim.problems import LogPolicy
from apo_sim.pytree import pytree_dataclass, static


@pytree_dataclass
class Table:
    """softmax of one logit for each context and action.

    Args:
        contexts: number of contexts X, at least 1.
        arms: number of actions K, at least 1.

    Raises:
        InvalidArgument: a size that is no count.

    Source: the paper's section 4.1, without features.

    Example:
        >>> policy = Table(1, 4)
        >>> jnp.exp(policy.log_prob(policy.init(jax.random.key(0)))).round(4).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """

    contexts: int = static()
    arms: int = static()

    def __post_init__(self) -> None:
        as_count("contexts", self.contexts)
        as_count("arms", self.arms)

    def init(self, key: Key[Array, ""]) -> Float[Array, "contexts arms"]:
        del key
        return jnp.zeros((self.contexts, self.arms))

    def log_prob(self, params: Float[Array, "contexts arms"]) -> LogPolicy:
        return jax.nn.log_softmax(params, axis=1)
