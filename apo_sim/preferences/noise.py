"""Labels that are sometimes wrong."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from apo_sim.checks import check_single, within
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
from apo_sim.pytree import pytree_dataclass

PROBABILITY = within("in [0, 1]", lambda values: (values >= 0) & (values <= 1))


@pytree_dataclass
class Flipped:
    """Pairs of another ranker, with winner and loser swapped with probability e.

    cells' = (1 - e) cells + e cells^T. In population, DPO on Bradley-Terry pairs of two arms then
    learns the log-odds of p (1 - e) + (1 - p) e, the target of conservative DPO.

    Args:
        ranker: the ranker whose labels are flipped.
        probability: e, in [0, 1]; one half leaves nothing to learn.

    Raises:
        InvalidArgument: something that is not a ranker, or not a probability.

    Source: the noise that conservative DPO (Mitchell 2023) and robust DPO (Chowdhury et al. 2024)
        assume.

    Example:
        >>> import jax.numpy as jnp
        >>> from apo_sim import Bandit, BestAgainstWorst
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> Flipped(BestAgainstWorst(2), 0.25).cells(bandit, bandit.log_ref).tolist()
        [[[0.25, 0.375], [0.125, 0.25]]]
    """

    ranker: Ranker
    probability: float | Float[Array, ""]

    def __post_init__(self) -> None:
        RANKER("ranker", self.ranker)
        check_single("probability", self.probability, "pass one number in [0, 1]")
        PROBABILITY.check("probability", self.probability)

    def cells(self, problem: Problem, log_policy: LogPolicy) -> Cells:
        return self._flip(self.ranker.cells(problem, log_policy))

    def outcomes(self, problem: Problem, log_policy: LogPolicy) -> Outcomes:
        decided, tied = outcomes_of(self.ranker, problem, log_policy)
        return Outcomes(self._flip(decided), tied)

    def pairs(
        self, key: Key[Array, ""], problem: Problem, log_policy: LogPolicy, samples: int
    ) -> Listed:
        to_pairs, to_labels = jax.random.split(key)
        context, winner, loser = draw_pairs(to_pairs, self.ranker, problem, log_policy, samples)
        flipped = jax.random.uniform(to_labels, (samples,), log_policy.dtype) < self.probability
        return context, jnp.where(flipped, loser, winner), jnp.where(flipped, winner, loser)

    def _flip(self, cells: Cells) -> Cells:
        flipped = jnp.asarray(self.probability, cells.dtype)
        return (1.0 - flipped) * cells + flipped * jnp.swapaxes(cells, 1, 2)
