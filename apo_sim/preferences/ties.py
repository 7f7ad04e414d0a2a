"""Pairs without a preference."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from apo_sim.checks import check_single, one_of
from apo_sim.preferences.noise import PROBABILITY
from apo_sim.preferences.ranked_pairs import (
    RANKER,
    Cells,
    Listed,
    Outcomes,
    Ranker,
    draw_pairs,
    outcomes_of,
)
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass, static

HANDLING = ("drop", "split")


@pytree_dataclass
class Ties:
    """Pairs of another ranker, of which a share p is returned without a preference.

    Only a pair of two different arms can tie. A tied pair is handled in one of two ways:

    - "drop": the pair counts among the N pairs but carries no information about differences. It is
      recorded as a pair of one arm with itself, with either arm equally likely. (A loss that
      considers one response at a time, such as SPPO and KTO, treats this as half a win: for it,
      "drop" is like "split", with more noise);
    - "split": both arms get half a win. In counts, both orders get 1/2, without the noise of a coin
      flip; in a list of pairs, which has no halves, a fair coin decides.

    Args:
        ranker: the ranker whose pairs tie.
        probability: p, in [0, 1].
        handling: "drop" or "split".

    Raises:
        InvalidArgument: something that is not a ranker, a probability or a handling.

    Source: ours; both are common ways to handle ties reported by annotators.

    Example:
        >>> import jax.numpy as jnp
        >>> from apo_sim import Bandit, BestAgainstWorst
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> best = BestAgainstWorst(2)
        >>> Ties(best, 0.5, "drop").cells(bandit, bandit.log_ref).tolist()
        [[[0.375, 0.25], [0.0, 0.375]]]
        >>> Ties(best, 0.5, "split").cells(bandit, bandit.log_ref).tolist()
        [[[0.25, 0.375], [0.125, 0.25]]]
    """

    ranker: Ranker
    probability: float | Float[Array, ""]
    handling: str = static(default="drop")

    def __post_init__(self) -> None:
        RANKER("ranker", self.ranker)
        check_single("probability", self.probability, "pass one number in [0, 1]")
        PROBABILITY.check("probability", self.probability)
        one_of(HANDLING)("handling", self.handling)

    def cells(self, problem: Problem, log_policy: LogPolicy) -> Cells:
        decided, tied = self.outcomes(problem, log_policy)
        return decided if tied is None else decided + tied

    def outcomes(self, problem: Problem, log_policy: LogPolicy) -> Outcomes:
        decided, tied = outcomes_of(self.ranker, problem, log_policy)
        decided, new = self._without_preference(decided)
        if self.handling == "split":
            return Outcomes(decided, new if tied is None else tied + new)
        if tied is not None:
            tied, more = self._without_preference(tied)
            new = new + more
        # Half of the pair's probability for each of its two arms.
        return Outcomes(
            decided + jnp.sum(new, axis=2)[:, :, None] * jnp.eye(new.shape[1], dtype=new.dtype),
            tied,
        )

    def pairs(
        self, key: Key[Array, ""], problem: Problem, log_policy: LogPolicy, samples: int
    ) -> Listed:
        to_pairs, to_ties = jax.random.split(key)
        context, winner, loser = draw_pairs(to_pairs, self.ranker, problem, log_policy, samples)
        uniform = jax.random.uniform(to_ties, (samples,), log_policy.dtype)
        tied, heads = uniform < self.probability, uniform < 0.5 * self.probability
        if self.handling == "split":
            return context, jnp.where(heads, loser, winner), jnp.where(heads, winner, loser)
        one = jnp.where(heads, loser, winner)
        return context, jnp.where(tied, one, winner), jnp.where(tied, one, loser)

    def _without_preference(self, cells: Cells) -> tuple[Cells, Cells]:
        """What keeps its preference, and what loses it, half of that in each order."""
        between = ~jnp.eye(cells.shape[1], dtype=bool)
        probability = jnp.asarray(self.probability, cells.dtype)
        lost = jnp.where(between, probability * cells, 0.0)
        kept = jnp.where(between, (1.0 - probability) * cells, cells)
        return kept, 0.5 * (lost + jnp.swapaxes(lost, 1, 2))
