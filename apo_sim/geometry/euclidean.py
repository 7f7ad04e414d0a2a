"""The squared distance, under which arms lose all their mass."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.checks import as_flag
from apo_sim.geometry._excess import difference
from apo_sim.geometry.bregman import Bregman, Dual, LogPolicy, PerContext, Weights
from apo_sim.pytree import pytree_dataclass, static


@pytree_dataclass
class Euclidean(Bregman):
    """phi(p) = p^2 / 2: the step is a projection onto the simplex, pi = max(z - lambda, 0).

    The generator is not Legendre: arms can reach zero. Two methods differ in how they treat a
    vanished arm. The lazy one keeps its negative coordinate, so the arm may return (dual
    averaging); the agile one forgets it and takes every step from phi'(pi) (projected gradient).

    Source: ours; the projection is sparsemax (Martins and Astudillo 2016).

    Args:
        lazy: whether coordinates below zero are kept.

    Raises:
        InvalidArgument: lazy is neither True nor False.

    Example:
        >>> import jax.numpy as jnp
        >>> even = jnp.log(jnp.array([0.5, 0.5]))
        >>> jnp.exp(Euclidean().prox(even, jnp.array([3.0, 0.0]), beta=1.0)).tolist()
        [1.0, 0.0]
    """

    legendre: ClassVar[bool] = False

    lazy: bool = static(default=True)

    def __post_init__(self) -> None:
        as_flag("lazy", self.lazy)

    def dual(self, log_policy: LogPolicy) -> Dual:
        return jnp.exp(log_policy)

    def normalise(self, dual: Dual) -> tuple[Dual, Weights, PerContext]:
        # The result does not depend on what is taken off, so neither do its derivatives.
        shifted = dual - jax.lax.stop_gradient(jnp.max(dual, axis=-1, keepdims=True))
        shifted = shifted - _threshold(shifted, 1.0)[..., None]
        weights = jnp.where(shifted > 0, shifted, 0.0)
        return shifted if self.lazy else weights, weights, jnp.sum(weights, axis=-1)

    def step(self, dual: Dual, reward: Dual, beta: float | Float[Array, "..."]) -> Dual:
        # The agile one starts where the policy is, wherever momentum has carried the coordinates.
        return (dual if self.lazy else self.normalise(dual)[0]) + reward / beta

    def log_policy(self, dual: Dual) -> LogPolicy:
        some = dual > 0
        # Twice, because the derivative of a logarithm at 0 would be NaN where it is not taken.
        return jnp.where(some, jnp.log(jnp.where(some, dual, 1.0)), -jnp.inf)

    def normaliser(self, dual: Dual, mass: float | Float[Array, "..."] = 1.0) -> PerContext:
        top = jax.lax.stop_gradient(jnp.max(dual, axis=-1))
        return top + _threshold(dual - top[..., None], mass)

    def _divergence(self, log_policy: LogPolicy, log_centre: LogPolicy) -> Dual:
        return 0.5 * difference(log_policy, log_centre) ** 2


def _threshold(dual: Dual, mass: float | Float[Array, "..."]) -> PerContext:
    """The lambda for which max(dual - lambda, 0) sums to `mass`; the largest coordinate is 0.

    Newton's method from the left: the arms above lambda get fewer and fewer, until they are those
    that keep some mass.
    """
    mass = jnp.asarray(mass, dual.dtype)
    fixed, fixed_mass = jax.lax.stop_gradient((dual, mass))

    def unfinished(state: tuple[Array, Array]) -> Array:
        return state[1]

    def improve(state: tuple[Array, Array]) -> tuple[Array, Array]:
        lowest, _ = state
        new = _over(fixed > lowest[..., None], fixed, fixed_mass)
        return jnp.maximum(new, lowest), jnp.any(new > lowest)

    start = (jnp.broadcast_to(-fixed_mass, dual.shape[:-1]), jnp.array(True))
    lowest, _ = jax.lax.while_loop(unfinished, improve, start)
    # Once more, for the derivatives: they are those of a mean over the arms that remain.
    return _over(fixed > lowest[..., None], dual, mass)


def _over(above: Array, dual: Dual, mass: Array) -> PerContext:
    """What the threshold would be if these arms had all the mass."""
    # Without any mass there is no such arm, and the threshold is the largest coordinate.
    count = jnp.maximum(jnp.sum(above, axis=-1), 1)
    return (jnp.sum(jnp.where(above, dual, 0.0), axis=-1) - mass) / count
