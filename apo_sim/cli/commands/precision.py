"""Double precision, also where JAX was imported before the command began."""

import jax


def float64() -> None:
    """Make JAX count in double precision."""
    jax.config.update("jax_enable_x64", True)
