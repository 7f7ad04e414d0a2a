"""What the state of a method on a table is, where it is no more than a policy or two."""

from typing import Any

import jax
from jaxtyping import Array, Key

from apo_sim.problems import LogPolicy, Problem


class OnePolicy:
    """A method whose state is its policy, log pi_t, which also collects the next data."""

    def init(self, problem: Problem, key: Key[Array, ""] | None) -> Any:
        return jax.nn.log_softmax(problem.log_ref, axis=1)

    def policy(self, state: Any) -> LogPolicy:
        return state

    def behaviour(self, state: Any) -> LogPolicy:
        return self.policy(state)

    def moved(self, state: Any, log_policy: LogPolicy) -> Any:
        """The state with another policy in its place, see `Movable`."""
        return log_policy


class TwoPolicies:
    """A method whose state is the policy that is judged, and what the next data come from."""

    def init(self, problem: Problem, key: Key[Array, ""] | None) -> tuple[LogPolicy, LogPolicy]:
        log_ref = jax.nn.log_softmax(problem.log_ref, axis=1)
        return log_ref, log_ref

    def policy(self, state: Any) -> LogPolicy:
        return state[0]

    def behaviour(self, state: Any) -> LogPolicy:
        return state[1]

    def moved(self, state: Any, log_policy: LogPolicy) -> Any:
        """The state with another policy to collect the next data, see `Movable`."""
        return state[0], log_policy
