"""What a geometry is: dual coordinates of policies, and the proximal step in them.

Policies are log-probabilities, shape (contexts, arms); everything works along the last axis, for
any number of axes before it.
"""

from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from apo_sim.checks import (
    NUMBER,
    POSITIVE,
    as_array,
    check_normalised,
    checked,
    concrete,
    instance_of,
)
from apo_sim.errors import InvalidArgument

Dual = Float[Array, "*contexts arms"]
LogPolicy = Float[Array, "*contexts arms"]
Weights = Float[Array, "*contexts arms"]
PerContext = Float[Array, "*contexts"]


@runtime_checkable
class Geometry(Protocol):
    """The distance of the proximal step, and the coordinates in which the step is a shift.

    With Phi(pi) = sum_y phi(pi_y), the step maximises <r, pi> - beta B_Phi(pi, pi_t). Its dual
    coordinates z = phi'(pi) are free up to a constant in y; momentum acts on them, and the loop
    keeps them as they come and normalises them when it needs a policy. Inherit from `Bregman` to
    write less and to have `prox` as well.

    Attributes:
        legendre: whether no arm ever loses all its mass.
        of_log_ratio: whether the score of an arm depends on log(policy / centre) of this arm alone;
            it is `score_of_ratio(log_ratio)` then, as a language model needs it.
    """

    legendre: ClassVar[bool]
    of_log_ratio: ClassVar[bool]

    def at(self, log_ref: LogPolicy) -> "Geometry":
        """The same geometry for a problem's reference policy; most do not depend on it."""
        ...

    def dual(self, log_policy: LogPolicy) -> Dual:
        """z = phi'(pi), up to a constant in y."""
        ...

    def normalise(self, dual: Dual) -> tuple[Dual, Weights, PerContext]:
        """Coordinates with their normaliser taken off, and their policy as weights and a total.

        The policy is weights / total: where it is only averaged over, nothing is divided.
        """
        ...

    def log_policy(self, dual: Dual) -> LogPolicy:
        """(phi')^-1 of normalised coordinates, in logarithms; -inf where an arm has no mass."""
        ...

    def policy(self, dual: Dual) -> LogPolicy:
        """The policy of any coordinates, normalised or not."""
        ...

    def step(self, dual: Dual, reward: Dual, beta: float | Float[Array, "..."]) -> Dual:
        """Coordinates after a proximal step, before they are normalised."""
        ...

    def shift(self, dual: Dual, reward: Dual, beta: Any, where: Any = None, axis: int = -1) -> Any:
        """What to take off the reward of some arms for them to keep their mass in the step.

        Of all arms (`where` None) it is beta lambda, for KL beta log Z. `dual` is normalised; the
        arms are on `axis`, a negative number, and `beta` is one number or one for each context.
        """
        ...

    def score(self, log_policy: LogPolicy, log_centre: LogPolicy) -> Dual:
        """The h for which a step from the centre by the reward beta h is the policy."""
        ...

    def normaliser(self, dual: Dual, mass: float | Float[Array, "..."] = 1.0) -> PerContext:
        """The lambda for which dual - lambda has this total mass; an arm at -inf takes no part."""
        ...

    def divergence(self, log_policy: LogPolicy, log_centre: LogPolicy) -> PerContext:
        """B_Phi(policy, centre) in each context; it does not cancel for policies that are close."""
        ...


GEOMETRY = instance_of(Geometry, "is not a geometry", "pass an instance such as apo_sim.KL()")


