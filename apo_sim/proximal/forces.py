"""What comparisons do to rewards: the force on every arm, and how every arm yields to others."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.losses import Loss
from apo_sim.losses.loss import Between, from_derivatives_between

# So few rivals are added up by name.
_FEW = 16

Scores = Float[Array, "arms batch"]
Pairs = Float[Array, "arms arms batch"]


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
    weight: Float[Array, "#arms #arms batch"]


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


def forces(loss: Loss, data: Comparisons, rewards: Scores) -> Forces:
    """The forces of all pairs at given rewards.

    Example:
        >>> from apo_sim.losses import DPO
        >>> wins = jnp.array([[0.0, 3.0], [1.0, 0.0]])[..., None]
        >>> data = Comparisons(jnp.swapaxes(wins, 0, 1), wins, jnp.ones((1, 1, 1)))
        >>> forces(DPO(), data, jnp.zeros((2, 1))).net[:, 0].tolist()
        [1.0, -1.0]
    """
    return from_derivatives_between(loss, rewards, partial(_between, data, rewards))


def _between(data: Comparisons, rewards: Scores, of_loss: Between) -> Forces:
    # What i feels from j must be exactly the opposite of what j feels from i, or rounding drowns
    # a link that is 1e-12 times weaker than its neighbours. Rounding the products by a bit keeps
    # the compiler from fusing them with the subtraction, which would round the two unlike.
    precision = jnp.finfo(rewards.dtype)
    push, pull = (
        jax.lax.reduce_precision(-part, precision.nexp, precision.nmant - 1)
        for part in (data.won * of_loss.slope, data.lost * of_loss.slope_of_loser)
    )
    flow = data.weight * (push - pull)
    yields = data.won * of_loss.curvature + data.lost * of_loss.curvature_of_loser
    rate = data.weight * yields
    rounding = 4.0 * precision.eps
    # The rewards are rounded, and so are the forces that they exert.
    blur = jnp.max(jnp.abs(rewards), axis=0) * rate
    error = over_rivals(data.weight * (jnp.abs(push) + jnp.abs(pull)) + blur)
    in_group = over_rivals(jnp.abs(flow))
    return Forces(over_rivals(flow), rounding * error, rounding * in_group, rate, over_rivals(rate))


def over_rivals(pairs: Pairs, weights: Scores | None = None) -> Scores:
    """Sum over the first axis, maybe weighted: of a single problem as a product with a vector.

    Example:
        >>> over_rivals(jnp.array([[[1.0], [2.0]], [[3.0], [4.0]]]))[:, 0].tolist()
        [4.0, 6.0]
    """
    if pairs.shape[-1] > 1:
        terms = pairs if weights is None else pairs * weights[:, None]
        # Along an axis the compiler adds up one by one, and what it adds it works out so, too:
        # named terms it takes for several problems at once, products with a vector eight at a time.
        return jnp.sum(terms, axis=0) if len(terms) > _FEW else sum(terms[1:], start=terms[0])
    weights = jnp.ones(pairs.shape[1:], pairs.dtype) if weights is None else weights
    return (weights[:, 0] @ pairs[..., 0])[:, None]
