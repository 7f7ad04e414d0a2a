"""Extrapolation away from the last proximal centre."""

from typing import Any

from jaxtyping import Array, Float

from apo_sim.checks import as_flag, check_extrapolation, check_single
from apo_sim.momentum.rule import State, Tree, step_beyond
from apo_sim.pytree import pytree_dataclass, static


@pytree_dataclass
class FromBehaviour:
    """pi_t = pi_hat_t + alpha (pi_hat_t - pi_{t-1}): momentum from pi, not from pi_hat.

    Source: the variant of the paper's Table 3. It lengthens the last step by a factor 1 + alpha and
    has no memory, so it follows the same path as plain updates with beta / (1 + alpha).

    Args:
        alpha: extrapolation, in [0, 1).
        unrestricted: allow any finite alpha.

    Raises:
        InvalidArgument: alpha outside [0, 1) without `unrestricted`, or not finite, or an array.

    Example:
        >>> rule = FromBehaviour(0.5)
        >>> rule.extrapolate(2.0, rule.init(1.0), 1)
        (2.5, 2.5)
    """

    alpha: float | Float[Array, ""]
    unrestricted: bool = static(default=False)

    def __post_init__(self) -> None:
        check_single("alpha", self.alpha, "pass one number")
        as_flag("unrestricted", self.unrestricted)
        check_extrapolation(self.alpha, self.unrestricted)

    def init(self, tree: Tree) -> State:
        return tree

    def extrapolate(self, new: Tree, state: State, t: Any) -> tuple[Tree, State]:
        centre = step_beyond(new, state, self.alpha)
        return centre, centre
