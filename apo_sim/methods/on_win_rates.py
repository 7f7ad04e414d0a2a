"""What methods that look at win rates against their behaviour policy have in common."""

from typing import Any, ClassVar

import jax
from jaxtyping import Array, Key

from apo_sim.checks import Real, above_zero
from apo_sim.methods.requests import CountedPairs
from apo_sim.methods.schedules import as_schedule, check_length
from apo_sim.preferences import Ranker
from apo_sim.preferences.base import RANKER
from apo_sim.problems import LogPolicy, Problem

PULL = Real(
    "lies outside (0, 1]",
    lambda values: above_zero(values) & (values <= 1),
    "pass a share in (0, 1], such as 0.1",
)


class OnWinRates:
    """A method whose pairs come from its own behaviour policy, with numbers that may be schedules.

    Its state is the policy that is judged, and what the next pairs come from.
    """

    ranker: Ranker
    schedules: ClassVar[dict[str, Real]] = {}
    """Fields that may change from one iteration to the next, each with its range."""

    def __post_init__(self):
        for name, kind in self.schedules.items():
            object.__setattr__(self, name, as_schedule(name, getattr(self, name), kind))
        RANKER("ranker", self.ranker)

    @property
    def request(self) -> CountedPairs:
        return CountedPairs(self.ranker)

    def check(self, problem: Problem, iterations: int, samples: Any, first: int | None) -> None:
        for name in self.schedules:
            check_length(name, getattr(self, name), iterations, first)

    def init(self, problem: Problem, key: Key[Array, ""] | None) -> Any:
        log_ref = jax.nn.log_softmax(problem.log_ref, axis=1)
        return log_ref, log_ref

    def policy(self, state: Any) -> LogPolicy:
        return state[0]

    def behaviour(self, state: Any) -> LogPolicy:
        return state[1]
