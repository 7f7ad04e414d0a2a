"""Checks of arguments: types and shapes always, values wherever they are concrete."""

import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from apo_sim.errors import InvalidArgument


def concrete(value: Any) -> np.ndarray | None:
    """The values as NumPy, or None inside a transformation, where they are not known yet."""
    if isinstance(value, Tracer):
        return None
    return np.asarray(value)


def as_float(
    name: str,
    value: Any,
    shape: tuple[int | None, ...],
    remedy: str = "replace NaN and infinity by finite numbers",
) -> jax.Array:
    """`value` as a floating array of `shape` (None: any size); its values finite if concrete.

    `remedy` says what to do about values that are not.
    """
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(name, value, "is not an array", "pass numbers") from error
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise InvalidArgument(
            name, value, f"has dtype {array.dtype}", "pass real floating-point numbers"
        )
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(float)
    matches = len(shape) == array.ndim and all(
        want is None or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if not matches or 0 in array.shape:
        sizes = ["any" if n is None else str(n) for n in shape]
        wanted = f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"
        raise InvalidArgument(
            name, value, f"has shape {array.shape}", f"pass an array of shape {wanted}, none empty"
        )
    values = concrete(array)
    if values is not None and not np.all(np.isfinite(values)):
        bad = np.argwhere(~np.isfinite(values))[0]
        raise InvalidArgument(
            name,
            value,
            f"is not finite at index {tuple(map(int, bad))}" if array.ndim else "is not finite",
            remedy,
        )
    return array


def as_count(name: str, value: Any) -> int:
    """`value` as an integer of at least 1, known before compilation."""
    if isinstance(value, Tracer):
        raise InvalidArgument(name, value, "is traced", "pass a plain integer: it sets a shape")
    try:
        count = operator.index(value)
    except TypeError:
        raise InvalidArgument(name, value, "is not an integer", "pass an integer >= 1") from None
    if isinstance(value, bool) or count < 1:
        raise InvalidArgument(name, value, "is not a count", "pass an integer >= 1")
    return count


def check_single(name: str, value: Any, remedy: str) -> None:
    """Refuse an array where one number is meant; it would broadcast without a word."""
    if np.ndim(value) != 0:
        raise InvalidArgument(name, value, "is not a single number", remedy)


def check_positive(name: str, value: Any) -> None:
    """Refuse concrete values that are not finite numbers above zero."""
    values = concrete(value)
    if values is None:
        return
    if values.dtype.kind not in "fiu" or not np.all(np.isfinite(values) & (values > 0)):
        raise InvalidArgument(
            name, value, "must be positive and finite", "pass a number above 0, such as 1.0"
        )


def check_extrapolation(value: Any, unrestricted: bool, name: str = "alpha") -> None:
    """Refuse a concrete extrapolation outside [0, 1) unless the caller asked for any number."""
    values = concrete(value)
    if values is None:
        return
    if values.dtype.kind not in "fiu" or not np.all(np.isfinite(values)):
        raise InvalidArgument(name, value, "is not finite", f"pass {name} in [0, 1)")
    if not unrestricted and not np.all((values >= 0) & (values < 1)):
        way_out = (
            ", or unrestricted=True if that is the experiment" if name.startswith("alpha") else ""
        )
        raise InvalidArgument(name, value, "lies outside [0, 1)", f"pass {name} in [0, 1){way_out}")


def check_key(name: str, key: Any, iterations: int | None = None) -> None:
    """Refuse what is not one key of the new style (an old one is a plain array of integers).

    With `iterations`, that many keys will do as well.
    """
    remedy = f"pass {name}=jax.random.key(seed)"
    if not (hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise InvalidArgument(name, key, "is no random key", remedy)
    if key.shape != () and key.shape != (iterations,):
        raise InvalidArgument(name, key, "is several keys", f"{remedy}, or jax.vmap over the keys")


def tolerance(dtype: Any) -> float:
    """How far a sum of probabilities may be from one: the square root of the rounding unit."""
    return math.sqrt(float(jnp.finfo(dtype).eps)) * 10
