"""What comparisons do to rewards: the force on every arm, and how every arm yields to others."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.losses import Loss
from apo_sim.losses.loss import Between, from_derivatives_between

# So few rivals are added up by name, and of more so many in a turn where they are weighted.
_FEW = 16
_IN_A_TURN = 5

Scores = Float[Array, "arms batch"]
Pairs = Float[Array, "rivals arms batch"]
# Derivatives of a loss between arms and rivals, from what it has to be told of every arm.
Find = Callable[[Array, Array], Between]


class Comparisons(NamedTuple):
    """How often arms met, and who won.

    An arm of probability 1e-200 obeys the same optimality condition as any other, so every arm's
    condition is stated in a unit of its own. Sums over rivals run over the first axis, along which
    the processor adds up many arms at once.

    Attributes:
        won: won[i, j] times the weight of the pair {i, j} is how often j beat i; the diagonal
            is not used.
        lost: lost[i, j] times that weight is how often i beat j.
        weight: weight[i, j] is the weight of the pair {i, j} in the unit of arm j,
            broadcastable to `won`.
    """

    won: Pairs
    lost: Pairs
    weight: Float[Array, "#rivals #arms batch"]


class Forces(NamedTuple):
    """Slope and curvature of the loss, seen from the arms.

    Attributes:
        net: what pushes each arm up.
        error: what it can be wrong by.
        error_in_group: its share of what the sum over a group can be wrong by, in which the
            rounding of every pair cancels.
        rate: rate[i, j] is how arm j yields to arm i.
        curvature: how arm j yields to all others.
    """

    net: Scores
    error: Scores
    error_in_group: Scores
    rate: Pairs
    curvature: Scores


class _Sums(NamedTuple):
    """What rivals do to arms.

    Attributes:
        net: what pushes each arm up.
        both: what pushes it up and what pushes it down, added up.
        left: what every pair leaves of the two, added up.
        rate: how each arm yields to every rival.
        curvature: and to all of them.
    """

    net: Scores
    both: Scores
    left: Scores
    rate: Pairs
    curvature: Scores


def forces_of(loss: Loss, data: Comparisons, *, wide: bool = True) -> Callable[[Scores], Forces]:
    """The forces of all pairs, as a function of the rewards.

    What is done to the data alone is done here, once.

    Args:
        loss: a function of the difference of two scores.
        data: the comparisons.
        wide: whether rewards may be farther apart than exponentials of them reach.

    Example:
        >>> from apo_sim.losses import DPO
        >>> wins = jnp.array([[0.0, 3.0], [1.0, 0.0]])[..., None]
        >>> data = Comparisons(jnp.swapaxes(wins, 0, 1), wins, jnp.ones((1, 1, 1)))
        >>> forces_of(DPO(), data)(jnp.zeros((2, 1))).net[:, 0].tolist()
        [1.0, -1.0]
    """
    of_all = _one_by_one(data) if _fill_rows(data.won) else partial(_at_once, data)

    def at(rewards: Scores) -> Forces:
        sums = from_derivatives_between(loss, rewards, of_all, wide=wide)
        # The rewards are rounded, and so are the forces that they exert.
        blur = jnp.max(jnp.abs(rewards), axis=0)
        rounding = 4.0 * jnp.finfo(rewards.dtype).eps
        error = rounding * (sums.both + blur * sums.curvature)
        return Forces(sums.net, error, rounding * sums.left, sums.rate, sums.curvature)

    return at


def _fill_rows(pairs: Pairs) -> bool:
    """Whether rivals are taken one by one: many of them, in several problems at once."""
    return len(pairs) > _FEW and pairs.shape[-1] > 1


def _at_once(data: Comparisons, between: Find, arms: Scores) -> _Sums:
    return _of_rivals(data, between(arms[None], arms[:, None]))


def _one_by_one(data: Comparisons) -> Callable[[Find, Scores], _Sums]:
    """What is made of one rival stays in the fastest cache.

    All arms of all problems make one row, as if each arm were a problem of its own. Loops over the
    problems of a block alone are so short that the compiler unrolls them and then finds nothing to
    work out side by side.
    """
    shape = data.won.shape

    def in_rows(part: Array) -> Array:
        return jnp.broadcast_to(part, (len(part), *shape[1:])).reshape(len(part), 1, -1)

    won, lost, weight = (in_rows(part) for part in data)
    # A weight that is the same against all rivals is read once.
    own, shared = None if len(weight) == 1 else weight, weight[0]

    def of_all(between: Find, arms: Scores) -> _Sums:
        row = in_rows(arms[None])[0]
        # Written out, so that they need not be looked up element by element.
        rivals = jax.lax.optimization_barrier(in_rows(arms[:, None]))
        none = jnp.zeros_like(row)

        def add(sums: _Sums, rival: tuple[Scores, Scores, Scores, Scores | None]):
            score, won, lost, weight = rival
            weight = shared if weight is None else weight
            pairs = Comparisons(won[None], lost[None], weight[None])
            found = _of_rivals(pairs, between(row[None], score[None]))
            return jax.tree.map(jnp.add, sums, found._replace(rate=none)), found.rate[0]

        sums, rate = jax.lax.scan(add, _Sums(*[none] * 5), (rivals, won, lost, own))
        sums = jax.tree.map(lambda part: part.reshape(shape[1:]), sums)
        return sums._replace(rate=rate.reshape(shape))

    return of_all


def _of_rivals(data: Comparisons, of_loss: Between) -> _Sums:
    """What some of the rivals do."""
    up, down = -data.won * of_loss.slope, -data.lost * of_loss.slope_of_loser
    # What i feels from j must be exactly the opposite of what j feels from i, or rounding drowns
    # a link that is 1e-12 times weaker than its neighbours. Rounding the products by a bit keeps
    # the compiler from fusing them with the subtraction, which would round the two unlike.
    precision = jnp.finfo(up.dtype)
    push, pull = (
        jax.lax.reduce_precision(part, precision.nexp, precision.nmant - 1) for part in (up, down)
    )
    flow = data.weight * (push - pull)
    both = data.weight * (jnp.abs(up) + jnp.abs(down))
    yields = data.won * of_loss.curvature + data.lost * of_loss.curvature_of_loser
    rate = data.weight * yields
    net, both, left, curvature = map(over_rivals, (flow, both, jnp.abs(flow), rate))
    return _Sums(net, both, left, rate, curvature)


def over_rivals(pairs: Pairs, weights: Float[Array, "rivals batch"] | None = None) -> Scores:
    """Sum over the first axis, maybe weighted: of a single problem as a product with a vector.

    Example:
        >>> over_rivals(jnp.array([[[1.0], [2.0]], [[3.0], [4.0]]]))[:, 0].tolist()
        [4.0, 6.0]
    """
    if _fill_rows(pairs):
        # A loop, which the compiler joins with one around it, as it does not join sums.
        add = lambda total, rival: (total + math.prod(rival), None)  # noqa: E731
        terms, in_a_turn = ((pairs,), 1) if weights is None else ((pairs, weights), _IN_A_TURN)
        return jax.lax.scan(add, jnp.zeros_like(pairs[0]), terms, unroll=in_a_turn)[0]
    if pairs.shape[-1] > 1:
        # Along an axis the compiler adds up one by one, and what it adds it works out so, too:
        # named terms it takes for several problems at once.
        terms = pairs if weights is None else pairs * weights[:, None]
        return sum(terms[1:], start=terms[0])
    # Products with a vector it takes eight at a time.
    weights = jnp.ones(pairs.shape[1:], pairs.dtype) if weights is None else weights
    return (weights[:, 0] @ pairs[..., 0])[:, None]
