"""The interface of losses, on pairs of responses or on one labelled response, and its extensions.

Your own loss need not inherit from anything: it is recognised by its methods.
"""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from apo_sim.checks import NUMBER, as_array, checked, written_in_jax
from apo_sim.errors import InvalidArgument
from apo_sim.problems import PROBLEM, LogPolicy, Problem, log_policy_of

Result = TypeVar("Result")


class Extra(NamedTuple):
    """Further inputs that a loss may need besides the two scores.

    Attributes:
        log_normalizer: beta log Z, where Z is the normaliser of the proximal step (SPPO regresses
            on it). On a table it is 0, because scores are known only up to a constant.
    """

    log_normalizer: Float[Array, "..."] | float = 0.0


@runtime_checkable
class Loss(Protocol):
    """A loss on preference pairs: `loss(h_winner, h_loser, extra) -> Array`, element by element.

    h = beta log(policy / proximal centre) of the winning and the losing response. A loss must be
    convex in h. Unless it defines its own minimisers, it must depend only on h_winner - h_loser and
    be twice differentiable. A loss may implement further protocols, which are then used:
    `BringsMinimiser`, `BringsEmpiricalMinimiser`, `BringsMean`, `BringsDerivatives`,
    `BringsDerivativesBetween`.
    """

    def __call__(
        self, h_winner: Float[Array, "..."], h_loser: Float[Array, "..."], extra: Extra, /
    ) -> Float[Array, "..."]: ...


@runtime_checkable
class BringsMinimiser(Protocol):
    """A loss that knows its minimiser for exact preferences."""

    def population_rewards(
        self, problem: Problem, log_policy: LogPolicy
    ) -> Float[Array, "contexts arms"] | None:
        """The scores of least expected loss over pairs that the policy draws, up to a constant.

        None for a problem on which they have no closed form.
        """
        ...


@runtime_checkable
class BringsEmpiricalMinimiser(Protocol):
    """A loss that knows its minimiser for win counts, and may then see more than differences."""

    def empirical_rewards(
        self, wins: Float[Array, "arms arms"], reward_bound: Float[Array, ""]
    ) -> tuple[Float[Array, " arms"], Bool[Array, " arms"]]:
        """The scores of least loss in one context, and which arms the data say anything about.

        They keep within a range of 2 `reward_bound`. What the score of the other arms is does not
        matter: it is for the caller to choose one that leaves their probability as it was.
        """
        ...


def brings_own_minimiser(loss: Any) -> bool:
    """Whether a loss finds its own minimiser for win counts, and no solver has to.

    Example:
        >>> from apo_sim.losses import DPO, SPPO
        >>> brings_own_minimiser(SPPO()), brings_own_minimiser(DPO())
        (True, False)
    """
    return isinstance(loss, BringsEmpiricalMinimiser)


@runtime_checkable
class BringsMean(Protocol):
    """A loss whose mean needs no comparison of every two arms."""

    def population_loss(
        self,
        scores: Float[Array, "contexts arms"],
        policy: Float[Array, "contexts arms"],
        win_rate: Float[Array, "contexts arms"],
        extra: Extra,
    ) -> Float[Array, " contexts"]:
        """Its mean over all pairs that a policy draws, in each context."""
        ...


@runtime_checkable
class BringsDerivatives(Protocol):
    """A loss of h_winner - h_loser whose derivatives are cheaper than by differentiating it."""

    def derivatives(self, difference: Array) -> tuple[Array, Array, Array]:
        """Value, slope and curvature."""
        ...


class Between(NamedTuple):
    """Slope and curvature of a loss between arms and their rivals, element by element.

    Attributes:
        slope: where the arm won, at its score less that of the rival.
        slope_of_loser: where the arm lost, at the rival's score less its own.
        curvature: where the arm won.
        curvature_of_loser: where the arm lost.
    """

    slope: Array
    slope_of_loser: Array
    curvature: Array
    curvature_of_loser: Array


