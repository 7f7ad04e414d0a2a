"""Momentum on top of any method that goes on from the policy it collects its data with."""

from typing import Any

import jax
from jaxtyping import Array, Int, Key

from apo_sim.arguments import check_momentum
from apo_sim.checks import instance_of
from apo_sim.methods.method import ChecksItself, Method, Movable, Report
from apo_sim.methods.requests import Request
from apo_sim.momentum import Constant, Momentum
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass

MOVABLE = instance_of(
    Movable,
    "has no policy that momentum could extrapolate",
    "pass an instance such as NPG(); Proximal has its own momentum",
)


@pytree_dataclass
class AcceleratedState:
    """Where it stands. X contexts, K arms.

    Attributes:
        method: state of the method, its policy moved to where the momentum leads.
        momentum: state of the rule.
        log_policy: what is judged, the policy before it was moved, shape (X, K).
    """

    method: Any
    momentum: Any
    log_policy: LogPolicy


@pytree_dataclass
class Accelerated:
    """log pi_{t+1} = extrapolation of what one step of the method makes of pi_t.

    The rule acts on log-probabilities of the policy that collects the next data, from which the
    next step sets out; the policy that is judged is the one before the extrapolation. For `NPG`
    with the true reward it is the paper's method. Where a method fits its policy anew to all data,
    such as `RLHF` and `XPO`, momentum changes only who collects them.

    Args:
        method: what is accelerated.
        momentum: the rule, see `apo_sim.momentum`.

    Raises:
        InvalidArgument: a method that momentum could not move, something that is no rule.

    Source: ours, after the paper's equation (3.6).

    Example:
        >>> import apo_sim as apo, jax.numpy as jnp
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> method = Accelerated(apo.methods.NPG(), apo.Constant(0.5))
        >>> solution = apo.solve(bandit, method, iterations=3)
        >>> [round(float(gap), 3) for gap in solution.suboptimality]
        [0.269, 0.076, 0.014]
    """

    method: Method
    momentum: Momentum = Constant(0.3)

    def __post_init__(self) -> None:
        MOVABLE("method", self.method)
        check_momentum(self.momentum)

    @property
    def request(self) -> Request:
        return self.method.request

    def check(self, problem: Problem, iterations: int, samples: Any, first: int | None) -> None:
        check_momentum(self.momentum, iterations, first)
        if isinstance(self.method, ChecksItself):
            self.method.check(problem, iterations, samples, first)

    def init(self, problem: Problem, key: Key[Array, ""] | None) -> AcceleratedState:
        start = self.method.init(problem, key)
        rule = self.momentum.init(self.method.behaviour(start))
        return AcceleratedState(start, rule, self.method.policy(start))

    def step(
        self, problem: Problem, state: AcceleratedState, data: Any, t: Int[Array, ""]
    ) -> tuple[AcceleratedState, Report]:
        new, report = self.method.step(problem, state.method, data, t)
        beyond, rule = self.momentum.extrapolate(self.method.behaviour(new), state.momentum, t + 1)
        judged = self.method.policy(new)
        moved = self.method.moved(new, jax.nn.log_softmax(beyond, axis=1))  # type: ignore[attr-defined]
        return AcceleratedState(moved, rule, judged), report

    def policy(self, state: AcceleratedState) -> LogPolicy:
        return state.log_policy

    def behaviour(self, state: AcceleratedState) -> LogPolicy:
        return self.method.behaviour(state.method)
