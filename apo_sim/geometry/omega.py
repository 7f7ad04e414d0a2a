"""The Wright omega function: f'(u) = u + log u and its inverse, behind chi-square with KL."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Halley's steps from either end's leading term to the last digit of double precision.
_STEPS = 3
# Below this, exp(y) is beyond the last digit of y in double precision.
_LEAST = -45.0


@jax.custom_jvp
def log_omega(y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log u where u + log u = y: the logarithm of the Wright omega function.

    Source: Corless and Jeffrey (2002); Halley's method on exp(v) + v = y, from the leading term on
    either side of y = 1.

    Example:
        >>> import jax.numpy as jnp
        >>> log_omega(jnp.array([1.0, jnp.e + 1.0])).round(6).tolist()
        [0.0, 1.0]
    """
    inside = jnp.maximum(y, _LEAST)
    v = jnp.where(inside <= 1.0, inside, jnp.log(jnp.maximum(inside, 1.0)))
    for _ in range(_STEPS):
        u = jnp.exp(v)
        newton = (u + (v - inside)) / (u + 1.0)
        v = v - newton / (1.0 - 0.5 * newton * (u / (u + 1.0)))
    return jnp.where(y < _LEAST, y, v)


@log_omega.defjvp
def _log_omega_jvp(primals, tangents):
    v = log_omega(*primals)
    return v, tangents[0] / (1.0 + jnp.exp(v))


@dataclasses.dataclass(frozen=True)
class Omega:
    """f'(u) = u + log u, as a function of log u."""

    def score(self, log_ratio: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """f'(u)."""
        return jnp.exp(log_ratio) + log_ratio

    def log_ratio(self, score: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """log u where f'(u) is what is given."""
        return log_omega(score)

    def below(self, place: Array, gap: Array) -> tuple[Array, Array]:
        """log u where f'(u) = `place` - gap, and how fast it moves with the place."""
        log_ratio = log_omega(place - gap)
        return log_ratio, 1.0 / (1.0 + jnp.exp(log_ratio))

    def log_elasticity(self, log_ratio: Array) -> Array:
        """log of d log u / d f'(u) = 1 / (1 + u)."""
        return -jax.nn.softplus(log_ratio)

    def log_pace(self, place: Array) -> Array:
        """log 1: a place is an f' itself."""
        return jnp.zeros_like(place)
