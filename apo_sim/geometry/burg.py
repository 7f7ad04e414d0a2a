"""The logarithmic barrier."""

from typing import Any, ClassVar

from apo_sim.geometry.tsallis import PowerEntropy
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class Burg(PowerEntropy):
    """phi(p) = -log p, Burg's entropy: the step is pi = 1 / (lambda - z), with z = -1 / pi_t.

    Arms lose their mass at the rate 1 / gamma, the slowest of all generators here.

    Source: ours; the limit q = 0 of `Tsallis`.

    Example:
        >>> import jax.numpy as jnp
        >>> even = jnp.log(jnp.array([0.5, 0.5]))
        >>> jnp.exp(Burg().prox(even, jnp.array([1.5, 0.0]), beta=1.0)).round(3).tolist()
        [0.667, 0.333]
    """

    q: ClassVar[Any] = 0.0
