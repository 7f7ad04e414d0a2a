"""Momentum and ExPO on a transformer's parameters: one by one, in place, memory on the host."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.checks import NON_NEGATIVE
from apo_sim.errors import InvalidArgument
from apo_sim.llm.models.loading import Model
from apo_sim.llm.models.stored_parameters import named, to_device, to_host
from apo_sim.momentum import Momentum, step_beyond
from apo_sim.pytree import hidden, like, revealed


class Extrapolator:
    """A momentum rule of the library on the parameters of a network.

    Rules act on every leaf of a tree alike, so each parameter is extrapolated on its own: the
    device holds a few copies of one parameter, never two networks. What the rule remembers (for
    extrapolation pi_hat_t) stays in the host's memory, sharded as the parameter is.

    Args:
        network: at the reference policy.
        momentum: any of `apo_sim.momentum`.
        names: parameters that are extrapolated; None: all.

    Source: the paper's section 5.2, (3.7) on parameters.

    Example:
        >>> from apo_sim import Constant
        >>> from flax import nnx
        >>> network = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
        >>> old = network.kernel.get_value()
        >>> extrapolator = Extrapolator(network, Constant(0.5))
        >>> network.kernel.set_value(old + 1.0)
        >>> extrapolator.extrapolate(network, 1)
        >>> float((network.kernel.get_value() - old).mean())
        1.5
    """

    def __init__(self, network: Any, momentum: Momentum, names: list[str] | None = None):
        self.momentum: Momentum = jax.tree.map(_single, momentum)
        self.names: list[str] | None = names
        self.state: dict[str, Any] = {
            name: to_host(self.momentum.init(leaf.get_value()))
            for name, leaf in self._parameters(network)
        }

    def extrapolate(self, network: Any, t: int) -> None:
        """From pi_hat_t (t = 1, 2, ...) to pi_t, in place."""
        for name, leaf in self._parameters(network):
            new = leaf.get_value()
            state = to_device(self.state[name])
            extrapolated, state = _extrapolate(hidden(self.momentum), new, state, t)
            leaf.set_value(extrapolated)
            self.state[name] = to_host(state)

    def _parameters(self, network: Any) -> list[tuple[str, Any]]:
        return [(n, leaf) for n, leaf in named(network) if self.names is None or n in self.names]


def _single(leaf: Any) -> Any:
    """Numbers of a rule made in double precision, which transformers are not computed in."""
    wide = isinstance(leaf, jax.Array) and leaf.dtype == jnp.float64
    return jnp.asarray(np.asarray(leaf), jnp.float32) if wide else leaf


@functools.partial(jax.jit, donate_argnames=("state",))
def _extrapolate(momentum: Any, new: Any, state: Any, t: Any) -> Any:
    return like(revealed(momentum).extrapolate(new, state, t), (new, state))


def expo(model: Model, reference: Model, weight: float = 0.3) -> Model:
    """ExPO: parameters go on beyond the model by weight times its way from the reference.

    One step of (3.7) at the end of a run, against the policy that the run began with. A model with
    adapters is merged first, by `apo_sim.llm.save`.

    Args:
        model: what a run has come to; changed in place.
        reference: what it began with, of the same parameters.
        weight: alpha of ExPO, at least 0.

    Raises:
        InvalidArgument: a weight below 0, a reference with other parameters.

    Source: Zheng et al. (2024), "Model extrapolation expedites alignment", equation (2).

    Example:
        >>> from apo_sim.llm.models import tiny
        >>> model = expo(tiny.model(1, num_layers=1), tiny.model(0, num_layers=1), 0.5)
        >>> model.parameters
        2992
    """
    NON_NEGATIVE.one()("weight", weight)
    values = {name: leaf.get_value() for name, leaf in named(reference.network)}
    shapes = {name: leaf.get_value().shape for name, leaf in named(model.network)}
    if shapes != {name: value.shape for name, value in values.items()}:
        raise InvalidArgument(
            "reference", reference.name, "has other parameters", "pass what the run began with"
        )
    go_beyond(model.network, values, weight)
    return model


def go_beyond(network: Any, reference: dict[str, Any], weight: float) -> None:
    """theta + weight (theta - theta_ref) of the parameters that the reference has, in place."""
    for name, leaf in named(network):
        if name in reference:
            leaf.set_value(_beyond(leaf.get_value(), to_device(reference[name]), weight))


@jax.jit
def _beyond(new: Any, old: Any, weight: Any) -> Any:
    return like(step_beyond(new, old, weight), new)
