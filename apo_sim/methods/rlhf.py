"""RLHF in two stages: a reward model of labels, and the best policy for it near the reference."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from apo_sim.checks import as_flag, check_positive, check_single, instance_of
from apo_sim.methods._on_rewards import OnRewards, RewardState
from apo_sim.methods.reward_sources import FittedReward
from apo_sim.preferences.scored import Scored
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass, static

MODEL = instance_of(
    FittedReward, "is not a reward model fitted to labels", "pass FittedReward() of apo_sim.methods"
)


@pytree_dataclass
class RLHFState(RewardState):
    """Where it stands. X contexts, K arms.

    Attributes:
        log_behaviour: log of the policy that the next labels are drawn from, shape (X, K).
    """

    log_behaviour: LogPolicy


@pytree_dataclass
class RLHF(OnRewards):
    """pi_t = argmax <r_t, pi> - beta KL(pi || pi_ref), that is pi_t ~ pi_ref exp(r_t / beta).

    r_t is fitted to all labels so far. An arm of unknown reward counts as one of the mean reward.

    Args:
        beta: price of leaving the reference policy, above 0.
        source: the reward model, a `FittedReward`.
        online: draw the labels from pi_t; by default all come from the reference policy.

    Raises:
        InvalidArgument: a price that is not above 0, something that is no reward model or flag.

    Source: Ziegler et al. (2019), "Fine-tuning language models from human preferences"; the
        second stage solved exactly, as in Rafailov et al. (2023), equation (4).

    Example:
        >>> import apo_sim as apo
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> solution = apo.solve(bandit, RLHF(beta=0.5), iterations=1)
        >>> [round(float(p), 3) for p in jnp.exp(solution.final_log_policy[0])]
        [0.881, 0.119]
    """

    beta: float | Float[Array, ""] = 0.1
    source: FittedReward = FittedReward()
    online: bool = static(default=False)

    def __post_init__(self) -> None:
        check_single("beta", self.beta, "pass one number above 0")
        check_positive("beta", self.beta)
        MODEL("source", self.source)
        as_flag("online", self.online)

    def init(self, problem: Problem, key: Key[Array, ""] | None) -> RLHFState:
        start = super().init(problem, key)
        return RLHFState(start.source, start.log_policy, start.log_policy)

    def step(self, problem: Problem, state: Any, data: Any, t: Int[Array, ""]) -> tuple[Any, Any]:
        new, report = super().step(problem, state, data, t)
        if self.online:
            new = dataclasses.replace(new, log_behaviour=new.log_policy)
        return new, report

    def _improve(
        self, problem: Problem, log_policy: LogPolicy, scored: Scored, data: Any, t: Int[Array, ""]
    ) -> LogPolicy:
        beta = jnp.asarray(self.beta, log_policy.dtype)
        return jax.nn.log_softmax(problem.log_ref + scored.advantage / beta, axis=1)

    def behaviour(self, state: Any) -> LogPolicy:
        """log of the reference policy, or of the current one."""
        return state.log_behaviour

    def moved(self, state: Any, log_policy: LogPolicy) -> Any:
        """The state with another policy to collect the next labels, see `Movable`."""
        return dataclasses.replace(state, log_behaviour=log_policy)
