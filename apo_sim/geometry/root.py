"""The normaliser of a policy: one monotone root a context, and its derivatives."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Terms = Float[Array, "*contexts arms"]
PerContext = Float[Array, "*contexts"]
Result = TypeVar("Result")

# Bisection alone closes any bracket of floats in so many steps; Newton's steps come to a few.
_STEPS = 100


@runtime_checkable
class Curve(Protocol):
    """f', increasing, of a ratio u that is given and wanted as its logarithm; -inf at u = 0.

    One number a context says where its arms stand on the curve; which number, is up to the curve.
    """

    def below(self, place: Array, gap: Array) -> tuple[Array, Array]:
        """log u where f'(u) lies `gap` below that of the place, and d log u / d place."""
        ...

    def log_elasticity(self, log_ratio: Array) -> Array:
        """log of d log u / d f'(u)."""
        ...

    def log_pace(self, place: Array) -> Array:
        """log of d place / d f'."""
        ...


def _of_a_curve(function: Callable[..., Result]) -> jax.custom_jvp[Result]:
    """`jax.custom_jvp` of all arguments but the first."""
    return jax.custom_jvp(function, nondiff_argnums=(0,))


@_of_a_curve
def level(
    curve: Curve,
    log_base: Terms,
    gaps: Terms,
    log_mass: PerContext,
    low: PerContext,
    start: PerContext,
    high: PerContext,
) -> tuple[PerContext, Terms]:
    """The ratios u_y, in logarithms, with sum_y base_y u_y = mass, each by its gap below a place.

    Args:
        curve: f'.
        log_base: logarithms of the weights of the arms, shape (..., arms).
        gaps: how far each arm's f'(u) lies below that of the place, shape (..., arms).
        log_mass: logarithm of the total, shape (...,).
        low: a place too low, or right, shape (...,).
        start: a guess in between, shape (...,).
        high: a place too high, or right, shape (...,).

    Returns:
        The place, shape (...,), and log u_y, shape (..., arms).
    """
    unit = jnp.finfo(gaps.dtype).eps
    finite_gaps = jnp.minimum(jnp.abs(gaps), jnp.finfo(gaps.dtype).max)

    ones = jnp.ones(gaps.shape[-1], gaps.dtype)

    def missing(place):
        log_ratio, speed = curve.below(place[..., None], gaps)
        # Shares of the mass; products with ones, because a reduction along the last axis is slow.
        shares = jnp.exp(log_base + log_ratio - log_mass[..., None])
        total = shares @ ones
        slope = ((shares * speed) @ ones) / total
        # What each arm's logarithm is a sum of, in whose last digits the mass is uncertain.
        of_gap = speed * _exp(curve.log_pace(place))[..., None] * finite_gaps
        sizes = jnp.abs(log_ratio) + jnp.abs(log_base) + of_gap
        size = (jnp.where(shares > 0, shares * sizes, 0.0) @ ones) / total
        return jnp.log(total), slope, unit * (1.0 + size + slope * jnp.abs(place))

    place = increasing_root(missing, low, start, high)
    return place, curve.below(place[..., None], gaps)[0]


@level.defjvp
def _level_jvp(curve: Curve, primals: Any, tangents: Any) -> Any:
    """The implicit function's derivative, in terms of the function itself: so is the next one."""
    log_base, _, log_mass, *_ = primals
    d_log_base, d_gaps, d_log_mass, *_ = tangents
    place, log_ratio = level(curve, *primals)
    log_elasticity = curve.log_elasticity(log_ratio)
    log_terms = log_base + log_ratio
    log_weights = log_terms + log_elasticity
    peak = jnp.max(log_weights, axis=-1, keepdims=True)
    weights = jnp.exp(log_weights - peak)
    added = jnp.exp(log_mass) * d_log_mass - jnp.sum(jnp.exp(log_terms) * d_log_base, axis=-1)
    raised = jnp.sum(weights * d_gaps, axis=-1) + added * jnp.exp(-peak[..., 0])
    raised = raised / jnp.sum(weights, axis=-1)
    d_place = _exp(curve.log_pace(place)) * raised
    return (place, log_ratio), (d_place, _exp(log_elasticity) * (raised[..., None] - d_gaps))


def _exp(exponent: Array) -> Array:
    """An exponential whose products stay within the range of floats."""
    return jnp.exp(jnp.minimum(exponent, 0.5 * jnp.log(jnp.finfo(exponent.dtype).max)))


def increasing_root(
    function: Callable[[Array], tuple[Array, Array, Array]], low: Array, start: Array, high: Array
) -> Array:
    """Where an increasing function is zero, element by element.

    Newton's method, with bisection wherever it would leave the bracket or is slow.

    Args:
        function: value, slope and how uncertain the value is, each of its argument's shape.
        low: where the function is at most 0.
        start: in between.
        high: where the function is at least 0.

    Example:
        >>> import jax.numpy as jnp
        >>> square = lambda x: (x * x - 2.0, 2.0 * x, jnp.array(1e-6))
        >>> round(float(increasing_root(square, *jnp.array([0.0, 1.0, 9.0]))), 4)
        1.4142
    """
    unit = jnp.finfo(low.dtype).eps

    def unfinished(state):
        *_, going, count = state
        return (count < _STEPS) & jnp.any(going)

    def improve(state):
        x, low, high, last, going, count = state
        value, slope, noise = function(x)
        low, high = jnp.where(value < 0, x, low), jnp.where(value > 0, x, high)
        newton = x - value / slope
        # Worded so that NaN is not trusted: bisection goes on where a value leaves the floats.
        inside = (newton >= low) & (newton <= high)
        fast = 2.0 * jnp.abs(value) <= jnp.abs(last * slope)
        step = jnp.where(inside & fast, newton, _middle(low, high)) - x
        going = going & ~(jnp.abs(value) <= noise)
        x = jnp.where(going, x + step, x)
        large = jnp.abs(step) > unit * jnp.maximum(jnp.abs(x), 1.0)
        return x, low, high, step, going & large, count + 1

    # An end of the bracket may be the root, but for rounding.
    slack = 8.0 * unit
    low, high = low - slack * (1.0 + jnp.abs(low)), high + slack * (1.0 + jnp.abs(high))
    first = (jnp.clip(start, low, high), low, high, high - low, jnp.ones(low.shape, bool), 0)
    return jax.lax.while_loop(unfinished, improve, first)[0]


def _middle(low: Array, high: Array) -> Array:
    """Half of a bracket in so many digits: one that reaches down to -1e300 closes as well."""
    size = jnp.sqrt(1.0 + jnp.abs(low)) * jnp.sqrt(1.0 + jnp.abs(high)) - 1.0
    return jnp.where(low < 0, jnp.where(high > 0, 0.0, -size), size)
