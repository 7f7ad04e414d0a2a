"""The data that a method asks for: pairs or single labels, one by one or as counts.

A request says how data come about, and the loop draws them: from the behaviour policy of the
method, or from where the ranker's samplers say.
"""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Key

from apo_sim.checks import as_flag
from apo_sim.preferences import (
    Counts,
    FromPolicy,
    Labels,
    Pairs,
    Pairwise,
    Population,
    Ranker,
    draw_counts,
    draw_pairs,
)
from apo_sim.preferences.ranked_pairs import RANKER
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass, static


@runtime_checkable
class Request(Protocol):
    """How the data of an iteration come about.

    Attributes:
        accumulated: whether a step sees the data of all iterations so far, added up.
    """

    @property
    def accumulated(self) -> bool:
        """Whether data are added up over the iterations."""
        ...

    def fixes_shape(self, problem: Problem, samples: Any) -> bool:
        """Whether the number of samples sets the shape of an array."""
        ...

    def exact(self, problem: Problem, behaviour: LogPolicy) -> Any:
        """The law of the data: what infinitely many samples would say."""
        ...

    def draw(
        self, key: Key[Array, ""], problem: Problem, behaviour: LogPolicy, samples: Any
    ) -> Any:
        """A sample of that size."""
        ...


@pytree_dataclass
class CountedPairs:
    """Preference pairs, summed up as how often each arm beat each other.

    Args:
        ranker: how a pair comes about.
        accumulated: add up the counts of all iterations.

    Raises:
        InvalidArgument: something that is not a ranker, or not a flag.

    Example:
        >>> import jax
        >>> from apo_sim import families
        >>> bandit = families.uniform_bandit(jax.random.key(0), 1, 3)
        >>> CountedPairs().draw(jax.random.key(1), bandit, bandit.log_ref, 100).wins.shape
        (1, 3, 3)
    """

    ranker: Ranker = Pairwise()
    accumulated: bool = static(default=False)

    def __post_init__(self) -> None:
        RANKER("ranker", self.ranker)
        as_flag("accumulated", self.accumulated)

    def fixes_shape(self, problem: Problem, samples: Any) -> bool:
        return False

    def exact(self, problem: Problem, behaviour: LogPolicy) -> Population | Counts:
        if self.accumulated:  # laws add up as counts do
            cells = self.ranker.cells(problem, behaviour)
            return Counts(cells * problem.context_probs[:, None, None])
        cells = None if _of_policy(self.ranker) else self.ranker.cells(problem, behaviour)
        return Population(problem, behaviour, problem.win_rate(behaviour), cells)

    def draw(
        self, key: Key[Array, ""], problem: Problem, behaviour: LogPolicy, samples: Any
    ) -> Counts:
        wins = draw_counts(key, self.ranker, problem, behaviour, samples)
        return Counts(wins.astype(behaviour.dtype))


@pytree_dataclass
class ListedPairs:
    """Preference pairs one by one, where there are fewer of them than pairs of arms.

    Args:
        ranker: how a pair comes about.
        one_by_one: list them however many there are, for an inner training on batches.

    Raises:
        InvalidArgument: something that is not a ranker, or not a flag.

    Example:
        >>> import jax
        >>> from apo_sim import families
        >>> bandit = families.uniform_bandit(jax.random.key(0), 1, 100)
        >>> ListedPairs().draw(jax.random.key(1), bandit, bandit.log_ref, 20).winner.shape
        (20,)
    """

    ranker: Ranker = Pairwise()
    one_by_one: bool = static(default=False)
    accumulated: bool = static(default=False)

    def __post_init__(self) -> None:
        RANKER("ranker", self.ranker)
        as_flag("one_by_one", self.one_by_one)
        as_flag("accumulated", self.accumulated)

    def fixes_shape(self, problem: Problem, samples: Any) -> bool:
        return True

    def exact(self, problem: Problem, behaviour: LogPolicy) -> Population | Counts:
        return CountedPairs(self.ranker).exact(problem, behaviour)

    def draw(
        self, key: Key[Array, ""], problem: Problem, behaviour: LogPolicy, samples: Any
    ) -> Counts | Pairs:
        if not self.one_by_one and samples > problem.num_arms**2:
            return CountedPairs(self.ranker).draw(key, problem, behaviour, samples)
        return Pairs(*draw_pairs(key, self.ranker, problem, behaviour, samples))


@pytree_dataclass
class SingleLabels:
    """Single responses, each with a label: desirable or not.

    Args:
        ranker: how the pairs come about that are taken apart: winners are desirable.
        accumulated: add up the labels of all iterations.

    Raises:
        InvalidArgument: something that is not a ranker, or not a flag.

    Example:
        >>> import jax
        >>> from apo_sim import families
        >>> bandit = families.uniform_bandit(jax.random.key(0), 1, 3)
        >>> labels = SingleLabels().draw(jax.random.key(1), bandit, bandit.log_ref, 100)
        >>> float(labels.desirable.sum() + labels.undesirable.sum())
        100.0
    """

    ranker: Ranker = Pairwise()
    accumulated: bool = static(default=False)

    def __post_init__(self) -> None:
        RANKER("ranker", self.ranker)
        as_flag("accumulated", self.accumulated)

    def fixes_shape(self, problem: Problem, samples: Any) -> bool:
        return False

    def exact(self, problem: Problem, behaviour: LogPolicy) -> Labels:
        return Labels.from_cells(self.ranker.cells(problem, behaviour), problem.context_probs)

    def draw(
        self, key: Key[Array, ""], problem: Problem, behaviour: LogPolicy, samples: Any
    ) -> Labels:
        cells = self.ranker.cells(problem, behaviour)
        return Labels.draw(key, cells, problem.context_probs, samples)


def _of_policy(ranker: Ranker) -> bool:
    """Whether pairs are what closed forms expect: two responses of the policy, ranked by P."""
    return type(ranker) is Pairwise and {type(ranker.first), type(ranker.second)} == {FromPolicy}
