"""Policies log-linear in their parameters, for which both kinds of extrapolation are one."""

import jax
from jaxtyping import Array, Float, Key

from apo_sim.checks import as_float
from apo_sim.problems import LogPolicy
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class LogLinear:
    """softmax of a linear function of features.

    Args:
        features: of every context and action, shape (contexts, arms, dimension).

    Raises:
        InvalidArgument: another shape, values not finite.

    Source: the paper's section 5.2: here (3.6) is extrapolation of the parameters (E3.6).

    Example:
        >>> import jax.numpy as jnp
        >>> policy = LogLinear(jnp.array([[[0.0], [1.0]]]))
        >>> round(float(jnp.exp(policy.log_prob(jnp.array([2.0])))[0, 1]), 4)  # sigmoid(2)
        0.8808
    """

    features: Float[Array, "contexts arms dimension"]

    def __post_init__(self) -> None:
        features = as_float("features", self.features, (None, None, None))
        object.__setattr__(self, "features", features)

    def init(self, key: Key[Array, ""]) -> Float[Array, " dimension"]:
        dimension = self.features.shape[2]
        return jax.random.normal(key, (dimension,), self.features.dtype) / dimension**0.5

    def log_prob(self, params: Float[Array, " dimension"]) -> LogPolicy:
        return jax.nn.log_softmax(self.features @ params, axis=1)
