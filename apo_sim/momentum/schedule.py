"""Extrapolation that changes with t."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from apo_sim.checks import as_flag, as_float, check_extrapolation
from apo_sim.errors import InvalidArgument
from apo_sim.momentum.rule import Extrapolation
from apo_sim.pytree import pytree_dataclass, static


@pytree_dataclass
class Schedule(Extrapolation):
    """pi_t = pi_hat_t + alpha_t (pi_hat_t - pi_hat_{t-1}), alpha_t from an array.

    Args:
        alphas: alpha_1 ... alpha_T, shape (iterations,).
        unrestricted: allow any finite values.

    Raises:
        InvalidArgument: values outside [0, 1) without `unrestricted`, a wrong shape.

    Example:
        >>> rule = Schedule([0.0, 0.5])
        >>> float(rule.extrapolate(2.0, rule.init(1.0), 2)[0])
        2.5
    """

    alphas: Float[Array, " iterations"]
    unrestricted: bool = static(default=False)

    def __post_init__(self) -> None:
        alphas = as_float("alphas", self.alphas, (None,))
        as_flag("unrestricted", self.unrestricted)
        check_extrapolation(alphas, self.unrestricted, "alphas")
        object.__setattr__(self, "alphas", alphas)

    def alpha_at(self, t: int | Int[Array, ""]) -> Any:
        return self.alphas[t - 1]


@pytree_dataclass
class FunctionSchedule(Extrapolation):
    """pi_t = pi_hat_t + alpha(t) (pi_hat_t - pi_hat_{t-1}) for a function of t = 1, 2, ...

    Args:
        function: a traceable function of t that returns alpha_t.

    Example:
        >>> rule = FunctionSchedule(lambda t: t / (t + 1))
        >>> float(rule.extrapolate(2.0, rule.init(1.0), 1)[0])
        2.5
    """

    function: Callable[[Any], Any] = static()

    def __post_init__(self) -> None:
        if isinstance(self.function, type) or not callable(self.function):
            raise InvalidArgument(
                "function", self.function, "is not callable", "pass Schedule(...) for an array"
            )

    def alpha_at(self, t: int | Int[Array, ""]) -> Any:
        return self.function(jnp.asarray(t, float))
