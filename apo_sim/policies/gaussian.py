"""A network that says where a Gaussian policy stands and how wide it is."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from apo_sim.checks import as_float
from apo_sim.policies.mlp import ACTIVATIONS, check_layers, hidden_layers, new_layers
from apo_sim.policies.policy import Params
from apo_sim.problems import LogPolicy
from apo_sim.pytree import pytree_dataclass, static


@pytree_dataclass
class Gaussian:
    """A diagonal Gaussian over actions, its mean and log-widths the output of a network.

    The network sees a constant, since there is nothing to see; its density is taken at a set of
    actions and normalised over them. It stands for the policies of continuous control.

    Args:
        actions: coordinates, shape (contexts, arms, dimension).
        width: units in a hidden layer.
        depth: hidden layers.
        activation: "relu", "tanh" or "gelu".

    Raises:
        InvalidArgument: coordinates of another shape or not finite, sizes that are not counts.
        UnknownName: another activation.

    Source: ours, for the reviews' simulation, which does not say what its policy is.

    Example:
        >>> policy = Gaussian(jnp.array([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]), width=8)
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
        sizes = [1, *[self.width] * self.depth, 2 * self.actions.shape[2]]
        return new_layers(key, sizes, self.activation, self.actions.dtype)

    def log_prob(self, params: Params) -> LogPolicy:
        one = jnp.ones((1, 1), self.actions.dtype)
        hidden = hidden_layers(params, one, ACTIVATIONS[self.activation])
        mean, log_width = jnp.split(hidden @ params[-1]["weight"] + params[-1]["bias"], 2, axis=1)
        distance = (self.actions - mean) * jnp.exp(-log_width)
        return jax.nn.log_softmax(-0.5 * jnp.sum(distance**2, axis=-1), axis=1)
