"""What a policy is: a pure pair (init, log_prob)."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Key

from apo_sim.problems import LogPolicy

Params = Any


@runtime_checkable
class Policy(Protocol):
    """A parameterised policy over a set of actions small enough to enumerate.

    It is a pytree of what does not learn (features, places of actions); the parameters are
    another pytree, which momentum rules and optimisers work on.
    """

    def init(self, key: Key[Array, ""]) -> Params:
        """Random parameters."""
        ...

    def log_prob(self, params: Params) -> LogPolicy:
        """log pi(y | x) of every action in every context, shape (contexts, arms), normalised."""
        ...
