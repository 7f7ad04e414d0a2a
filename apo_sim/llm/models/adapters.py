"""Low-rank adapters in a network: which weights have them, and what those amount to."""

from typing import Any

import jax
import jax.numpy as jnp

from apo_sim.llm.models.stored_parameters import named

DOWN, UP = "_lora_a", "_lora_b"


def adapted(network: Any) -> list[str]:
    """Names of the weights that have adapters."""
    return [name.removesuffix(DOWN) for name, _ in named(network) if name.endswith(DOWN)]


def trained(network: Any) -> list[str]:
    """Names of the factors B, the only ones that training and momentum move."""
    return [name + UP for name in adapted(network)]


def effective(weights: dict[str, Any], name: str) -> jax.Array:
    """What a weight amounts to with its adapter, in single precision; itself if it has none.

    Args:
        weights: parameters of the network by name.
        name: of the weight.
    """
    base = weights[name].get_value()
    if name + UP not in weights:
        return base
    down, up = weights[name + DOWN], weights[name + UP]
    return _sum(base, down.get_value(), up.get_value(), up.get_metadata()["share"])


@jax.jit
def _sum(base: Any, down: Any, up: Any, share: Any) -> Any:
    change = jnp.tensordot(down, up, 1, precision="highest")
    return base.astype(jnp.float32) + share * change.reshape(base.shape)
