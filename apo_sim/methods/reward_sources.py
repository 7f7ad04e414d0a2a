"""Where a method that optimises a reward has it from: the bandit itself, or a model of labels."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from apo_sim.arguments import check_bound
from apo_sim.checks import as_flag, check_positive, check_single, instance_of
from apo_sim.errors import InvalidArgument
from apo_sim.losses import DPO
from apo_sim.methods.requests import CountedPairs, Request
from apo_sim.methods.requests_of_rewards import ScoredResponses
from apo_sim.preferences import Counts, FromPolicy, Pairwise, Population, Ranker
from apo_sim.preferences.ranked_pairs import RANKER, Cells
from apo_sim.preferences.scored import Scored
from apo_sim.problems import Game, Problem
from apo_sim.proximal.from_counts import rewards_from_counts
from apo_sim.pytree import pytree_dataclass, static


@runtime_checkable
class RewardSource(Protocol):
    """What tells a method the reward of every arm."""

    @property
    def request(self) -> Request:
        """The data that it needs."""
        ...

    @property
    def on_policy(self) -> bool:
        """Whether every response of its data is drawn from the behaviour policy."""
        ...

    def check(self, problem: Problem) -> None:
        """Refuse a problem that it cannot tell the reward of."""
        ...

    def init(self, problem: Problem) -> Any:
        """The state before the first iteration."""
        ...

    def learn(
        self, problem: Problem, state: Any, data: Any, t: Int[Array, ""]
    ) -> tuple[Any, Scored]:
        """From the data of iteration t = 0, 1, ...: the rewards, and what was drawn in it."""
        ...


REWARD_SOURCE = instance_of(
    RewardSource, "is not a reward source", "pass an instance such as TrueReward()"
)


@pytree_dataclass
class TrueReward:
    """The bandit's own reward r*, without noise.

    Exact: of all arms. With samples: of N responses of the behaviour policy; nothing is known of
    the others, and nothing is remembered.

    Example:
        >>> import apo_sim as apo
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> source = TrueReward()
        >>> data = source.request.exact(bandit, bandit.log_ref)
        >>> source.learn(bandit, source.init(bandit), data, jnp.array(0))[1].advantage.tolist()
        [[0.5, -0.5]]
    """

    @property
    def request(self) -> ScoredResponses:
        return ScoredResponses()

    @property
    def on_policy(self) -> bool:
        return True

    def check(self, problem: Problem) -> None:
        if isinstance(problem, Game):
            raise InvalidArgument(
                "source",
                self,
                "needs a reward, which a Game does not have",
                "pass a Bandit, or use FittedReward() instead",
            )

    def init(self, problem: Problem) -> tuple[()]:
        return ()

    def learn(
        self, problem: Problem, state: tuple[()], data: Scored, t: Int[Array, ""]
    ) -> tuple[tuple[()], Scored]:
        return state, data


@pytree_dataclass
class RewardModel:
    """A reward fitted to labels, with them. X contexts, K arms.

    Attributes:
        wins: the counts, or sums of laws, that it was fitted to, shape (X, K, K).
        reward: what was fitted, shape (X, K).
    """

    wins: Cells
    reward: Float[Array, "contexts arms"]


@pytree_dataclass
class FittedReward:
    """A Bradley-Terry model of the labels: argmin sum_ij wins(i, j) log(1 + e^(r_j - r_i)).

    In each context max r - min r <= 2 reward_bound. Where labels leave r open, it is nearest to 0
    in the sense of `rewards_from_counts` at the reference policy; an arm never compared with
    another has no known reward. What is drawn are both responses of every pair of the iteration.

    Args:
        refit: in every iteration, on the labels of all iterations so far; False: once, on those
            of the first iteration, whose responses are the reference policy's.
        reward_bound: R, above 0.
        ranker: how a preference pair comes about, see `apo_sim.preferences`.

    Raises:
        InvalidArgument: a bound that is no number above 0, something that is not a ranker or flag.

    Source: Christiano et al. (2017), "Deep reinforcement learning from human preferences", section
        2.2.3; the bound is Assumption 4.3 of the paper.

    Example:
        >>> from apo_sim import families
        >>> bandit = families.uniform_bandit(jax.random.key(0), 1, 3)
        >>> source = FittedReward(refit=False)
        >>> source.check(bandit)
        >>> labels = source.request.draw(jax.random.key(1), bandit, bandit.log_ref, 100)
        >>> float(labels.wins.sum()), source.on_policy
        (100.0, True)
    """

    refit: bool = static(default=True)
    reward_bound: float | Float[Array, ""] = 2.0
    ranker: Ranker = Pairwise()

    def __post_init__(self) -> None:
        as_flag("refit", self.refit)
        check_single("reward_bound", self.reward_bound, "pass one number above 0")
        check_positive("reward_bound", self.reward_bound)
        RANKER("ranker", self.ranker)

    @property
    def request(self) -> CountedPairs:
        return CountedPairs(self.ranker)

    @property
    def on_policy(self) -> bool:
        ranker: Any = self.ranker
        while not isinstance(ranker, Pairwise) and hasattr(ranker, "ranker"):
            ranker = ranker.ranker  # noise and ties change labels alone
        samplers = {type(getattr(ranker, name, None)) for name in ("first", "second")}
        return isinstance(ranker, Pairwise) and samplers == {FromPolicy}

    def check(self, problem: Problem) -> None:
        check_bound(DPO(), self.reward_bound, problem.log_ref.dtype)

    def init(self, problem: Problem) -> RewardModel:
        contexts, arms = problem.log_ref.shape
        none = jnp.zeros((contexts, arms, arms), problem.log_ref.dtype)
        return RewardModel(none, jnp.zeros_like(problem.log_ref))

    def learn(
        self, problem: Problem, state: RewardModel, data: Population | Counts, t: Int[Array, ""]
    ) -> tuple[RewardModel, Scored]:
        new = self._wins(problem, data)

        def fitted() -> RewardModel:
            wins = state.wins + new
            return RewardModel(wins, self._fit(problem, wins))

        # No label was there before the first iteration, so that the sum is its own.
        model = fitted() if self.refit else jax.lax.cond(t == 0, fitted, lambda: state)
        between = ~jnp.eye(problem.num_arms, dtype=bool)
        known = _responses(jnp.where(between, model.wins, 0.0)) > 0
        return model, Scored(model.reward, _responses(new), known)

    def _fit(self, problem: Problem, wins: Cells) -> Float[Array, "contexts arms"]:
        dtype = wins.dtype
        bound = jnp.asarray(self.reward_bound, dtype)
        log_ref = jax.nn.log_softmax(problem.log_ref, axis=1)
        return rewards_from_counts(DPO(), wins, log_ref, jnp.ones((), dtype), bound)[0]

    def _wins(self, problem: Problem, data: Population | Counts) -> Cells:
        if isinstance(data, Counts):
            return data.wins
        cells = data.cells
        if cells is None:
            cells = self.ranker.cells(problem, data.log_policy)
        return cells * problem.context_probs[:, None, None]


def _responses(wins: Cells) -> Float[Array, "contexts arms"]:
    """How often each arm was one of the two responses of a pair."""
    return jnp.sum(wins, axis=1) + jnp.sum(wins, axis=2)
