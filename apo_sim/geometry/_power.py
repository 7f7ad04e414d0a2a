"""The power family: f'(u) = (1 - u^-a) / a, behind Tsallis, Burg, alpha and forward KL."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class Power:
    """f'(u) = (1 - u^-a) / a, as a function of log u, with a in (0, 1]; log u itself at a = 0.

    Args:
        exponent: a.
    """

    exponent: float

    def score(self, log_ratio: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """f'(u)."""
        return -jnp.expm1(-self.exponent * log_ratio) / self.exponent

    def log_ratio(self, score: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """log u where f'(u) is what is given, below 1 / a."""
        return -jnp.log1p(-self.exponent * score) / self.exponent

    def below(self, place: Array, gap: Array) -> tuple[Array, Array]:
        """log u where f'(u) lies a gap of at least 0 below f' at log u = `place`, and d / d place.

        There u^-a is a sum of two terms above zero: of exp(-a place), and of a times the gap.
        """
        # Both over the first; over the least that floats can have, where that is less still.
        most = 0.8 * jnp.log(jnp.finfo(gap.dtype).max)
        scale = jnp.minimum(self.exponent * place, most)
        lifted = self.exponent * gap * jnp.exp(scale) + jnp.expm1(scale - self.exponent * place)
        some = gap > 0
        log_ratio = jnp.where(some, (scale - jnp.log1p(lifted)) / self.exponent, place)
        return log_ratio, jnp.where(
            some, jnp.exp(scale - self.exponent * place) / (1.0 + lifted), 1.0
        )

    def log_elasticity(self, log_ratio: Array) -> Array:
        """log of d log u / d f'(u) = u^a."""
        return self.exponent * log_ratio

    def log_pace(self, place: Array) -> Array:
        """The same: a place is the logarithm of a ratio."""
        return self.exponent * place
