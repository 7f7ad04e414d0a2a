"""The chi-square divergence with the KL divergence, relative to a reference policy."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.errors import InvalidArgument
from apo_sim.geometry._excess import difference, excess
from apo_sim.geometry.bregman import Bregman, Dual, LogPolicy, PerContext, Weights, as_log_probs
from apo_sim.geometry.omega import Omega
from apo_sim.geometry.root import level
from apo_sim.pytree import pytree_dataclass

_CURVE = Omega()


@pytree_dataclass
class ChiSquareKL(Bregman):
    """phi'(p) = p / ref + log(p / ref): chi-square keeps policies near the reference.

    Source: the regulariser of chi-PO (Huang et al. 2024), as a generator of a Bregman divergence.

    Args:
        log_ref: log-probabilities of the reference, shape (..., arms), natural logarithm,
            normalised, every arm with positive mass; None for the reference of the problem.

    Raises:
        InvalidArgument: log_ref is not a policy, or is still None where it is needed.

    Example:
        >>> import jax.numpy as jnp
        >>> even = jnp.log(jnp.array([0.5, 0.5]))
        >>> geometry = ChiSquareKL().at(even)
        >>> reward = jnp.array([1.0 + jnp.log(3.0), 0.0])
        >>> jnp.exp(geometry.prox(even, reward, beta=1.0)).round(3).tolist()
        [0.75, 0.25]
    """

    log_ref: LogPolicy | None = None

    def __post_init__(self) -> None:
        if self.log_ref is not None:
            log_ref = as_log_probs("log_ref", self.log_ref, may_vanish=False)
            object.__setattr__(self, "log_ref", log_ref)

    def at(self, log_ref: LogPolicy) -> "ChiSquareKL":
        return ChiSquareKL(log_ref) if self.log_ref is None else self

    @property
    def _log_base(self) -> LogPolicy:
        if self.log_ref is None:
            raise InvalidArgument(
                "log_ref",
                None,
                "is not known",
                "pass ChiSquareKL(log_ref), or use what at() returns",
            )
        return self.log_ref

    def dual(self, log_policy: LogPolicy) -> Dual:
        return _CURVE.score(log_policy - self._log_base)

    def normalise(self, dual: Dual) -> tuple[Dual, Weights, PerContext]:
        place, log_ratio, gaps, _ = self._level(dual, 1.0)
        # What the last digits of large coordinates add to the mass is taken off again: one more
        # of Newton's steps, kept short because a slope next to zero would make it anything.
        terms = jnp.exp(self._log_base + log_ratio)
        slope = jnp.sum(terms * jnp.exp(_CURVE.log_elasticity(log_ratio)), axis=-1)
        rest = jnp.clip((jnp.sum(terms, axis=-1) - 1.0) / slope, -0.5, 0.5)
        shifted = (place[..., None] - gaps) - jax.lax.stop_gradient(rest)[..., None]
        weights = jnp.exp(self.log_policy(shifted))
        return shifted, weights, jnp.sum(weights, axis=-1)

    def log_policy(self, dual: Dual) -> LogPolicy:
        return self._log_base + _CURVE.log_ratio(dual)

    def normaliser(self, dual: Dual, mass: float | Float[Array, "..."] = 1.0) -> PerContext:
        place, _, _, least = self._level(dual, mass)
        return least - place

    def _level(self, dual: Dual, mass: float | Float[Array, "..."]):
        log_base = jnp.broadcast_to(self._log_base.astype(dual.dtype), dual.shape)
        log_mass = jnp.broadcast_to(jnp.log(jnp.asarray(mass, dual.dtype)), dual.shape[:-1])
        return around(log_base, dual, log_mass)

    def _check_arms(self, name: str, value: Array) -> None:
        wanted = self._log_base.shape
        if value.shape[-len(wanted) :] != wanted:
            raise InvalidArgument(
                name,
                value,
                f"has shape {value.shape}, but log_ref has {wanted}",
                "pass one number for each of its arms",
            )

    def _divergence(self, log_policy: LogPolicy, log_centre: LogPolicy) -> Dual:
        apart = difference(log_policy, log_centre) * jnp.exp(-0.5 * self._log_base)
        entropy = excess(log_centre, log_policy, log_policy - log_centre, 1.0)
        return 0.5 * apart**2 + entropy


def around(
    log_base: LogPolicy, dual: Dual, log_mass: PerContext
) -> tuple[PerContext, LogPolicy, Dual, PerContext]:
    """log u with u + log u = dual - lambda, for base u to have a total mass.

    Args:
        log_base: shape (..., arms); -inf for an arm that takes no part.
        dual: shape (..., arms).
        log_mass: shape (...,).

    Returns:
        The place, at most 0; log u; how far each arm lies below the place; and the lambda of
        place 0, from which the place takes off.
    """
    # Place 0 is where some arm alone would have all the mass. An unlikely arm's coordinate may be
    # so large that in differences to it all the others lose their digits; here they keep them.
    log_all = log_mass[..., None] - log_base
    least = jax.lax.stop_gradient(jnp.max(dual - _CURVE.score(log_all), axis=-1, keepdims=True))
    gaps = least - dual
    # With an even share of the mass at most, the arms have no more than the mass together.
    log_even = log_all - jnp.log(jnp.asarray(dual.shape[-1], dual.dtype))
    low = jnp.minimum(-jnp.max(-gaps - _CURVE.score(log_even), axis=-1), 0.0)
    high = jnp.zeros_like(low)
    place, log_ratio = level(_CURVE, log_base, gaps, log_mass, low, high, high)
    return place, log_ratio, gaps, least[..., 0]
