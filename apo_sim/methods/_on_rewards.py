"""What methods that optimise a reward on a table have in common."""

import dataclasses
from typing import Any, ClassVar

import jax
from jaxtyping import Array, Int, Key

from apo_sim.checks import Real
from apo_sim.errors import InvalidArgument
from apo_sim.methods._schedules import as_schedule, check_length
from apo_sim.methods.method import Report
from apo_sim.methods.requests import Request
from apo_sim.methods.reward_sources import REWARD_SOURCE
from apo_sim.preferences.scored import Scored
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass


@pytree_dataclass
class RewardState:
    """Where such a method stands. X contexts, K arms.

    Attributes:
        source: state of the source of rewards.
        log_policy: log pi_t, shape (X, K).
    """

    source: Any
    log_policy: LogPolicy


class OnRewards:
    """A method with a `source` of rewards, which draws its data from its own policy."""

    source: Any
    schedules: ClassVar[dict[str, Real]] = {}
    """Fields that may change from one iteration to the next, each with its range."""

    needs_own_responses: ClassVar[bool] = False
    """Whether the data must be responses of the behaviour policy."""

    def __post_init__(self) -> None:
        for name, kind in self.schedules.items():
            object.__setattr__(self, name, as_schedule(name, getattr(self, name), kind))
        REWARD_SOURCE("source", self.source)

    @property
    def request(self) -> Request:
        return self.source.request

    def check(self, problem: Problem, iterations: int, samples: Any, first: int | None) -> None:
        for name in self.schedules:
            check_length(name, getattr(self, name), iterations, first)
        self.source.check(problem)
        if self.needs_own_responses and not self.source.on_policy:
            raise InvalidArgument(
                "source",
                self.source,
                "samples responses that do not come from the policy",
                "sample both responses of a pair from the policy: ranker=Pairwise()",
            )

    def init(self, problem: Problem, key: Key[Array, ""] | None) -> Any:
        log_ref = jax.nn.log_softmax(problem.log_ref, axis=1)
        return RewardState(self.source.init(problem), log_ref)

    def step(
        self, problem: Problem, state: Any, data: Any, t: Int[Array, ""]
    ) -> tuple[Any, Report]:
        source, scored = self.source.learn(problem, state.source, data, t)
        log_policy = self._improve(problem, state.log_policy, scored, data, t)
        new = dataclasses.replace(state, source=source, log_policy=log_policy)
        return new, Report(rewards=scored.advantage)

    def _improve(
        self, problem: Problem, log_policy: LogPolicy, scored: Scored, data: Any, t: Int[Array, ""]
    ) -> LogPolicy:
        """log pi_{t+1}, from log pi_t and what was learned in iteration t."""
        raise NotImplementedError

    def policy(self, state: Any) -> LogPolicy:
        return state.log_policy

    def behaviour(self, state: Any) -> LogPolicy:
        return state.log_policy

    def moved(self, state: Any, log_policy: LogPolicy) -> Any:
        """The state with another policy in its place, see `Movable`."""
        return dataclasses.replace(state, log_policy=log_policy)
