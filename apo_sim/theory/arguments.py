"""Arguments that several closed forms take, checked and brought to one shape."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from apo_sim.checks import as_float, check_positive, concrete
from apo_sim.errors import InvalidArgument

Schedule = Float[Array, " iterations"]
Number = Float[Array, "..."]


def as_number(name: str, value: Any) -> Number:
    """`value` as a floating array of any shape, finite where its values are known."""
    return as_float(name, value, (None,) * np.ndim(value))


def as_positive(name: str, value: Any) -> Number:
    """`value` as a floating array of any shape, above zero where its values are known."""
    check_positive(name, value)
    return as_number(name, value)


def as_extrapolation(alpha: Any, iterations: int, unrestricted: bool) -> Schedule:
    """alpha_1 ... alpha_T from a number or a schedule; within [0, 1] unless `unrestricted`."""
    schedule = _as_schedule("alpha", alpha, iterations)
    values = concrete(schedule)
    # Theory includes the limit 1, which no run may use: there w_k is k.
    if not unrestricted and values is not None and not np.all((values >= 0) & (values <= 1)):
        raise InvalidArgument(
            "alpha",
            alpha,
            "lies outside [0, 1]",
            "pass alpha in [0, 1], or unrestricted=True if that is the experiment",
        )
    return schedule


def as_proximal_weight(beta: Any, iterations: int) -> Schedule:
    """beta_0 ... beta_{T-1} from a number or a schedule, all positive."""
    check_positive("beta", beta)
    return _as_schedule("beta", beta, iterations)


def log_probability(p_star: Any, log_p_star: Any) -> Number:
    """Give log p from whichever of p and log p is given, in (0, 1] where its values are known."""
    if (p_star is None) == (log_p_star is None):
        raise InvalidArgument(
            "p_star", p_star, "and log_p_star are both given or both missing", "pass one of them"
        )
    if log_p_star is None:
        log_p = jnp.log(_within("p_star", p_star, lambda p: (p > 0) & (p <= 1), "in (0, 1]"))
    else:
        log_p = _within("log_p_star", log_p_star, lambda log_p: log_p <= 0, "at most 0")
    return log_p


def _within(name: str, value: Any, allowed: Any, where: str) -> Number:
    number = as_number(name, value)
    values = concrete(number)
    if values is not None and not np.all(allowed(values)):
        raise InvalidArgument(name, value, f"is not {where}", f"pass numbers {where}")
    return number


def _as_schedule(name: str, value: Any, iterations: int) -> Schedule:
    if np.ndim(value) == 0:
        return jnp.broadcast_to(as_float(name, value, ()), (iterations,))
    return as_float(name, value, (iterations,))
