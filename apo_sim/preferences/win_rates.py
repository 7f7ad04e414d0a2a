"""How often every response wins, told by preference data alone."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.checks import checked, instance_of
from apo_sim.preferences.counts import Counts
from apo_sim.preferences.population import Population

DATA = instance_of(
    Population | Counts, "are not pairs", "pass apo_sim.preferences.Counts(...) or their Population"
)


@checked(data=DATA)
def win_rates(data: Population | Counts) -> Float[Array, "contexts arms"]:
    """The share of its comparisons that every arm won, 1/2 for an arm that was never compared.

    Of two responses drawn from one policy it is an unbiased estimate of P(y > policy), given which
    arms were drawn.

    Args:
        data: the law of pairs, or their counts.

    Returns:
        Probabilities, shape (contexts, arms).

    Raises:
        InvalidArgument: something that is no data of pairs.

    Source: ours; the minimiser of SPPO's loss without a bound.

    Example:
        >>> wins = jnp.array([[[0.0, 3.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
        >>> win_rates(Counts(wins)).tolist()
        [[0.75, 0.25, 0.5]]
    """
    if isinstance(data, Population):
        if data.cells is None:
            return data.win_rate
        pairs = data.cells
    else:
        pairs = data.wins
    won, lost = jnp.sum(pairs, axis=2), jnp.sum(pairs, axis=1)
    drawn = won + lost
    return jnp.where(drawn > 0, won / jnp.where(drawn > 0, drawn, 1.0), 0.5)
