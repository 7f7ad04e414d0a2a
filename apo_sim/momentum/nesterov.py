"""Nesterov's own schedule."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Int

from apo_sim.momentum.rule import Extrapolation
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class Nesterov(Extrapolation):
    """Extrapolation alpha_t = t / (t + 3), which makes gamma_T grow like T^2 / (8 beta).

    Source: N9 (ours), after Nesterov (1983).

    Example:
        >>> rule = Nesterov()
        >>> float(rule.extrapolate(2.0, rule.init(1.0), 1)[0])
        2.25
    """

    def alpha_at(self, t: int | Int[Array, ""]) -> Any:
        return jnp.asarray(t, float) / (t + 3.0)
