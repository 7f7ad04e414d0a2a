"""What methods that look at win rates against their behaviour policy have in common."""

from typing import Any, ClassVar

from apo_sim.checks import Real, above_zero
from apo_sim.methods._schedules import as_schedule, check_length
from apo_sim.methods._states import OnePolicy
from apo_sim.methods.requests import CountedPairs
from apo_sim.preferences import Ranker
from apo_sim.preferences.ranked_pairs import RANKER
from apo_sim.problems import Problem

PULL = Real(
    "lies outside (0, 1]",
    lambda values: above_zero(values) & (values <= 1),
    "pass a share in (0, 1], such as 0.1",
)


class OnWinRates(OnePolicy):
    """A method that sees pairs of its own policy, with numbers that may be schedules."""

    ranker: Ranker
    schedules: ClassVar[dict[str, Real]] = {}
    """Fields that may change from one iteration to the next, each with its range."""

    def __post_init__(self) -> None:
        for name, kind in self.schedules.items():
            object.__setattr__(self, name, as_schedule(name, getattr(self, name), kind))
        RANKER("ranker", self.ranker)

    @property
    def request(self) -> CountedPairs:
        return CountedPairs(self.ranker)

    def check(self, problem: Problem, iterations: int, samples: Any, first: int | None) -> None:
        for name in self.schedules:
            check_length(name, getattr(self, name), iterations, first)
