"""What a loss is: a function of two scores, and optionally what is known about its minimiser."""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float

from apo_sim.problems import LogPolicy, Problem


class Extra(NamedTuple):
    """What a loss may need beyond the two scores.

    Attributes:
        log_normalizer: beta log Z, with Z the normaliser of the proximal step (SPPO regresses
            on it). On a table the scores are known up to a constant only, and it is 0.
    """

    log_normalizer: Float[Array, "..."] | float = 0.0


@runtime_checkable
class Loss(Protocol):
    """A preference loss: `loss(h_winner, h_loser, extra) -> Array`, element by element.

    h = beta log(policy / proximal centre) of the winning and the losing response. A loss must be
    convex in h; unless it brings its own minimisers (below), it must depend on h_winner - h_loser
    only and be twice differentiable.

    Optional methods, used where they exist:

    - `population_rewards(problem, log_policy)`: the minimiser for exact preferences in closed
      form, shape (contexts, arms), up to a constant; None where there is none;
    - `empirical_rewards(wins, log_policy, beta, reward_bound)`: the minimiser for win counts of
      one context, shape (arms,);
    - `population_loss(scores, policy, win_rate, extra)`: its mean over all pairs that a policy
      draws, shape (contexts,), where that needs no comparison of every two arms;
    - `derivatives(difference)`: value, slope and curvature in h_winner - h_loser, when that is
      cheaper than differentiating the loss.
    """

    def __call__(
        self, h_winner: Float[Array, "..."], h_loser: Float[Array, "..."], extra: Extra
    ) -> Float[Array, "..."]: ...


def population_rewards(
    loss: Loss, problem: Problem, log_policy: LogPolicy
) -> Float[Array, "contexts arms"] | None:
    """The loss's own population minimiser, or None where it has no closed form."""
    closed_form = getattr(loss, "population_rewards", None)
    return None if closed_form is None else closed_form(problem, log_policy)


def derivatives(
    loss: Loss, difference: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Value, slope and curvature of a loss of h_winner - h_loser, at every element.

    Example:
        >>> import jax.numpy as jnp
        >>> from apo_sim.losses import DPO
        >>> value, slope, curvature = derivatives(DPO(), jnp.zeros(()))
        >>> round(float(value), 4), float(slope), float(curvature)
        (0.6931, -0.5, 0.25)
    """
    known = getattr(loss, "derivatives", None)
    if known is not None:
        return known(difference)

    def value(d):
        return loss(d, jax.numpy.zeros_like(d), Extra())

    def slope(d):
        return jax.jvp(value, (d,), (jax.numpy.ones_like(d),))[1]

    first, second = jax.jvp(slope, (difference,), (jax.numpy.ones_like(difference),))
    return value(difference), first, second
