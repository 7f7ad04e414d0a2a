"""All the pairs that can be drawn, each with its probability."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from apo_sim.checks import as_float, optional
from apo_sim.losses import BringsMean, Extra, Loss
from apo_sim.preferences.ranked_pairs import Cells, as_cells
from apo_sim.problems import PROBLEM, Bandit, LogPolicy, PerContext, Problem, log_policy_of
from apo_sim.pytree import pytree_dataclass

# Pairs of arms compared at a time; with more arms the comparisons are done again for the gradient.
_PAIRS_AT_ONCE = 1 << 20

Scores = Float[Array, "contexts arms"]


@pytree_dataclass
class Population:
    """The law of preference pairs, which infinitely many of them would show.

    Args:
        problem: who is preferred to whom.
        log_policy: what draws both responses of a pair, shape (contexts, arms).
        win_rate: P(y > policy) of every arm, same shape.
        cells: law of (winner, loser) in each context, shape (contexts, arms, arms), of a ranker
            that draws pairs in another way; None: two draws of the policy, and a winner from P.

    Raises:
        InvalidArgument: parts that are not of this problem.

    Example:
        >>> from apo_sim import DPO, families
        >>> bandit = families.uniform_bandit(jax.random.key(0), 1, 3)
        >>> data = Population(bandit, bandit.log_ref, bandit.win_rate(bandit.log_ref))
        >>> float(data.mean(DPO(), jnp.zeros((1, 3)), Extra()))
        0.693147
    """

    problem: Problem
    log_policy: LogPolicy
    win_rate: Scores
    cells: Cells | None = None

    def __post_init__(self) -> None:
        problem = PROBLEM("problem", self.problem)
        shape = problem.log_ref.shape
        cells = optional(as_cells)("cells", self.cells)
        if cells is not None:
            as_float("cells", cells, (*shape, shape[1]))
        object.__setattr__(self, "log_policy", log_policy_of(problem, self.log_policy))
        object.__setattr__(self, "win_rate", as_float("win_rate", self.win_rate, shape))
        object.__setattr__(self, "cells", cells)

    def mean(self, loss: Loss, scores: Scores, extra: Extra) -> Float[Array, ""]:
        """Expectation over contexts, pairs and winners.

        In memory of the order of the arms where the loss brings `population_loss`, or where the
        pairs are too many to be compared at once; of their pairs with `cells`.

        Args:
            loss: of two scores.
            scores: h = beta log(policy / proximal centre), shape (contexts, arms).
            extra: what the loss may need, its `log_normalizer` of shape (contexts, 1) or a number.
        """
        if self.cells is not None:
            values = loss(scores[:, :, None], scores[:, None, :], _of_pairs(extra))
            per_context = jnp.sum(self.cells * values, axis=(1, 2))
        elif isinstance(loss, BringsMean):
            policy = jnp.exp(self.log_policy)
            per_context = loss.population_loss(scores, policy, self.win_rate, extra)
        elif self.problem.num_contexts * self.problem.num_arms**2 <= _PAIRS_AT_ONCE:
            per_context = self._rows(loss, scores, extra, jnp.arange(self.problem.num_arms))
        else:
            per_context = self._in_blocks(loss, scores, extra)
        return self.problem.context_probs @ per_context

    def _rows(
        self, loss: Loss, scores: Scores, extra: Extra, rows: Int[Array, " rows"]
    ) -> PerContext:
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
        values = loss(winner, loser, _of_pairs(extra))
        return jnp.sum(weights * values, axis=(1, 2))

    def _in_blocks(self, loss: Loss, scores: Scores, extra: Extra) -> PerContext:
        arms = self.problem.num_arms
        size = max(1, _PAIRS_AT_ONCE // (arms * self.problem.num_contexts))
        blocks = -(-arms // size)
        rows = jnp.arange(blocks * size).reshape(blocks, size)

        @jax.checkpoint
        def one(total, here):
            part = jax.vmap(lambda row: self._rows(loss, scores, extra, row[None]))(here % arms)
            return total + jnp.sum(jnp.where((here < arms)[:, None], part, 0.0), axis=0), None

        return jax.lax.scan(one, jnp.zeros(self.problem.num_contexts, scores.dtype), rows)[0]


def _of_pairs(extra: Extra) -> Extra:
    """The same for arrays of shape (contexts, arms, arms)."""
    return Extra(jnp.asarray(extra.log_normalizer)[..., None])
