"""A fully connected network that scores actions by where they are."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from apo_sim.checks import as_count, as_float
from apo_sim.errors import UnknownName
from apo_sim.policies.base import Params
from apo_sim.problems import LogPolicy
from apo_sim.pytree import pytree_dataclass, static

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
}


@pytree_dataclass
class MLP:
    """softmax over actions of what a fully connected network makes of their coordinates.

    Weights start as He's normal for relu and gelu and LeCun's for tanh, biases at zero; the
    parameters are a list of layers, each a dict of `weight` (from, to) and `bias` (to,).

    Args:
        actions: coordinates, shape (contexts, arms, dimension); in their precision it computes.
        width: units in a hidden layer.
        depth: hidden layers; 1 is what theory calls a two-layer network.
        activation: "relu", "tanh" or "gelu".

    Raises:
        InvalidArgument: coordinates of another shape or not finite, sizes that are no counts.
        UnknownName: another activation.

    Source: the reviews' simulation (two layers, width 256).

    Example:
        >>> policy = MLP(jnp.array([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]), width=8)
        >>> policy.log_prob(policy.init(jax.random.key(0))).shape
        (1, 3)
    """

    actions: Float[Array, "contexts arms dimension"]
    width: int = static(default=256)
    depth: int = static(default=1)
    activation: str = static(default="relu")

    def __post_init__(self):
        as_count("width", self.width)
        as_count("depth", self.depth)
        if self.activation not in ACTIVATIONS:
            raise UnknownName("activation", self.activation, ACTIVATIONS)
        object.__setattr__(self, "actions", as_float("actions", self.actions, (None, None, None)))

    def init(self, key: Key[Array, ""]) -> Params:
        sizes = [self.actions.shape[2], *[self.width] * self.depth, 1]
        gain = 1.0 if self.activation == "tanh" else 2.0
        dtype = self.actions.dtype
        layers = []
        for key_of, size, to in zip(
            jax.random.split(key, len(sizes) - 1), sizes[:-1], sizes[1:], strict=True
        ):
            # The output layer follows no activation of its own.
            scale = ((gain if to != 1 else 1.0) / size) ** 0.5
            weight = scale * jax.random.normal(key_of, (size, to), dtype)
            layers.append({"weight": weight, "bias": jnp.zeros(to, dtype)})
        # A constant added to every logit says nothing.
        del layers[-1]["bias"]
        return layers

    def log_prob(self, params: Params) -> LogPolicy:
        activate = ACTIVATIONS[self.activation]
        hidden = self.actions
        for layer in params[:-1]:
            hidden = activate(hidden @ layer["weight"] + layer["bias"])
        return jax.nn.log_softmax((hidden @ params[-1]["weight"])[..., 0], axis=1)
