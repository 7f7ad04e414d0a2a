"""The best of several responses against the worst."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from apo_sim.checks import as_count
from apo_sim.errors import InvalidArgument
from apo_sim.preferences.drawing import responses
from apo_sim.preferences.ranked_pairs import Cells, Listed
from apo_sim.preferences.samplers import SAMPLER, FromPolicy, Sampler
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass, static


@pytree_dataclass
class BestAgainstWorst:
    """The best of n independent responses against the worst, ranked without noise.

    Source: the paper's section 5 (five responses, top against bottom). Bandits rank responses by
    reward, games by the rate at which a response beats the policy in training. Ties in the ranking
    are broken at random.

    Args:
        responses: n, at least 2.
        sampler: the sampler that draws them, see `apo_sim.preferences.samplers`.

    Raises:
        InvalidArgument: fewer than two responses, something that is not a sampler.

    Example:
        >>> import jax.numpy as jnp
        >>> from apo_sim import Bandit
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> BestAgainstWorst(2).cells(bandit, bandit.log_ref).tolist()
        [[[0.25, 0.5], [0.0, 0.25]]]
    """

    responses: int = static(default=5)
    sampler: Sampler = FromPolicy()

    def __post_init__(self) -> None:
        if as_count("responses", self.responses) < 2:
            raise InvalidArgument(
                "responses", self.responses, "leaves nothing to rank", "pass an integer >= 2"
            )
        SAMPLER("sampler", self.sampler)

    def cells(self, problem: Problem, log_policy: LogPolicy) -> Cells:
        law = self.sampler.log_probs(problem, log_policy)
        return jax.vmap(self._one_context)(problem.scores(log_policy), jnp.exp(law))

    def pairs(
        self, key: Key[Array, ""], problem: Problem, log_policy: LogPolicy, samples: int
    ) -> Listed:
        law = self.sampler.log_probs(problem, log_policy)
        context, drawn = responses(key, problem, [law], samples, self.responses)
        score = problem.scores(log_policy)[context, drawn]
        # The first of those that tie for the best against the last of those that tie for the
        # worst: where all tie, these are two independent responses.
        best, worst = (
            jnp.argmax(score, axis=0),
            self.responses - 1 - jnp.argmin(score[::-1], axis=0),
        )
        winner, loser = (jnp.take_along_axis(drawn, p[None], axis=0)[0] for p in (best, worst))
        return context, winner, loser

    def _one_context(
        self, score: Float[Array, " arms"], policy: Float[Array, " arms"]
    ) -> Float[Array, "arms arms"]:
        n = self.responses
        below = (score[None, :] < score[:, None]) @ policy
        level = (score[None, :] == score[:, None]) @ policy
        upto = below + level

        # Inclusion-exclusion over "all n responses score within [low, high]", closed or open at
        # either end, gives the probability that the best level is i's and the worst is j's.
        def within(
            high: Float[Array, " arms"], low: Float[Array, " arms"]
        ) -> Float[Array, "arms arms"]:
            return jnp.maximum(high[:, None] - low[None, :], 0.0) ** n

        both = within(upto, below) - within(below, below) - within(upto, upto)
        both = jnp.maximum(both + within(below, upto), 0.0)
        same = score[:, None] == score[None, :]
        levels = jnp.where(same, (level**n)[:, None], both)
        levels = jnp.where(score[:, None] < score[None, :], 0.0, levels)
        share = policy / jnp.where(level > 0, level, 1.0)
        return levels * share[:, None] * share[None, :]
