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

    def __post_init__(self) -> None:
        check_single("decay", self.decay, "pass one number")
        check_extrapolation(self.decay, unrestricted=False, name="decay")

    def init(self, tree: Tree) -> State:
        def zero(leaf: Any) -> Any:
            return 0.0 * leaf

        return tree, jax.tree.map(zero, tree)

    def extrapolate(self, new: Tree, state: State, t: Any) -> tuple[Tree, State]:
        def averaged(average: Any, new: Any, centre: Any) -> Any:
            return self.decay * average + (1.0 - self.decay) * (new - centre)

        def moved(centre: Any, average: Any) -> Any:
            return centre + average

        centre, average = state
        average = jax.tree.map(averaged, average, new, centre)
        centre = jax.tree.map(moved, centre, average)
        return centre, (centre, average)
