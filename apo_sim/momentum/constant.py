"""Extrapolation by a constant: the paper's Algorithm 1."""

from typing import Any

from jaxtyping import Array, Float, Int

from apo_sim.checks import as_flag, check_extrapolation, check_single
from apo_sim.momentum.rule import Extrapolation
from apo_sim.pytree import pytree_dataclass, static


@pytree_dataclass
class Constant(Extrapolation):
    """pi_t = pi_hat_t + alpha (pi_hat_t - pi_hat_{t-1}), in the space of the pytree.

    Source: equations (3.6) and (3.7). On log-probabilities it is exact up to the normaliser.

    Args:
        alpha: extrapolation, in [0, 1).
        unrestricted: allow any finite alpha; negative ones damp the cycles of a game.

    Raises:
        InvalidArgument: alpha outside [0, 1) without `unrestricted`, or not finite, or an array.

    Example:
        >>> rule = Constant(0.5)
        >>> rule.extrapolate(2.0, rule.init(1.0), 1)
        (2.5, 2.0)
    """

    alpha: float | Float[Array, ""]
    unrestricted: bool = static(default=False)

    def __post_init__(self) -> None:
        check_single("alpha", self.alpha, "pass one number, or Schedule(...) for one per update")
        as_flag("unrestricted", self.unrestricted)
        check_extrapolation(self.alpha, self.unrestricted)

    def alpha_at(self, t: int | Int[Array, ""]) -> Any:
        return self.alpha
