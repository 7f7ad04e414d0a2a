"""Links of f-divergences, h = beta f'(pi / pi_t): the steps of f-DPO."""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.checks import Real, above_zero, check_single, concrete
from apo_sim.errors import InvalidArgument
from apo_sim.geometry._excess import difference, excess
from apo_sim.geometry._power import Power
from apo_sim.geometry.bregman import Dual, LogPolicy, PerContext, of_arms
from apo_sim.geometry.chi_square_kl import around
from apo_sim.geometry.kl import LogCoordinates
from apo_sim.geometry.root import Curve, level
from apo_sim.pytree import pytree_dataclass, static

Ratio = Float[Array, "*shape"]
_ALPHA = Real(
    "lies outside (0, 1)",
    lambda values: above_zero(values) & (values < 1),
    "pass a number in between; KL() and ForwardKL() are its limits",
)


class Link(LogCoordinates):
    """The step maximises <r, pi> - beta D_f(pi || pi_t), D_f = sum_y pi_t f(pi / pi_t).

    f is convex with f(1) = 0 and f'(0) = -inf, so that no arm is lost. Except for KL, this is not
    a Bregman step: its steps are not additive in any coordinates. Momentum acts on
    log-probabilities, as in practice. A subclass defines `score_of_ratio`, the curve of f', and
    `_divergence`.
    """

    of_log_ratio: ClassVar[bool] = True

    @property
    def _curve(self) -> Curve:
        raise NotImplementedError

    def score_of_ratio(self, log_ratio: Ratio) -> Ratio:
        """f'(u) of one arm from log u = log(policy / centre), element by element."""
        raise NotImplementedError

    def _score(self, log_policy: LogPolicy, log_centre: LogPolicy) -> Dual:
        return self.score_of_ratio(log_policy - log_centre)

    def step(self, dual: Dual, reward: Dual, beta: float | Float[Array, "..."]) -> Dual:
        log_centre = jax.nn.log_softmax(dual, axis=-1)
        scaled = jnp.where(log_centre > -jnp.inf, reward / beta, -jnp.inf)
        return log_centre + self._ratios(log_centre, scaled)[0]

    def shift(self, dual: Dual, reward: Dual, beta: Any, where: Any = None, axis: int = -1) -> Any:
        log_centre, reward = (jnp.moveaxis(part, axis, -1) for part in (dual, reward))
        scaled = reward / of_arms(beta, -1)
        if where is None:
            return beta * self._ratios(log_centre, scaled)[1]
        where = jnp.moveaxis(where, axis, -1)
        log_base, scaled = (jnp.where(where, part, -jnp.inf) for part in (log_centre, scaled))
        # An arm keeps its mass where f' is that of a ratio of one.
        return beta * (self._ratios(log_base, scaled)[1] + self.score_of_ratio(jnp.zeros(())))

    def _ratios(self, log_base: LogPolicy, scaled: Dual) -> tuple[LogPolicy, PerContext]:
        """log u with f'(u) = scaled - lambda, which keeps the mass of the base, and lambda."""
        best = jnp.argmax(scaled, axis=-1)[..., None]
        highest = jnp.take_along_axis(scaled, best, axis=-1)
        gaps = highest - scaled
        log_mass = jax.nn.logsumexp(log_base, axis=-1)
        # The arm of the highest reward gains, and gains at most all the mass.
        high = log_mass - jnp.take_along_axis(log_base, best, axis=-1)[..., 0]
        of_kl = log_mass - jax.nn.logsumexp(log_base - gaps, axis=-1)
        low = jnp.zeros_like(high)
        place, log_ratio = level(self._curve, log_base, gaps, log_mass, low, of_kl, high)
        return log_ratio, highest[..., 0] - self.score_of_ratio(place)


@pytree_dataclass
class ForwardKL(Link):
    """f'(u) = -1 / u: D_f is KL(pi_t || pi), the forward divergence.

    Source: f-DPO (Wang et al. 2024).

    Example:
        >>> import jax.numpy as jnp
        >>> even = jnp.log(jnp.array([0.5, 0.5]))
        >>> jnp.exp(ForwardKL().prox(even, jnp.array([0.75, 0.0]), beta=1.0)).round(3).tolist()
        [0.667, 0.333]
    """

    @property
    def _curve(self) -> Curve:
        return Power(1.0)

    def score_of_ratio(self, log_ratio: Ratio) -> Ratio:
        return -jnp.exp(-log_ratio)

    def _divergence(self, log_policy: LogPolicy, log_centre: LogPolicy) -> Dual:
        return excess(log_centre, log_policy, log_policy - log_centre, 0.0)


