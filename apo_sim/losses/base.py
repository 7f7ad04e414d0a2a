"""What a loss is: a function of two scores, and optionally what is known about its minimiser."""

import inspect
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.checks import NUMBER, as_array, checked
from apo_sim.errors import InvalidArgument
from apo_sim.problems import PROBLEM, LogPolicy, Problem, log_policy_of


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


def as_loss(name: str, loss: Any) -> Any:
    """The kind of a loss: two scores and an `Extra` go in, one number comes out.

    Example:
        >>> as_loss("loss", lambda difference: difference)
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: loss = <function <lambda> ...> has another signature ...
    """
    if type(loss).__module__.startswith("apo_sim.losses."):
        return loss
    if isinstance(loss, type) or not callable(loss):
        raise InvalidArgument(
            name, loss, "is no loss", "pass an instance such as apo_sim.DPO(), or a callable"
        )
    try:
        inspect.signature(loss).bind(0.7, 0.2, Extra())
    except ValueError:  # a callable that does not say what it takes
        pass
    except TypeError as error:
        raise InvalidArgument(
            name, loss, f"has another signature ({error})", "write loss(h_winner, h_loser, extra)"
        ) from error
    score = jax.ShapeDtypeStruct((), jnp.result_type(float))
    value = jax.eval_shape(lambda won, lost: loss(won, lost, Extra()), score, score)
    one = isinstance(value, jax.ShapeDtypeStruct) and value.shape == ()
    if not one or not jnp.issubdtype(value.dtype, jnp.floating):
        raise InvalidArgument(
            name, loss, "is not a number for two scores", "write it element by element, in JAX"
        )
    return loss


@checked(loss=as_loss, problem=PROBLEM)
def population_rewards(
    loss: Loss, problem: Problem, log_policy: LogPolicy
) -> Float[Array, "contexts arms"] | None:
    """The loss's own population minimiser, or None where it has no closed form."""
    log_policy = log_policy_of(problem, log_policy)
    closed_form = getattr(loss, "population_rewards", None)
    return None if closed_form is None else closed_form(problem, log_policy)


@checked(loss=as_loss, difference=NUMBER)
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
        return as_array("loss", loss(d, jax.numpy.zeros_like(d), Extra()))

    def slope(d):
        return jax.jvp(value, (d,), (jax.numpy.ones_like(d),))[1]

    first, second = jax.jvp(slope, (difference,), (jax.numpy.ones_like(difference),))
    return value(difference), first, second
