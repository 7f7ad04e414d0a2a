"""Divergences arm by arm, of the power family and of squares, that never cancel."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

Terms = Float[Array, "*contexts arms"]

# Nearer to one than this, a ratio's divergence is summed up as a series in its logarithm.
_NEAR = 0.5
_ORDER = 17


def excess(log_base: Terms, log_lifted: Terms, log_ratio: Terms, power: float) -> Terms:
    """base (u - 1 - (u^q - 1)/q) / (1 - q), at least 0, for u = exp(log_ratio).

    Its limits are u log u - u + 1 at q = 1, which makes the KL divergence, and u - 1 - log u at
    q = 0, which makes Burg's.

    Args:
        log_base: logarithm of the factor, shape (..., arms); -inf for none.
        log_lifted: log_base + log_ratio, which the caller knows where both are infinite, too.
        log_ratio: log u.
        power: q, in [0, 1].
    """
    near = jnp.abs(log_ratio) < _NEAR
    d = jnp.where(near, log_ratio, 0.0)
    base, lifted = jnp.exp(log_base), jnp.exp(log_lifted)
    far = _far(base, lifted, log_base, log_lifted, jnp.where(near, 1.0, log_ratio), power)
    return jnp.where(near, base * _series(d, power), far)


def _series(d: Terms, power: float) -> Terms:
    """The sum of d^k / k! (1 + q + ... + q^(k-2)) from k = 2 on."""
    total = jnp.zeros_like(d)
    for k in range(_ORDER, 1, -1):
        total = total * d + sum(power**j for j in range(k - 1)) / math.factorial(k)
    return total * d * d


def _far(base, lifted, log_base, log_lifted, log_ratio, power):
    if power == 1.0:
        found = _times(lifted, log_ratio) - lifted + base
    elif power == 0.0:
        found = lifted - base - _times(base, log_ratio)
    else:
        little = jnp.abs(power * log_ratio) < 1.0
        small = base * jnp.expm1(jnp.where(little, power * log_ratio, 0.0))
        raised = jnp.exp((1.0 - power) * log_base + power * log_lifted)
        found = (lifted - base - jnp.where(little, small, raised - base) / power) / (1.0 - power)
    return jnp.where(lifted < jnp.inf, found, jnp.inf)


def _times(weight: Terms, factor: Terms) -> Terms:
    """A product in which no weight makes nothing of an infinite factor."""
    some = weight > 0
    return jnp.where(some, weight * jnp.where(some, factor, 0.0), 0.0)


def difference(log_policy: Terms, log_centre: Terms) -> Terms:
    """policy - centre, with all its digits where the two are close.

    Example:
        >>> import jax.numpy as jnp
        >>> difference(jnp.log(jnp.array([0.75])), jnp.log(jnp.array([0.25]))).round(3).tolist()
        [0.5]
    """
    apart = log_policy - log_centre
    near = jnp.abs(apart) < _NEAR
    small = jnp.exp(log_centre) * jnp.expm1(jnp.where(near, apart, 0.0))
    return jnp.where(near, small, jnp.exp(log_policy) - jnp.exp(log_centre))