@pytree_dataclass
class AlphaDivergence(Link):
    """f'(u) = (1 - u^-alpha) / alpha, between KL (alpha = 0) and forward KL (alpha = 1).

    Source: f-DPO (Wang et al. 2024).

    Args:
        alpha: in (0, 1); part of the compiled program.

    Raises:
        InvalidArgument: alpha outside (0, 1), or not one known number.

    Example:
        >>> import jax.numpy as jnp
        >>> link = AlphaDivergence(0.5)
        >>> link.score_of_ratio(jnp.log(jnp.array([0.25, 1.0, 4.0]))).tolist()
        [-2.0, 0.0, 1.0]
    """

    alpha: float = static(default=0.5)

    def __post_init__(self) -> None:
        check_single("alpha", self.alpha, "pass one number")
        _ALPHA.check("alpha", self.alpha)
        if concrete(self.alpha) is None:
            raise InvalidArgument("alpha", self.alpha, "is traced", "pass a plain number")
        object.__setattr__(self, "alpha", float(self.alpha))

    @property
    def _curve(self) -> Curve:
        return Power(self.alpha)

    def score_of_ratio(self, log_ratio: Ratio) -> Ratio:
        return Power(self.alpha).score(log_ratio)

    def _divergence(self, log_policy: LogPolicy, log_centre: LogPolicy) -> Dual:
        apart = log_policy - log_centre
        return excess(log_centre, log_policy, apart, 1.0 - self.alpha)


@pytree_dataclass
class JensenShannon(Link):
    """f'(u) = log(2 u / (1 + u)): D_f is twice the Jensen-Shannon divergence.

    Source: f-DPO (Wang et al. 2024).

    Example:
        >>> import jax.numpy as jnp
        >>> float(JensenShannon().score_of_ratio(jnp.array(0.0)))
        0.0
    """

    @property
    def _curve(self) -> Curve:
        return _Shannon()

    def score_of_ratio(self, log_ratio: Ratio) -> Ratio:
        return _half_way(-log_ratio)

    def _divergence(self, log_policy: LogPolicy, log_centre: LogPolicy) -> Dual:
        apart = log_policy - log_centre
        up, down = _half_way(-apart), _half_way(apart)
        # The two are logarithms of the ratios to the mean of both, which is one of the two in them.
        log_mean = jnp.logaddexp(log_policy, log_centre) - math.log(2.0)
        return excess(log_mean, log_policy, up, 1.0) + excess(log_mean, log_centre, down, 1.0)


def _half_way(log_ratio: Ratio) -> Ratio:
    """log(2 / (1 + u)), with all its digits where u is near 1."""
    near = jnp.abs(log_ratio) < 1.0
    small = -jnp.log1p(0.5 * jnp.expm1(jnp.where(near, log_ratio, 0.0)))
    return jnp.where(near, small, math.log(2.0) - jax.nn.softplus(log_ratio))


@dataclasses.dataclass(frozen=True)
class _Shannon:
    """f'(u) = log(u / (1 + u)), up to a constant; a place is the logarithm of a ratio."""

    def below(self, place: Array, gap: Array) -> tuple[Array, Array]:
        # A quotient that is compiled into two places may differ from itself in its last digit.
        gap = jnp.maximum(gap, 0.0)
        # From a place log v: 1 / u = exp(gap) (1 + 1 / v) - 1 = (exp(gap) - 1) + exp(gap) / v.
        log_ratio = -gap - jnp.logaddexp(jnp.log(-jnp.expm1(-gap)), -place)
        return log_ratio, jnp.exp(self.log_elasticity(log_ratio) - self.log_pace(place))

    def log_elasticity(self, log_ratio: Array) -> Array:
        return jax.nn.softplus(log_ratio)

    def log_pace(self, place: Array) -> Array:
        return jax.nn.softplus(place)


@pytree_dataclass
class MixedChiSquare(Link):
    """f'(u) = u + log u: chi-square with KL, both relative to the proximal centre.

    Source: chi-PO's link (Huang et al. 2024), whose centre is the reference policy: from there its
    step is that of `ChiSquareKL`.

    Example:
        >>> import jax.numpy as jnp
        >>> float(MixedChiSquare().score_of_ratio(jnp.array(0.0)))
        1.0
    """

    def score_of_ratio(self, log_ratio: Ratio) -> Ratio:
        return jnp.exp(log_ratio) + log_ratio

    def _ratios(self, log_base: LogPolicy, scaled: Dual) -> tuple[LogPolicy, PerContext]:
        place, log_ratio, _, least = around(log_base, scaled, jax.nn.logsumexp(log_base, axis=-1))
        return log_ratio, least - place

    def _divergence(self, log_policy: LogPolicy, log_centre: LogPolicy) -> Dual:
        apart = difference(log_policy, log_centre) * jnp.exp(-0.5 * log_centre)
        entropy = excess(log_centre, log_policy, log_policy - log_centre, 1.0)
        return 0.5 * apart**2 + entropy
