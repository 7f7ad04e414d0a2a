"""Preference data: who is drawn, who wins, and the win counts that sum it all up.

Every tabular loss sees its data only through the win counts, so they are drawn from their own
multinomial law: an iteration costs the same for any number of preference pairs.
"""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from apo_sim.checks import as_count
from apo_sim.errors import InvalidArgument
from apo_sim.problems import LogPolicy, PerContext, Problem
from apo_sim.pytree import pytree_dataclass, static
from apo_sim.sampling import multinomial

Cells = Float[Array, "contexts arms arms"]


@runtime_checkable
class Ranker(Protocol):
    """How one preference pair comes about in a context."""

    def cells(self, problem: Problem, log_policy: LogPolicy) -> Cells:
        """cells[x, i, j]: probability that a pair in context x has winner i and loser j."""
        ...


@pytree_dataclass
class Pairwise:
    """Two independent responses, the winner drawn from the preference P.

    Source: the paper's Algorithm 1. An arm drawn twice is a tie with itself: it counts among
    the N pairs and says nothing.

    Example:
        >>> import jax.numpy as jnp
        >>> from apo_sim import Bandit
        >>> bandit = Bandit(jnp.array([[0.5, 0.5]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> Pairwise().cells(bandit, bandit.log_ref).tolist()
        [[[0.25, 0.25], [0.25, 0.25]]]
    """

    def cells(self, problem: Problem, log_policy: LogPolicy) -> Cells:
        policy = jnp.exp(log_policy)
        drawn = policy[:, :, None] * policy[:, None, :]
        # A pair can be drawn in two orders, so P(i, j) is met twice; with itself an arm has
        # P = 1/2, and the same factor of two makes the cell pi_i^2.
        return 2.0 * drawn * problem.preference


@pytree_dataclass
class BestAgainstWorst:
    """The best of n independent responses against the worst, ranked without noise.

    Source: the paper's section 5 (five responses, top against bottom). Bandits rank by reward,
    games by how often a response beats the policy. Responses that tie share a place at random.

    Args:
        responses: n, at least 2.

    Raises:
        InvalidArgument: fewer than two responses.

    Example:
        >>> import jax.numpy as jnp
        >>> from apo_sim import Bandit
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> BestAgainstWorst(2).cells(bandit, bandit.log_ref).tolist()
        [[[0.25, 0.5], [0.0, 0.25]]]
    """

    responses: int = static(default=5)

    def __post_init__(self):
        if as_count("responses", self.responses) < 2:
            raise InvalidArgument(
                "responses", self.responses, "leaves nothing to rank", "pass an integer >= 2"
            )

    def cells(self, problem: Problem, log_policy: LogPolicy) -> Cells:
        return jax.vmap(self._one_context)(problem.scores(log_policy), jnp.exp(log_policy))

    def _one_context(self, score, policy):
        n = self.responses
        below = (score[None, :] < score[:, None]) @ policy
        level = (score[None, :] == score[:, None]) @ policy
        upto = below + level

        # Inclusion-exclusion over "all n responses score within [low, high]", closed or open at
        # either end, gives the probability that the best level is i's and the worst is j's.
        def within(high, low):
            return jnp.maximum(high[:, None] - low[None, :], 0.0) ** n

        both = within(upto, below) - within(below, below) - within(upto, upto)
        both = jnp.maximum(both + within(below, upto), 0.0)
        same = score[:, None] == score[None, :]
        levels = jnp.where(same, (level**n)[:, None], both)
        levels = jnp.where(score[:, None] < score[None, :], 0.0, levels)
        share = policy / jnp.where(level > 0, level, 1.0)
        return levels * share[:, None] * share[None, :]


def win_counts(
    key: Key[Array, ""],
    cells: Cells,
    context_probs: PerContext,
    samples: int | Float[Array, ""],
) -> Cells:
    """Draw wins[x, i, j], how often i beat j in context x, over `samples` pairs in all.

    Args:
        key: a `jax.random.key`.
        cells: law of (winner, loser) in each context, shape (contexts, arms, arms).
        context_probs: law of contexts, shape (contexts,).
        samples: number of pairs N, up to 1e12; may be traced.

    Returns:
        Counts as floating-point numbers (exact up to 2^53 in double precision).

    Source: ours; the data of the paper's Algorithm 1, summed up.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> cells = jnp.array([[[0.25, 0.5], [0.0, 0.25]]])
        >>> wins = win_counts(jax.random.key(0), cells, jnp.ones(1), 1000)
        >>> float(wins.sum()), float(wins[0, 1, 0])
        (1000.0, 0.0)
    """
    contexts, arms, _ = cells.shape
    to_contexts, *within = jax.random.split(key, contexts + 1)
    total = jnp.asarray(samples, cells.dtype)
    per_context = multinomial(to_contexts, total, context_probs) if contexts > 1 else total[None]
    flat = cells.reshape(contexts, arms * arms)
    return jax.vmap(multinomial)(jnp.stack(within), per_context, flat).reshape(cells.shape)
