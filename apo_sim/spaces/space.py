"""What a space is: what the tree is that momentum works on, and how it becomes a policy again."""

from typing import Any, Protocol, runtime_checkable

import jax

from apo_sim.geometry import Geometry
from apo_sim.momentum import Momentum
from apo_sim.policies import Policy
from apo_sim.problems import LogPolicy

Params = Any
State = Any


def log_policy_of(policy: Policy, params: Params, offset: LogPolicy) -> LogPolicy:
    """log softmax(network + offset), in the precision of the offset, shape (contexts, arms)."""
    return jax.nn.log_softmax(policy.log_prob(params).astype(offset.dtype) + offset, axis=1)


@runtime_checkable
class Space(Protocol):
    """A pure pair (init, extrapolate), as a momentum rule is, for a network with an offset."""

    def init(
        self,
        policy: Policy,
        momentum: Momentum,
        params: Params,
        offset: LogPolicy,
        geometry: Geometry,
    ) -> State:
        """State of the rule before the first update."""
        ...

    def extrapolate(
        self,
        policy: Policy,
        momentum: Momentum,
        params: Params,
        offset: LogPolicy,
        state: State,
        t: Any,
        geometry: Geometry,
    ) -> tuple[Params, LogPolicy, State]:
        """From the network trained in update t = 1, 2, ... to that of the proximal centre."""
        ...
