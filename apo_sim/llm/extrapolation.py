"""Momentum on a transformer's parameters: one by one, in place, its memory on the host."""

import functools
from typing import Any

import jax

from apo_sim.llm.parameters import named, to_device, to_host
from apo_sim.momentum import Momentum
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
        self.momentum, self.names = momentum, names
        self.state = {
            name: to_host(momentum.init(leaf.get_value()))
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


@functools.partial(jax.jit, donate_argnames=("state",))
def _extrapolate(momentum: Any, new: Any, state: Any, t: Any) -> Any:
    return like(revealed(momentum).extrapolate(new, state, t), (new, state))
