"""Step lengths and weights that may change from one iteration to the next."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from apo_sim.checks import Real, as_array, as_float
from apo_sim.errors import InvalidArgument


def as_schedule(name: str, value: Any, kind: Real) -> Any:
    """One number, or one for each iteration, of a kind of numbers; as it came if it is one."""
    kind.check(name, value)
    if isinstance(value, int | float):  # a default, which must not wake JAX's backend
        return value
    shape = jnp.shape(as_array(name, value))
    if len(shape) > 1:
        raise InvalidArgument(
            name, value, f"has shape {shape}", "pass one number, or one for each iteration"
        )
    return as_float(name, value, (None,)) if shape else value


def check_length(name: str, value: Any, iterations: int, first: int | None) -> None:
    """Refuse a schedule that ends before the run does.

    Args:
        name: of the argument.
        value: a number or a schedule.
        iterations: of the run.
        first: the iteration that a run which is continued goes on from; None for a new run.
    """
    shape = jnp.shape(value)
    needed = (first or 0) + iterations
    # A shorter one would be read past its end, which JAX answers with the last value.
    if shape and shape[0] < needed:
        raise InvalidArgument(
            name, value, f"ends before iteration {needed}", "pass one number for each iteration"
        )


def at(value: Any, t: Int[Array, ""], dtype: Any) -> Float[Array, ""]:
    """The number of iteration t = 0, 1, ...

    Example:
        >>> float(at(jnp.array([0.5, 0.25]), jnp.asarray(1), float))
        0.25
    """
    values = jnp.asarray(value, dtype)
    return values[t] if values.ndim else values