class Bregman:
    """What every geometry of the library has: a step by addition, and checked conveniences.

    A subclass brings `dual`, `normalise`, `log_policy`, `normaliser` and `divergence` of
    `Geometry`. Those run inside the loop and check nothing; the methods that this class adds are
    for users, and do.

    Example:
        >>> import jax.numpy as jnp
        >>> from apo_sim.geometry import Euclidean
        >>> even = jnp.log(jnp.array([0.5, 0.5]))
        >>> policy = Euclidean().prox(even, jnp.array([1.0, 0.0]), beta=5.0)
        >>> jnp.exp(policy).round(3).tolist()
        [0.6, 0.4]
    """

    legendre: ClassVar[bool] = True
    of_log_ratio: ClassVar[bool] = False

    def at(self, log_ref: LogPolicy) -> Any:
        del log_ref
        return self

    def dual(self, log_policy: LogPolicy) -> Dual:
        raise NotImplementedError

    def normalise(self, dual: Dual) -> tuple[Dual, Weights, PerContext]:
        raise NotImplementedError

    def log_policy(self, dual: Dual) -> LogPolicy:
        raise NotImplementedError

    def normaliser(self, dual: Dual, mass: float | Float[Array, "..."] = 1.0) -> PerContext:
        raise NotImplementedError

    def step(self, dual: Dual, reward: Dual, beta: float | Float[Array, "..."]) -> Dual:
        return dual + reward / beta

    def shift(self, dual: Dual, reward: Dual, beta: Any, where: Any = None, axis: int = -1) -> Any:
        dual, reward = (jnp.moveaxis(part, axis, -1) for part in (dual, reward))
        stepped = self.step(dual, reward, of_arms(beta, -1))
        if where is None:
            return beta * self.normaliser(stepped)
        where = jnp.moveaxis(where, axis, -1)
        mass = jnp.sum(jnp.where(where, jnp.exp(self.log_policy(dual)), 0.0), axis=-1)
        some = mass > 0
        found = self.normaliser(jnp.where(where, stepped, -jnp.inf), jnp.where(some, mass, 1.0))
        # Arms without mass keep it as they are: no reward, or the same for all, moves none of them.
        same = jnp.max(jnp.where(where, reward, -jnp.inf), axis=-1)
        return jnp.where(some, beta * found, same)

    @checked(centre=as_array, reward=NUMBER, beta=POSITIVE.one())
    def prox(self, centre: Any, reward: Any, beta: Any) -> LogPolicy:
        """The proximal step argmax_pi <r, pi> - beta B_Phi(pi, centre).

        Args:
            centre: log-probabilities, shape (..., arms), normalised.
            reward: r, of the same shape, finite; a constant in y changes nothing.
            beta: proximal weight, above 0.

        Returns:
            Log-probabilities, shape (..., arms); -inf where an arm has no mass.

        Raises:
            InvalidArgument: a centre that is not a policy, other shapes, beta not above 0.
        """
        centre = self._checked_policy("centre", centre)
        _check_shape("reward", reward, centre)
        dual = self._finite("centre", centre, self.dual(centre))
        return self.policy(self.step(dual, reward, beta))

    @checked(dual=NUMBER)
    def policy(self, dual: Any) -> LogPolicy:
        """The policy of any dual coordinates, shape (..., arms), normalised or not.

        Raises:
            InvalidArgument: coordinates that are not finite, in an empty array or in none.
        """
        if dual.ndim == 0:
            raise InvalidArgument(
                "dual", dual, "has no axis for the arms", "pass one number per arm"
            )
        self._check_arms("dual", dual)
        return self.log_policy(self.normalise(dual)[0])

    @checked(log_policy=as_array, log_centre=as_array)
    def score(self, log_policy: Any, log_centre: Any) -> Dual:
        """h = phi'(policy) - phi'(centre): `prox(centre, beta h, beta)` is the policy again.

        Args:
            log_policy: log-probabilities, shape (..., arms), normalised.
            log_centre: of the proximal centre, of the same shape.

        Raises:
            InvalidArgument: what is not a policy, other shapes.
        """
        log_policy = self._checked_policy("log_policy", log_policy)
        log_centre = self._checked_policy("log_centre", log_centre)
        _check_shape("log_centre", log_centre, log_policy)
        return self._finite("log_policy", log_policy, self._score(log_policy, log_centre))

    def _score(self, log_policy: LogPolicy, log_centre: LogPolicy) -> Dual:
        return self.dual(log_policy) - self.dual(log_centre)

    @checked(log_policy=as_array, log_centre=as_array)
    def divergence(self, log_policy: Any, log_centre: Any) -> PerContext:
        """B_Phi(policy, centre) = Phi(policy) - Phi(centre) - <phi'(centre), policy - centre>.

        Args:
            log_policy: log-probabilities, shape (..., arms), normalised; -inf for no mass.
            log_centre: of the proximal centre, of the same shape.

        Returns:
            One number a context, at least 0; infinite where the policy has an arm that the centre
            lacks and the geometry does not allow it.

        Raises:
            InvalidArgument: what is not a policy, other shapes.
        """
        log_policy = self._checked_policy("log_policy", log_policy, may_vanish=True)
        log_centre = self._checked_policy("log_centre", log_centre, may_vanish=True)
        _check_shape("log_centre", log_centre, log_policy)
        # An arm without mass in either adds nothing; nor does one with all of it in both.
        either = (log_policy > -jnp.inf) | (log_centre > -jnp.inf)
        log_policy, log_centre = (
            jnp.where(either, log_p, 0.0) for log_p in (log_policy, log_centre)
        )
        return jnp.sum(self._divergence(log_policy, log_centre), axis=-1)

    def _divergence(self, log_policy: LogPolicy, log_centre: LogPolicy) -> Dual:
        """What each arm adds to the divergence, at least 0; in one of the two it has mass."""
        raise NotImplementedError

    def _checked_policy(self, name: str, value: Any, may_vanish: bool | None = None) -> LogPolicy:
        """A policy; unless it is said that arms may vanish, they may where coordinates allow it."""
        may_vanish = not self.legendre if may_vanish is None else may_vanish
        log_policy = as_log_probs(name, value, may_vanish)
        self._check_arms(name, log_policy)
        return log_policy

    def _check_arms(self, name: str, value: Array) -> None:
        """Refuse what is not over the arms of a geometry that has its own."""

    def _finite(self, name: str, log_policy: LogPolicy, dual: Dual) -> Dual:
        values = concrete(dual)
        if values is not None and not np.all(np.isfinite(values)):
            raise InvalidArgument(
                name,
                log_policy,
                f"has no finite coordinates under {type(self).__name__}",
                "give every arm more mass, or compute in double precision",
            )
        return dual