@runtime_checkable
class BringsDerivativesBetween(Protocol):
    """A loss whose derivatives between arms are cheaper than those of all their differences."""

    def derivatives_between(self, arm: Float[Array, "..."], rival: Float[Array, "..."]) -> Between:
        """Those between arms and rivals, whose exp(score) are given up to a common factor.

        Asked for only where the ratio of any two of these is a normal number.
        """
        ...


@runtime_checkable
class PointwiseLoss(Protocol):
    """A loss on single labelled responses: `loss(h, label, anchor)`, element by element.

    h is the score of a response, and label is 1.0 if the response was judged desirable and 0.0
    otherwise. The method `anchor` computes the anchor from the mean score of responses in contexts
    that they do not belong to.
    """

    def __call__(
        self, h: Float[Array, "..."], label: Float[Array, "..."], anchor: Float[Array, ""], /
    ) -> Float[Array, "..."]: ...

    def anchor(self, mean_mismatched_score: Float[Array, ""]) -> Float[Array, ""]:
        """The score that others are held against; no gradient may go through it."""
        ...


def is_pointwise(loss: Any) -> bool:
    """Whether a loss is one of single labelled responses, and not of pairs.

    Example:
        >>> from apo_sim.losses import DPO, KTO
        >>> is_pointwise(KTO()), is_pointwise(DPO())
        (True, False)
    """
    return isinstance(loss, PointwiseLoss) and callable(loss.anchor)


def as_pointwise(name: str, loss: Any) -> Any:
    """The kind of a loss of labelled responses.

    Example:
        >>> from apo_sim.losses import DPO
        >>> as_pointwise("loss", DPO())
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: loss = DPO() is not a loss on labelled responses; pass an \
instance such as apo_sim.losses.KTO(), with __call__ and anchor
    """
    if isinstance(loss, type) or not is_pointwise(loss):
        raise InvalidArgument(
            name,
            loss,
            "is not a loss on labelled responses",
            "pass an instance such as apo_sim.losses.KTO(), with __call__ and anchor",
        )
    if is_ours(loss):
        return loss
    _check_signature(name, loss.anchor, (0.2,), "write anchor(mean_mismatched_score)")
    _check_signature(name, loss, (0.7, 1.0, 0.2), "write loss(h, label, anchor)")
    _check_number(
        name,
        loss,
        lambda h: loss(h, jnp.ones_like(h), loss.anchor(h)),
        (_score(),),
        "a score and its label",
    )
    return loss


def as_loss(name: str, loss: Any) -> Any:
    """The kind of a loss of pairs: two scores and an `Extra` go in, one number comes out.

    Example:
        >>> as_loss("loss", lambda difference: difference)
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: loss = <function <lambda> ...> has another signature ...
    """
    if isinstance(loss, type) or not callable(loss):
        raise InvalidArgument(
            name, loss, "is not a loss", "pass an instance such as apo_sim.DPO(), or a callable"
        )
    if is_pointwise(loss):
        raise InvalidArgument(
            name,
            loss,
            "is a loss on single labelled responses",
            "pass a loss on pairs, such as apo_sim.DPO()",
        )
    if is_ours(loss):
        return loss
    _check_signature(name, loss, (0.7, 0.2, Extra()), "write loss(h_winner, h_loser, extra)")
    scores = _score(), _score()
    _check_number(name, loss, lambda won, lost: loss(won, lost, Extra()), scores, "two scores")
    return loss


def is_ours(loss: Any) -> bool:
    """Whether a loss is one of this package's, which have been checked."""
    return type(loss).__module__.startswith("apo_sim.losses.")


def _score() -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((), jnp.result_type(float))


def _check_signature(name: str, function: Any, arguments: tuple[Any, ...], remedy: str) -> None:
    try:
        inspect.signature(function).bind(*arguments)
    except ValueError:  # a callable that does not say what it takes
        pass
    except TypeError as error:
        raise InvalidArgument(name, function, f"has another signature ({error})", remedy) from error


