"""Single responses, each with the reward that it got."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from apo_sim.checks import Real
from apo_sim.errors import InvalidArgument
from apo_sim.preferences.counts import check_some
from apo_sim.pytree import pytree_dataclass

_REWARD = Real(remedy="pass one number for each arm", shape=(None, None))
_DRAWN = Real(
    "must be finite and at least 0",
    lambda weights: weights >= 0,
    "pass counts or probabilities, shape (contexts, arms)",
    shape=(None, None),
)


@pytree_dataclass
class Scored:
    """Responses whose rewards were looked at, summed up by arm. X contexts, K arms.

    Args:
        reward: of every arm, shape (X, K); read only where it is known.
        drawn: how often each arm was drawn, or its probability, shape (X, K); not all zero.
        known: whether the reward of an arm is known, shape (X, K); None: of those drawn.

    Raises:
        InvalidArgument: numbers that are none, arrays of different shapes, nothing drawn.

    Source: ours; what policy gradients look at.

    Example:
        >>> data = Scored(jnp.array([[1.0, 0.0, 5.0]]), jnp.array([[3.0, 1.0, 0.0]]))
        >>> data.advantage.tolist()
        [[0.25, -0.75, 0.0]]
    """

    reward: Float[Array, "contexts arms"]
    drawn: Float[Array, "contexts arms"]
    known: Bool[Array, "contexts arms"] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        reward = _REWARD("reward", self.reward)
        drawn = _DRAWN("drawn", self.drawn)
        known = drawn > 0 if self.known is None else _as_known(self.known)
        for name, array in (("drawn", drawn), ("known", known)):
            if array.shape != reward.shape:
                raise InvalidArgument(
                    name,
                    getattr(self, name),
                    f"has another shape than the rewards, {reward.shape}",
                    "pass arrays of the same shape",
                )
        check_some("drawn", drawn)
        for name, array in (("reward", reward), ("drawn", drawn), ("known", known)):
            object.__setattr__(self, name, array)

    @property
    def share(self) -> Float[Array, "contexts arms"]:
        """The share of each arm in what was drawn in its context; 0 where nothing was."""
        return _normalised(self.drawn)

    @property
    def advantage(self) -> Float[Array, "contexts arms"]:
        """Reward minus the mean over what was drawn; 0 for an arm of unknown reward.

        Where nothing known was drawn, the mean is that of the known arms.
        """
        drawn = jnp.where(self.known, self.drawn, 0.0)
        any_drawn = jnp.any(drawn > 0, axis=1, keepdims=True)
        share = _normalised(jnp.where(any_drawn, drawn, self.known.astype(drawn.dtype)))
        mean = jnp.sum(jnp.where(self.known, share * self.reward, 0.0), axis=1, keepdims=True)
        return jnp.where(self.known, self.reward - mean, 0.0)


def _as_known(value: Any) -> Bool[Array, "..."]:
    array = value if isinstance(value, jax.Array | np.ndarray) else None
    if isinstance(value, list | tuple):
        array = np.asarray(value, dtype=object)
        flags = all(isinstance(one, bool | np.bool_) for one in array.ravel())
        array = array.astype(bool) if flags else None
    if array is None or array.dtype != bool or np.ma.isMaskedArray(array):
        raise InvalidArgument("known", value, "is not True or False for each arm", "leave it out")
    return jnp.asarray(array)


def _normalised(weights: Float[Array, "contexts arms"]) -> Float[Array, "contexts arms"]:
    total = jnp.sum(weights, axis=1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1.0)
