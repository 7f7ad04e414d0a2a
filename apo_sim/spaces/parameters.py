"""Momentum on the parameters of the network."""

from typing import Any

from apo_sim.geometry import KL, Geometry
from apo_sim.momentum import Momentum
from apo_sim.policies import Policy
from apo_sim.problems import LogPolicy
from apo_sim.pytree import like, pytree_dataclass
from apo_sim.spaces.space import Params, State


@pytree_dataclass
class InParameters:
    """theta_t = theta_hat_t + alpha (theta_hat_t - theta_hat_{t-1}), as is done in practice.

    Source: the paper's section 5.2; equal to (3.6) for log-linear policies only (E3.6).

    Example:
        >>> import jax.numpy as jnp
        >>> from apo_sim import Constant
        >>> from apo_sim.policies import Table
        >>> space, table, rule = InParameters(), Table(1, 2), Constant(0.5)
        >>> old, new = jnp.zeros((1, 2)), jnp.ones((1, 2))
        >>> state = space.init(table, rule, old, old)
        >>> space.extrapolate(table, rule, new, old, state, 1)[0].tolist()
        [[1.5, 1.5]]
    """

    def init(
        self,
        policy: Policy,
        momentum: Momentum,
        params: Params,
        offset: LogPolicy,
        geometry: Geometry = KL(),
    ) -> State:
        return momentum.init(params)

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
        extrapolated, state = like(momentum.extrapolate(params, state, t), (params, state))
        return extrapolated, offset, state
