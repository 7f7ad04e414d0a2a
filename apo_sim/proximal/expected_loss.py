"""The mean of a loss over preference data: all of them, a table of counts, or a list of pairs.

Scores are h = beta log(policy / proximal centre), shape (contexts, arms).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from apo_sim.losses import Extra, Loss
from apo_sim.problems import Bandit, LogPolicy, PerContext, Problem
from apo_sim.pytree import pytree_dataclass

# Pairs of arms compared at a time; with more arms the comparisons are done again for the gradient.
_PAIRS_AT_ONCE = 1 << 20

Scores = Float[Array, "contexts arms"]


@pytree_dataclass
class Population:
    """All pairs that a policy can draw, each with its probability.

    Attributes:
        problem: who is preferred to whom.
        log_policy: what draws the pairs, shape (contexts, arms).
        win_rate: P(y > policy) of every arm, same shape.
        log_normalizer: beta log Z of the proximal step, shape (contexts, 1).
    """

    problem: Problem
    log_policy: LogPolicy
    win_rate: Scores
    log_normalizer: Float[Array, "contexts 1"]

    def mean(self, loss: Loss, scores: Scores) -> Float[Array, ""]:
        """Expectation over contexts, pairs and winners.

        In memory of the order of the arms where the loss brings `population_loss`, or where the
        pairs are too many to be compared at once.
        """
        extra = Extra(self.log_normalizer)
        known = getattr(loss, "population_loss", None)
        if known is not None:
            per_context = known(scores, jnp.exp(self.log_policy), self.win_rate, extra)
        elif self.problem.num_contexts * self.problem.num_arms**2 <= _PAIRS_AT_ONCE:
            per_context = self._rows(loss, scores, jnp.arange(self.problem.num_arms))
        else:
            per_context = self._in_blocks(loss, scores)
        return self.problem.context_probs @ per_context

    def _rows(self, loss: Loss, scores: Scores, rows: Int[Array, " rows"]) -> PerContext:
        """The part of the mean in which the winner is one of some arms."""
        policy = jnp.exp(self.log_policy)
        if isinstance(self.problem, Bandit):
            reward = self.problem.reward
            preference = jax.nn.sigmoid(reward[:, rows, None] - reward[:, None, :])
        else:
            preference = self.problem.preference[:, rows]
        # A pair can be drawn in two orders.
        weights = 2.0 * policy[:, rows, None] * policy[:, None, :] * preference
        winner, loser = scores[:, rows, None], scores[:, None, :]
        values = loss(winner, loser, Extra(self.log_normalizer[:, :, None]))
        return jnp.sum(weights * values, axis=(1, 2))

    def _in_blocks(self, loss: Loss, scores: Scores) -> PerContext:
        arms = self.problem.num_arms
        size = max(1, _PAIRS_AT_ONCE // (arms * self.problem.num_contexts))
        blocks = -(-arms // size)
        rows = jnp.arange(blocks * size).reshape(blocks, size)

        @jax.checkpoint
        def one(total, here):
            part = jax.vmap(lambda row: self._rows(loss, scores, row[None]))(here % arms)
            return total + jnp.sum(jnp.where((here < arms)[:, None], part, 0.0), axis=0), None

        return jax.lax.scan(one, jnp.zeros(self.problem.num_contexts, scores.dtype), rows)[0]


@pytree_dataclass
class Counts:
    """How often each arm beat each other one.

    Attributes:
        wins: wins[x, i, j], shape (contexts, arms, arms); not all zero.
        log_normalizer: beta log Z of the proximal step, shape (contexts, 1).
    """

    wins: Float[Array, "contexts arms arms"]
    log_normalizer: Float[Array, "contexts 1"]

    def mean(self, loss: Loss, scores: Scores) -> Float[Array, ""]:
        """Mean over the pairs."""
        extra = Extra(self.log_normalizer[:, :, None])
        values = loss(scores[:, :, None], scores[:, None, :], extra)
        return jnp.sum(self.wins / jnp.sum(self.wins) * values)


@pytree_dataclass
class Pairs:
    """A list of N pairs.

    Attributes:
        context: of each pair, shape (N,).
        winner: arm preferred, shape (N,).
        loser: the other one, shape (N,).
        log_normalizer: beta log Z of the proximal step, shape (contexts, 1).
    """

    context: Int[Array, " pairs"]
    winner: Int[Array, " pairs"]
    loser: Int[Array, " pairs"]
    log_normalizer: Float[Array, "contexts 1"]

    def batch(self, number: Int[Array, ""], size: int) -> "Pairs":
        """The `number`-th so many pairs, beginning again after the last one."""
        rows = (number * size + jnp.arange(size)) % self.winner.shape[0]
        parts = (self.context[rows], self.winner[rows], self.loser[rows])
        return Pairs(*parts, self.log_normalizer)

    def mean(self, loss: Loss, scores: Scores) -> Float[Array, ""]:
        """Mean over the pairs."""
        extra = Extra(self.log_normalizer[self.context, 0])
        values = loss(scores[self.context, self.winner], scores[self.context, self.loser], extra)
        return jnp.mean(values)