def _check_number(
    name: str, loss: Any, of_scores: Callable[..., Any], scores: tuple[Any, ...], words: str
) -> None:
    """Refuse a loss that is no number of its scores, or not written in JAX."""
    remedy = "write it element by element, in JAX"
    with written_in_jax(name, loss, "cannot be compiled", remedy):
        value = jax.eval_shape(of_scores, *scores)
    one = isinstance(value, jax.ShapeDtypeStruct) and value.shape == ()
    if not one or not jnp.issubdtype(value.dtype, jnp.floating):
        raise InvalidArgument(name, loss, f"is not a number for {words}", remedy)


@checked(loss=as_loss, problem=PROBLEM)
def population_rewards(
    loss: Loss, problem: Problem, log_policy: LogPolicy
) -> Float[Array, "contexts arms"] | None:
    """The loss's own population minimiser, or None where it has no closed form."""
    log_policy = log_policy_of(problem, log_policy)
    if not isinstance(loss, BringsMinimiser):
        return None
    return loss.population_rewards(problem, log_policy)


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
    if isinstance(loss, BringsDerivatives):
        return loss.derivatives(difference)

    def value(d):
        return as_array("loss", loss(d, jnp.zeros_like(d), Extra()))

    def slope(d):
        return jax.jvp(value, (d,), (jnp.ones_like(d),))[1]

    first, second = jax.jvp(slope, (difference,), (jnp.ones_like(difference),))
    return value(difference), first, second


def from_derivatives_between(
    loss: Loss,
    scores: Float[Array, "arms batch"],
    use: Callable[[Callable[[Array, Array], Between], Float[Array, "arms batch"]], Result],
    *,
    wide: bool = True,
) -> Result:
    """What a function makes of slope and curvature of a loss between arms.

    It is handed what finds them, and not the caller, so that the compiler may join both and writes
    none of the pairs that only sums are wanted of.

    Args:
        loss: any.
        scores: of the arms, batch last.
        use: the function; it may be traced twice. It gets what finds the derivatives between arms
            and rivals, element by element, and what that has to be told of every arm.
        wide: whether scores may be as far apart as `widest_range`; what is made of those is a
            program of its own.

    Example:
        >>> import jax.numpy as jnp
        >>> from apo_sim.losses import DPO
        >>> from_derivatives_between(
        ...     DPO(), jnp.zeros((2, 1)), lambda between, arms: between(arms[0], arms[1]).slope
        ... ).tolist()
        [-0.5]
    """

    def by_differences() -> Result:
        return use(partial(between_by_differences, loss), scores)

    if not isinstance(loss, BringsDerivativesBetween):
        return by_differences()
    highest = jnp.max(scores, axis=0)

    def by_exponentials() -> Result:
        return use(loss.derivatives_between, jnp.exp(scores - highest))

    if not wide:
        return by_exponentials()
    near = jnp.all(highest - jnp.min(scores, axis=0) < widest_range(scores.dtype))
    return jax.lax.cond(near, by_exponentials, by_differences)


def widest_range(dtype: Any) -> float:
    """How far apart scores may be whose exponentials say all that a loss asks of their differences.

    Example:
        >>> import jax.numpy as jnp
        >>> round(widest_range(jnp.float32))
        79
    """
    return -0.9 * math.log(jnp.finfo(dtype).smallest_normal)


def between_by_differences(
    loss: Loss, arm: Float[Array, "..."], rival: Float[Array, "..."]
) -> Between:
    """Slope and curvature of a loss between arms and rivals, from the difference of the scores."""
    ahead = arm - rival
    _, slope, curvature = derivatives(loss, ahead)
    _, slope_of_loser, curvature_of_loser = derivatives(loss, -ahead)
    return Between(slope, slope_of_loser, curvature, curvature_of_loser)
