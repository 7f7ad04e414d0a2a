"""Momentum on the log-probabilities: exact, and what a table has."""

from typing import Any

from apo_sim.geometry import KL, Geometry
from apo_sim.momentum import Momentum
from apo_sim.policies import Policy
from apo_sim.problems import LogPolicy
from apo_sim.pytree import like, pytree_dataclass
from apo_sim.spaces.space import Params, State, log_policy_of


@pytree_dataclass
class InLogProbabilities:
    """log pi_t = log pi_hat_t + alpha (log pi_hat_t - log pi_hat_{t-1}), exactly.

    The trained network is left unchanged, and the effect of momentum is stored beside it as an
    offset, one number per action. For sequences, this extrapolates whole sequences and normalises
    over all of them.

    Source: the paper's (3.6).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from apo_sim import Constant
        >>> from apo_sim.policies import Table
        >>> space, table, rule = InLogProbabilities(), Table(1, 2), Constant(0.5)
        >>> old, new = jnp.zeros((1, 2)), jnp.array([[0.0, 1.0]])
        >>> state = space.init(table, rule, old, old)
        >>> params, offset, _ = space.extrapolate(table, rule, new, old, state, 1)
        >>> after = jax.nn.log_softmax(table.log_prob(params) + offset)
        >>> round(float(after[0, 1] - after[0, 0]), 4)
        1.5
    """

    def init(
        self,
        policy: Policy,
        momentum: Momentum,
        params: Params,
        offset: LogPolicy,
        geometry: Geometry = KL(),
    ) -> State:
        return momentum.init(geometry.dual(log_policy_of(policy, params, offset)))

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
        trained = geometry.dual(log_policy_of(policy, params, offset))
        extrapolated, state = like(momentum.extrapolate(trained, state, t), (trained, state))
        behaviour = geometry.policy(extrapolated)
        return params, behaviour - policy.log_prob(params), state
