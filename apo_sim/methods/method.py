"""The interface of methods: a state, a step, the policies and a request for data."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Bool, Float, Int, Key

from apo_sim.methods.requests import Request
from apo_sim.problems import LogPolicy, PerContext, Problem
from apo_sim.pytree import pytree_dataclass

State = Any
Number = Float[Array, ""] | Int[Array, ""]


@pytree_dataclass
class Report:
    """What a step reports to the loop besides the state; every part is optional.

    Attributes:
        weights: the policy that the metrics look at, times `total`, shape (contexts, arms); None:
            the method's policy after the step. A method that has the exponentials at hand saves
            the loop its own.
        total: sum of the weights of each context, shape (contexts,); None: one.
        behaviour: the policy that collects the next data, shape (contexts, arms), where its gap
            is to be followed too.
        series: further numbers of this iteration, by name.
        rewards: what was learned, shape (contexts, arms), for ``save="path"``.
        sane: whether the step went well; where it did not, the run stays where it was. None: the
            method does not know, and what is not finite shows in the metrics.
    """

    weights: Float[Array, "contexts arms"] | None = None
    total: PerContext | None = None
    behaviour: Float[Array, "contexts arms"] | None = None
    series: dict[str, Number] | None = None
    rewards: Float[Array, "contexts arms"] | None = None
    sane: Bool[Array, ""] | None = None


@runtime_checkable
class Method(Protocol):
    """A method of preference optimisation, run by `apo_sim.solve`.

    Its settings are its fields, its state is any pytree of arrays; `init` and `step` are pure and
    traceable.
    """

    @property
    def request(self) -> Request:
        """The data that a step asks for, see `apo_sim.methods.requests`."""
        ...

    def init(self, problem: Problem, key: Key[Array, ""] | None, /) -> State:
        """The state before the first iteration, at the reference policy of the problem.

        The key is None but for a method that `BeginsAtRandom`.
        """
        ...

    def step(
        self, problem: Problem, state: State, data: Any, t: Int[Array, ""], /
    ) -> tuple[State, Report]:
        """Iteration t = 0, 1, ... on the data of the request."""
        ...

    def policy(self, state: State, /) -> LogPolicy:
        """log of the policy that is judged, shape (contexts, arms)."""
        ...

    def behaviour(self, state: State, /) -> LogPolicy:
        """log of the policy that the next data are drawn from, shape (contexts, arms)."""
        ...


@runtime_checkable
class BeginsAtRandom(Protocol):
    """A method with a random `init`, which gets one half of the run's key; data use the other."""

    @property
    def begins_at_random(self) -> bool:
        """Whether it does, as it is set."""
        ...


@runtime_checkable
class ChecksItself(Protocol):
    """A method that can reject a problem that it cannot run on before anything is compiled."""

    def check(self, problem: Problem, iterations: int, samples: Any, first: int | None) -> None:
        """Raise an `InvalidArgument`.

        Args:
            problem: what it is to run on.
            iterations: how many.
            samples: labels an iteration; None for exact preferences.
            first: the iteration that a run which is continued goes on from; None for a new run.
        """
        ...


@runtime_checkable
class Movable(Protocol):
    """A method that continues from the policy that collects its data, even if that is moved."""

    def moved(self, state: State, log_policy: LogPolicy) -> State:
        """The state with log_policy, shape (contexts, arms), in that policy's place."""
        ...


@runtime_checkable
class ExplainsDivergence(Protocol):
    """A method that can name the setting to change when a run is no longer finite."""

    def divergence(self, iteration: int) -> Exception:
        """What to raise when iteration 1, 2, ... was the first that went wrong."""
        ...
