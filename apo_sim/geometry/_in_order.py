"""Sums over arms whose last bit does not depend on what stands beside them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def log_sum_exp(values: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """log sum exp along an axis; -inf where all are.

    A compiler adds up in whatever order suits the other axes, which changes the last bit with the
    number of problems. Here halves are added to each other, which leaves it no choice.

    Example:
        >>> round(float(log_sum_exp(jnp.log(jnp.array([1.0, 2.0, 4.0])), 0)), 6)
        1.94591
    """
    most = jax.lax.stop_gradient(jnp.max(values, axis=axis, keepdims=True))
    most = jnp.where(jnp.isfinite(most), most, 0.0)
    total = _sum(jnp.exp(values - most), axis)
    return jnp.log(total) + jnp.squeeze(most, axis)


def _sum(values: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    parts = jnp.moveaxis(values, axis, 0)
    while parts.shape[0] > 1:
        half = parts.shape[0] // 2
        added = parts[:half] + parts[half : 2 * half]
        parts = added if parts.shape[0] % 2 == 0 else jnp.concatenate([added, parts[2 * half :]])
    return parts[0]
