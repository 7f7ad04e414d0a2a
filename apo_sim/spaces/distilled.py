"""Momentum on the log-probabilities, and a network that learns the result."""

from typing import Any

import jax.numpy as jnp

from apo_sim.geometry import KL, Geometry
from apo_sim.momentum import Momentum
from apo_sim.policies import Policy
from apo_sim.problems import LogPolicy
from apo_sim.proximal.by_gradient import STEP, ByGradient
from apo_sim.pytree import pytree_dataclass
from apo_sim.spaces.log_probabilities import InLogProbabilities
from apo_sim.spaces.space import Params, State, log_policy_of


@pytree_dataclass
class Distilled:
    """The exact extrapolation, distilled into the network by minimising the KL divergence.

    Distillation starts from the trained network, and the run's `kl_to_exact` measures its error.
    The initial offset is kept.

    Args:
        step: how the network is trained to follow.

    Raises:
        InvalidArgument: a step that is no `ByGradient`.

    Source: ours; what (3.6) asks for where no offset can be stored.

    Example:
        >>> from apo_sim import Constant, SGD
        >>> from apo_sim.policies import Table
        >>> space, table, rule = Distilled(ByGradient(SGD(1.0), 200)), Table(1, 2), Constant(0.5)
        >>> old, new = jnp.zeros((1, 2)), jnp.array([[0.0, 1.0]])
        >>> state = space.init(table, rule, old, old)
        >>> params, _, _ = space.extrapolate(table, rule, new, old, state, 1)
        >>> round(float(params[0, 1] - params[0, 0]), 2)
        1.5
    """

    step: ByGradient = ByGradient()

    def __post_init__(self) -> None:
        STEP("step", self.step)

    def init(
        self,
        policy: Policy,
        momentum: Momentum,
        params: Params,
        offset: LogPolicy,
        geometry: Geometry = KL(),
    ) -> State:
        return InLogProbabilities().init(policy, momentum, params, offset, geometry)

    def extrapolate(
        self,
        policy: Policy,
        momentum: Momentum,
        params: Params,
        offset: LogPolicy,
        state: State,
        t: Any,
        geometry: Geometry = KL(),
    ) -> tuple[Params, LogPolicy, State]:
        _, exact, state = InLogProbabilities().extrapolate(
            policy, momentum, params, offset, state, t, geometry
        )
        target = log_policy_of(policy, params, exact)

        def divergence(params: Any, number: Any) -> Any:
            learned = log_policy_of(policy, params, offset)
            return jnp.sum(jnp.exp(target) * (target - learned))

        params, _, _ = self.step.minimise(divergence, params, None)
        return params, offset, state
