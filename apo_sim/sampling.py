"""Counts from their multinomial law, at a cost that does not depend on how many."""

import jax
from jaxtyping import Array, Float, Key


def multinomial(
    key: Key[Array, ""], total: Float[Array, ""], probs: Float[Array, " cells"]
) -> Float[Array, " cells"]:
    return jax.random.multinomial(key, total, probs)