def as_log_probs(name: str, value: Any, may_vanish: bool = True) -> LogPolicy:
    """`value` as log-probabilities along its last axis, normalised if concrete.

    Args:
        name: of the argument.
        value: what was given.
        may_vanish: whether an arm may have no mass, log-probability -inf.
    """
    log_probs = as_array(name, value)
    if log_probs.ndim == 0 or 0 in log_probs.shape:
        raise InvalidArgument(
            name, value, f"has shape {log_probs.shape}", "pass one log-probability per arm"
        )
    values = concrete(log_probs)
    if values is None:
        return log_probs
    if np.any(np.isnan(values) | (values == np.inf)):
        raise InvalidArgument(
            name, value, "contains values that are not log-probabilities", "replace NaN and inf"
        )
    if not may_vanish and np.any(np.isneginf(values)):
        raise InvalidArgument(
            name,
            value,
            "gives an arm no mass",
            "give every arm some mass; log-probabilities reach far below 1e-300 (-690.8)",
        )
    check_normalised(name, log_probs, "pass jax.nn.log_softmax(logits, axis=-1)")
    return log_probs


def of_arms(beta: Any, axis: int) -> Any:
    """One number as it is; one for each context, with an axis of arms beside it."""
    return jnp.expand_dims(beta, axis) if jnp.ndim(beta) else beta


def _check_shape(name: str, value: Array, other: Array) -> None:
    if value.shape != other.shape:
        raise InvalidArgument(
            name,
            value,
            f"has shape {value.shape}, but the policy has {other.shape}",
            "pass one number for each of its arms",
        )


def check_reference(geometry: Any, log_ref: Any) -> None:
    """Refuse a reference policy that has no finite coordinates.

    Raises:
        InvalidArgument: an arm's mass is too small for this geometry in this precision.
    """
    values = concrete(log_ref)
    if values is None:
        return
    with jax.ensure_compile_time_eval():
        dual = concrete(geometry.at(log_ref).dual(log_ref))
    if dual is not None and not np.all(np.isfinite(dual)):
        raise InvalidArgument(
            "log_ref",
            log_ref,
            f"has no finite coordinates under {type(geometry).__name__}",
            "give every arm more mass, or compute in double precision",
        )
