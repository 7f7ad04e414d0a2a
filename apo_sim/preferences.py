"""Preference data: who is drawn, who wins, and the win counts that sum it all up.

Every tabular loss sees its data only through the win counts, so they are drawn from their own
multinomial law: an iteration costs the same for any number of preference pairs. Networks over many
actions see fewer pairs than there are pairs of actions, and draw them one by one.
"""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from apo_sim.checks import as_count
from apo_sim.errors import InvalidArgument
from apo_sim.problems import Bandit, LogPolicy, PerContext, Problem
from apo_sim.pytree import pytree_dataclass, static
from apo_sim.sampling import multinomial

Cells = Float[Array, "contexts arms arms"]
Listed = tuple[Int[Array, " pairs"], Int[Array, " pairs"], Int[Array, " pairs"]]


@runtime_checkable
class Ranker(Protocol):
    """How one preference pair comes about in a context.

    Optional: `pairs(key, problem, log_policy, samples)`, that many pairs one by one, as
    `draw_pairs` returns them, where that is cheaper than drawing from all `cells`.
    """

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

    def pairs(self, key: Key[Array, ""], problem: Problem, log_policy: LogPolicy, samples: int):
        to_responses, to_winner = jax.random.split(key)
        context, (first, second) = _responses(to_responses, problem, log_policy, samples, 2)
        if isinstance(problem, Bandit):
            lead = problem.reward[context, first] - problem.reward[context, second]
            chance = jax.nn.sigmoid(lead)
        else:
            chance = problem.preference[context, first, second]
        wins = jax.random.uniform(to_winner, chance.shape, chance.dtype) < chance
        return context, jnp.where(wins, first, second), jnp.where(wins, second, first)


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

    def pairs(self, key: Key[Array, ""], problem: Problem, log_policy: LogPolicy, samples: int):
        context, drawn = _responses(key, problem, log_policy, samples, self.responses)
        score = problem.scores(log_policy)[context, drawn]
        # The first of those that tie for the best against the last of those that tie for the
        # worst: where all tie, these are two independent responses.
        best, worst = (
            jnp.argmax(score, axis=0),
            self.responses - 1 - jnp.argmin(score[::-1], axis=0),
        )
        winner, loser = (jnp.take_along_axis(drawn, p[None], axis=0)[0] for p in (best, worst))
        return context, winner, loser

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


def draw_pairs(
    key: Key[Array, ""], ranker: Ranker, problem: Problem, log_policy: LogPolicy, samples: int
) -> Listed:
    """Draw preference pairs one by one.

    Args:
        key: a `jax.random.key`.
        ranker: how a pair comes about.
        problem: a Bandit or a Game.
        log_policy: what draws the responses, shape (contexts, arms).
        samples: number of pairs N, which sets a shape.

    Returns:
        Context, winner and loser of every pair, each of shape (N,).

    Source: the paper's Algorithm 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> bandit = Bandit(jnp.array([[50.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> context, winner, loser = draw_pairs(
        ...     jax.random.key(0), Pairwise(), bandit, bandit.log_ref, 100
        ... )
        >>> bool(jnp.all(winner <= loser))
        True
    """
    own = getattr(ranker, "pairs", None)
    if own is not None:
        return own(key, problem, log_policy, samples)
    arms = problem.num_arms
    law = ranker.cells(problem, log_policy) * problem.context_probs[:, None, None]
    cell = _by_inversion(key, law.ravel(), (samples,))
    return cell // arms**2, cell // arms % arms, cell % arms


def _responses(key, problem, log_policy, samples, number):
    """Contexts (samples,) and independent responses (number, samples) to each."""
    to_context, to_arms = jax.random.split(key)
    policy = jnp.exp(log_policy)
    if problem.num_contexts == 1:
        arms = _by_inversion(to_arms, policy[0], (number, samples))
        return jnp.zeros(samples, arms.dtype), arms
    context = _by_inversion(to_context, problem.context_probs, (samples,))
    # One context's distribution function follows the other, each one higher.
    upto = jnp.cumsum(policy, axis=1)
    upto = jnp.minimum(upto / upto[:, -1:], 1.0) + jnp.arange(problem.num_contexts)[:, None]
    uniform = jax.random.uniform(to_arms, (number, samples), policy.dtype)
    place = jnp.searchsorted(upto.ravel(), context + uniform, side="right")
    arms = place - context * problem.num_arms
    return context, jnp.clip(arms, 0, problem.num_arms - 1)


def _by_inversion(key, weights, shape):
    upto = jnp.cumsum(weights)
    uniform = jax.random.uniform(key, shape, weights.dtype)
    place = jnp.searchsorted(upto, uniform * upto[-1], side="right")
    return jnp.minimum(place, weights.size - 1)
