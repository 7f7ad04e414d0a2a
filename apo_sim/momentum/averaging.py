"""Averaging the updates instead of extrapolating them."""

from typing import Any

import jax
from jaxtyping import Array, Float

from apo_sim.checks import check_extrapolation, check_single
from apo_sim.momentum.rule import State, Tree
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class Averaging:
    """pi_t = pi_{t-1} + h_t with h_t = decay h_{t-1} + (1 - decay) (pi_hat_t - pi_{t-1}).

    Source: the moving average of MoVI (Vieillard et al. 2020), which a reviewer suggested instead
    of extrapolation: every update enters with total weight one, so noise is averaged, not
    amplified.

    Args:
        decay: share of the old average kept at each update, in [0, 1).

    Raises:
        InvalidArgument: decay outside [0, 1), or an array.

    Example:
        >>> rule = Averaging(0.5)
        >>> rule.extrapolate(2.0, rule.init(1.0), 1)
        (1.5, (1.5, 0.5))
    """

    decay: float | Float[Array, ""]

    def __post_init__(self):
        check_single("decay", self.decay, "pass one number")
        check_extrapolation(self.decay, unrestricted=False, name="decay")

    def init(self, tree: Tree) -> State:
        return tree, jax.tree.map(lambda leaf: 0.0 * leaf, tree)

    def extrapolate(self, new: Tree, state: State, t: Any) -> tuple[Tree, State]:
        centre, average = state
        average = jax.tree.map(
            lambda h, n, c: self.decay * h + (1.0 - self.decay) * (n - c), average, new, centre
        )
        centre = jax.tree.map(lambda c, h: c + h, centre, average)
        return centre, (centre, average)
