"""A fully connected network that scores actions by where they are."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from apo_sim.checks import as_count, as_float, one_of
from apo_sim.policies.policy import Params
from apo_sim.problems import LogPolicy
from apo_sim.pytree import pytree_dataclass, static

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
}

Layer = dict[str, Array]


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
        InvalidArgument: coordinates of another shape or not finite, sizes that are not counts.
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

    def __post_init__(self) -> None:
        check_layers(self.width, self.depth, self.activation)
        object.__setattr__(self, "actions", as_float("actions", self.actions, (None, None, None)))

    def init(self, key: Key[Array, ""]) -> Params:
        sizes = [self.actions.shape[2], *[self.width] * self.depth, 1]
        layers = new_layers(key, sizes, self.activation, self.actions.dtype)
        # A constant added to every logit says nothing.
        del layers[-1]["bias"]
        return layers

    def log_prob(self, params: Params) -> LogPolicy:
        contexts, arms, dimension = self.actions.shape
        # All actions in one matrix: of three dimensions, XLA copies the gradient transposed.
        inputs = self.actions.reshape(contexts * arms, dimension)
        hidden = hidden_layers(params, inputs, ACTIVATIONS[self.activation])
        logits = (hidden @ params[-1]["weight"]).reshape(contexts, arms)
        return jax.nn.log_softmax(logits, axis=1)


def check_layers(width: Any, depth: Any, activation: Any) -> None:
    """Refuse sizes that are no counts, and functions that nobody knows."""
    as_count("width", width)
    as_count("depth", depth)
    one_of(ACTIVATIONS)("activation", activation)


def new_layers(key: Any, sizes: Sequence[int], activation: str, dtype: Any) -> list[Layer]:
    """Random weights, scaled to the activation that follows them, and biases of zero."""
    layers: list[Layer] = []
    keys = jax.random.split(key, len(sizes) - 1)
    for number, (of_layer, size, to) in enumerate(zip(keys, sizes[:-1], sizes[1:], strict=True)):
        gain = 1.0 if activation == "tanh" or number == len(sizes) - 2 else 2.0
        weight = (gain / size) ** 0.5 * jax.random.normal(of_layer, (size, to), dtype)
        layers.append({"weight": weight, "bias": jnp.zeros(to, dtype)})
    return layers


def hidden_layers(params: Params, inputs: Array, activate: Callable[[Any], Any]) -> Array:
    """What the layers before the last make of the inputs."""
    for layer in params[:-1]:
        inputs = activate(inputs @ layer["weight"] + layer["bias"])
    return inputs
