"""Tsallis entropies, and what they share with Burg's entropy."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.checks import Real, above_zero, check_single, concrete
from apo_sim.errors import InvalidArgument
from apo_sim.geometry._excess import excess
from apo_sim.geometry._power import Power
from apo_sim.geometry.bregman import Bregman, Dual, LogPolicy, PerContext, Weights
from apo_sim.geometry.root import level
from apo_sim.pytree import pytree_dataclass, static

_ORDER = Real(
    "lies outside (0, 1)",
    lambda values: above_zero(values) & (values < 1),
    "pass a number in between; Burg() and KL() are its limits",
)


class PowerEntropy(Bregman):
    """phi'(p) = (1 - p^(q-1)) / (1 - q) with q < 1, so that phi'(1) = 0.

    A subclass defines q.
    """

    q: Any

    @property
    def _curve(self) -> Power:
        return Power(1.0 - self.q)

    def dual(self, log_policy: LogPolicy) -> Dual:
        return self._curve.score(log_policy)

    def normalise(self, dual: Dual) -> tuple[Dual, Weights, PerContext]:
        # The result does not depend on which place gaps are counted from; nor do its derivatives.
        gaps = jax.lax.stop_gradient(jnp.max(dual, axis=-1, keepdims=True)) - dual
        top, log_policy = self._level(gaps, 1.0)
        weights = jnp.exp(log_policy)
        return self._curve.score(top)[..., None] - gaps, weights, jnp.sum(weights, axis=-1)

    def log_policy(self, dual: Dual) -> LogPolicy:
        return self._curve.log_ratio(dual)

    def normaliser(self, dual: Dual, mass: float | Float[Array, "..."] = 1.0) -> PerContext:
        highest = jax.lax.stop_gradient(jnp.max(dual, axis=-1))
        top, _ = self._level(highest[..., None] - dual, mass)
        return highest - self._curve.score(top)

    def _level(self, gaps: Dual, mass: float | Float[Array, "..."]) -> tuple[PerContext, LogPolicy]:
        """log-probabilities of an arm of gap 0 and of all: its share is at least that of any."""
        log_mass = jnp.broadcast_to(jnp.log(jnp.asarray(mass, gaps.dtype)), gaps.shape[:-1])
        low = log_mass - jnp.log(jnp.asarray(gaps.shape[-1], gaps.dtype))
        return level(self._curve, jnp.zeros_like(gaps), gaps, log_mass, low, log_mass, log_mass)

    def _divergence(self, log_policy: LogPolicy, log_centre: LogPolicy) -> Dual:
        apart = log_policy - log_centre
        log_base = self.q * log_centre if self.q > 0 else jnp.zeros_like(log_centre)
        return excess(log_base, log_policy - (1.0 - self.q) * log_centre, apart, self.q)


@pytree_dataclass
class Tsallis(PowerEntropy):
    """phi(p) = (p - p^q / q) / (1 - q), Tsallis' entropy of order q, for q in (0, 1).

    The policy is a power of its coordinates, pi = (1 + (1 - q) (lambda - z))^(-1 / (1 - q)): arms
    lose mass polynomially and never vanish. Its limits are KL (q = 1) and Burg (q = 0).

    Source: ours. q = 1/2 is the regulariser of bandit algorithms that are best in both worlds
    (Zimmert and Seldin 2021).

    Args:
        q: order of the entropy, in (0, 1); part of the compiled program.

    Raises:
        InvalidArgument: q lies outside (0, 1), or is not a single concrete number.

    Example:
        >>> import jax.numpy as jnp
        >>> even = jnp.log(jnp.array([0.5, 0.5]))
        >>> jnp.exp(Tsallis(0.5).prox(even, jnp.array([5 / 6, 0.0]), beta=1.0)).round(3).tolist()
        [0.64, 0.36]
    """

    q: float = static(default=0.5)

    def __post_init__(self) -> None:
        check_single("q", self.q, "pass one number")
        _ORDER.check("q", self.q)
        if concrete(self.q) is None:
            raise InvalidArgument("q", self.q, "is traced", "pass a plain number")
        object.__setattr__(self, "q", float(self.q))
