"""Arguments that several closed forms take, checked and brought to one shape."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from apo_sim.checks import (
    LOG_PROBABILITY,
    PROBABILITY,
    as_array,
    as_float,
    check_positive,
    concrete,
)
from apo_sim.errors import InvalidArgument

Schedule = Float[Array, " iterations"]
Number = Float[Array, "..."]


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


def log_probability(p_star: Any, log_p_star: Any, name: str = "p_star") -> Number:
    """Give log p from whichever of p and log p is given, in (0, 1] where its values are known.

    Args:
        p_star: p, or None.
        log_p_star: log p, or None.
        name: that the caller gives p; "log_" goes before it for log p.
    """
    if (p_star is None) == (log_p_star is None):
        raise InvalidArgument(
            name, p_star, f"and log_{name} are both given or both missing", "pass one of them"
        )
    if log_p_star is None:
        return jnp.log(PROBABILITY(name, p_star))
    return LOG_PROBABILITY(f"log_{name}", log_p_star)


def _as_schedule(name: str, value: Any, iterations: int) -> Schedule:
    if as_array(name, value).ndim == 0:
        return jnp.broadcast_to(as_float(name, value, ()), (iterations,))
    return as_float(name, value, (iterations,))
