"""What a ranker is, and how its pairs are drawn: summed up in counts, or one by one."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from apo_sim.checks import Real, as_count, as_key, check_room, check_single, checked, instance_of
from apo_sim.errors import InvalidArgument
from apo_sim.preferences.drawing import by_inversion, counts_by_context
from apo_sim.problems import PROBLEM, LogPolicy, Problem, log_policy_of

Cells = Float[Array, "contexts arms arms"]
Number = int | float | Float[Array, ""] | Int[Array, ""]
Listed = tuple[Int[Array, " pairs"], Int[Array, " pairs"], Int[Array, " pairs"]]

_CELLS = Real(
    "must be finite and at least 0",
    lambda cells: cells >= 0,
    "pass probabilities or counts, shape (contexts, arms, arms)",
    shape=(None, None, None),
)
WEIGHTS = Real(
    "must be finite and at least 0",
    lambda weights: weights >= 0,
    "pass the probability of each context, shape (contexts,)",
    shape=(None,),
)
_SAMPLES = Real(
    "is not a valid number of samples",
    lambda samples: (samples >= 1) & (samples <= 1e12) & (samples == np.floor(samples)),
    "pass an integer from 1 to 1e12",
)
# Arrays of the length of the list that drawing pairs one by one holds.
_ARRAYS_OF_PAIRS = 6


@runtime_checkable
class Ranker(Protocol):
    """How one preference pair comes about in a context.

    A ranker may be able to do more: see `DrawsPairs` and `SplitsTies`.
    """

    def cells(self, problem: Problem, log_policy: LogPolicy) -> Cells:
        """cells[x, i, j]: probability that a pair in context x has winner i and loser j.

        A pair that is tied and counts half for each of its arms is in both of their cells, with
        half of its probability.
        """
        ...


RANKER = instance_of(Ranker, "is not a ranker", "pass an instance such as apo_sim.Pairwise()")


@runtime_checkable
class DrawsPairs(Protocol):
    """A ranker that draws pairs one by one, where that is cheaper than drawing from all cells."""

    def pairs(
        self, key: Key[Array, ""], problem: Problem, log_policy: LogPolicy, samples: int
    ) -> Listed:
        """That many pairs, as `draw_pairs` returns them."""
        ...


class Outcomes(NamedTuple):
    """What becomes of a pair, in each context; `cells` are the sum of both parts.

    Attributes:
        decided: decided[x, i, j], probability that i wins and j loses.
        tied: tied[x, i, j] = tied[x, j, i], half of the probability that i and j tie; None where
            no ties count half.
    """

    decided: Cells
    tied: Cells | None = None


@runtime_checkable
class SplitsTies(Protocol):
    """A ranker whose ties count half a win for both arms: data that no coin decides."""

    def outcomes(self, problem: Problem, log_policy: LogPolicy) -> Outcomes:
        """Its cells, with what is decided apart from what is tied."""
        ...


def outcomes_of(ranker: Ranker, problem: Problem, log_policy: LogPolicy) -> Outcomes:
    """The outcomes of any ranker; of most, every pair is decided."""
    if isinstance(ranker, SplitsTies):
        return ranker.outcomes(problem, log_policy)
    return Outcomes(ranker.cells(problem, log_policy))


def as_samples(name: str, value: Any) -> Any:
    """A number of samples that sets no shape, as it came; it may be traced."""
    check_single(name, value, "pass one integer, or jax.vmap over several")
    _SAMPLES.check(name, value)
    return value


def as_cells(name: str, value: Any) -> Array:
    """Weights of (winner, loser) in each context, at least 0, shape (contexts, arms, arms)."""
    cells = _CELLS(name, value)
    if cells.shape[1] != cells.shape[2]:
        raise InvalidArgument(name, value, "is not square in its arms", "pass (X, K, K)")
    return cells


def check_contexts(cells: Array, context_probs: Array) -> None:
    """Refuse probabilities of other contexts than the cells are for."""
    if context_probs.shape != cells.shape[:1]:
        raise InvalidArgument(
            "context_probs",
            context_probs,
            f"is not for the {cells.shape[0]} contexts of the cells",
            "pass one probability for each",
        )


@checked(key=as_key, cells=as_cells, context_probs=WEIGHTS, samples=as_samples)
def win_counts(
    key: Key[Array, ""],
    cells: Cells,
    context_probs: Float[Array, " _"],
    samples: Number,
) -> Cells:
    """Draw wins[x, i, j], how often i beat j in context x, over `samples` pairs in all.

    Args:
        key: a `jax.random.key`.
        cells: law of (winner, loser) in each context, shape (contexts, arms, arms).
        context_probs: law of contexts, shape (contexts,).
        samples: number of pairs N, up to 1e12; may be traced.

    Returns:
        Counts as floating-point numbers (exact up to 2^53 in double precision).

    Raises:
        InvalidArgument: laws or a number of pairs that are none, shapes that do not fit.

    Source: ours; the data of the paper's Algorithm 1, summed up.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> cells = jnp.array([[[0.25, 0.5], [0.0, 0.25]]])
        >>> wins = win_counts(jax.random.key(0), cells, jnp.ones(1), 1000)
        >>> float(wins.sum()), float(wins[0, 1, 0])
        (1000.0, 0.0)
    """
    check_contexts(cells, context_probs)
    contexts, arms, _ = cells.shape
    flat = cells.reshape(contexts, arms * arms)
    return counts_by_context(key, flat, context_probs, samples).reshape(cells.shape)


@checked(key=as_key, ranker=RANKER, problem=PROBLEM, samples=as_samples)
def draw_counts(
    key: Key[Array, ""],
    ranker: Ranker,
    problem: Problem,
    log_policy: LogPolicy,
    samples: Number,
) -> Cells:
    """Draw the win counts of a ranker: `win_counts` of its cells, and halves where it splits ties.

    Args:
        key: a `jax.random.key`.
        ranker: how a pair comes about.
        problem: a Bandit or a Game.
        log_policy: the policy whose pairs they are, shape (contexts, arms).
        samples: number of pairs N, up to 1e12; may be traced.

    Returns:
        wins[x, i, j], how often i beat j in context x, shape (contexts, arms, arms); N in all.

    Raises:
        InvalidArgument: something that is no key, ranker, problem, policy or number of pairs.

    Source: ours; the data of the paper's Algorithm 1, summed up.

    Example:
        >>> import jax
        >>> from apo_sim import Pairwise, families
        >>> bandit = families.uniform_bandit(jax.random.key(0), 1, 3)
        >>> draw_counts(jax.random.key(1), Pairwise(), bandit, bandit.log_ref, 100).shape
        (1, 3, 3)
    """
    log_policy = log_policy_of(problem, log_policy)
    decided, tied = outcomes_of(ranker, problem, log_policy)
    if tied is None:
        return win_counts(key, decided, problem.context_probs, samples)
    contexts, arms, _ = decided.shape
    first, second = np.triu_indices(arms, 1)
    # One ball for a tie, and the half wins out of it: a coin for each tie would add noise.
    law = [decided.reshape(contexts, arms * arms), 2.0 * tied[:, first, second]]
    counts = counts_by_context(key, jnp.concatenate(law, axis=1), problem.context_probs, samples)
    wins = counts[:, : arms * arms].reshape(decided.shape)
    halves = 0.5 * counts[:, arms * arms :]
    return wins.at[:, first, second].add(halves).at[:, second, first].add(halves)


@checked(key=as_key, ranker=RANKER, problem=PROBLEM, samples=as_count)
def draw_pairs(
    key: Key[Array, ""], ranker: Ranker, problem: Problem, log_policy: LogPolicy, samples: int
) -> Listed:
    """Draw preference pairs one by one.

    Args:
        key: a `jax.random.key`.
        ranker: how a pair comes about.
        problem: a Bandit or a Game.
        log_policy: the policy whose pairs they are, shape (contexts, arms).
        samples: number of pairs N, which sets a shape.

    Returns:
        Context, winner and loser of every pair, each of shape (N,).

    Raises:
        InvalidArgument: something that is no key, ranker, problem, policy or number of pairs.

    Source: the paper's Algorithm 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from apo_sim import Bandit, Pairwise
        >>> bandit = Bandit(jnp.array([[50.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> context, winner, loser = draw_pairs(
        ...     jax.random.key(0), Pairwise(), bandit, bandit.log_ref, 100
        ... )
        >>> bool(jnp.all(winner <= loser))
        True
    """
    log_policy = log_policy_of(problem, log_policy)
    check_room("samples", samples, (samples,), _ARRAYS_OF_PAIRS)
    if isinstance(ranker, DrawsPairs):
        return ranker.pairs(key, problem, log_policy, samples)
    arms = problem.num_arms
    law = ranker.cells(problem, log_policy) * problem.context_probs[:, None, None]
    cell = by_inversion(key, law.ravel(), (samples,))
    return cell // arms**2, cell // arms % arms, cell % arms
