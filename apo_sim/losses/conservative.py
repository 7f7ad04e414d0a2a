"""DPO for labels of which some are wrong: conservative and robust DPO."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.checks import check_single, within
from apo_sim.losses.dpo import DPO
from apo_sim.losses.loss import Between, Extra
from apo_sim.pytree import pytree_dataclass

_SHARE = within("in [0, 1/2)", lambda values: (values >= 0) & (values < 0.5))
_LOGISTIC = DPO()


def _check_share(name: str, value: object) -> None:
    check_single(name, value, "pass one number in [0, 1/2)")
    _SHARE.check(name, value)


class _Tilted:
    """The logistic loss plus a multiple of the difference of the scores."""

    @property
    def tilt(self) -> float | Float[Array, ""]:
        raise NotImplementedError

    def __call__(
        self, h_winner: Float[Array, "..."], h_loser: Float[Array, "..."], extra: Extra
    ) -> Float[Array, "..."]:
        return _LOGISTIC(h_winner, h_loser, extra) + self.tilt * (h_winner - h_loser)

    def derivatives(self, difference: Array) -> tuple[Array, Array, Array]:
        """Value, slope and curvature."""
        value, slope, curvature = _LOGISTIC.derivatives(difference)
        return value + self.tilt * difference, slope + self.tilt, curvature

    def derivatives_between(self, arm: Float[Array, "..."], rival: Float[Array, "..."]) -> Between:
        """As for the logistic loss, whose curvature it has."""
        between = _LOGISTIC.derivatives_between(arm, rival)
        slope, of_loser = between.slope + self.tilt, between.slope_of_loser + self.tilt
        return between._replace(slope=slope, slope_of_loser=of_loser)

    def population_loss(
        self,
        scores: Float[Array, "contexts arms"],
        policy: Float[Array, "contexts arms"],
        win_rate: Float[Array, "contexts arms"],
        extra: Extra,
    ) -> Float[Array, " contexts"]:
        """Mean over all pairs: that of the logistic loss, and the mean lead of the winners."""
        lead = 2.0 * jnp.sum(policy * (2.0 * win_rate - 1.0) * scores, axis=1)
        return _LOGISTIC.population_loss(scores, policy, win_rate, extra) + self.tilt * lead


@pytree_dataclass
class ConservativeDPO(_Tilted):
    """(1 - e) L(d) + e L(-d), L the logistic loss: the cross-entropy with smoothed labels.

    For two arms, it learns the log-odds of p (1 - e) + (1 - p) e instead of those of p, so that
    even deterministic labels give a finite difference. If labels are in fact flipped with
    probability e, the result is biased twice. Some tools call this `label_smoothing`, others
    `RobustDPO`.

    Args:
        noise: e, the share of labels expected to be wrong, in [0, 1/2).

    Raises:
        InvalidArgument: a share that is none.

    Source: Mitchell (2023).

    Example:
        >>> loss = ConservativeDPO(0.1)
        >>> best = jnp.log(9.0)  # of certain labels: the log-odds of 1 - e
        >>> abs(float(loss.derivatives(best)[1])) < 1e-6
        True
    """

    noise: float | Float[Array, ""] = 0.1

    def __post_init__(self) -> None:
        _check_share("noise", self.noise)

    @property
    def tilt(self) -> float | Float[Array, ""]:
        """L(-d) = L(d) + d."""
        return self.noise


@pytree_dataclass
class RobustDPO(_Tilted):
    """((1 - e) L(d) - e L(-d)) / (1 - 2 e), L the logistic loss: unbiased under flipped labels.

    Its mean over labels that are flipped with probability e is DPO's mean over clean labels, so its
    population minimiser is DPO's. On a sample, it may require infinite differences where DPO does
    not, because noise that was expected but did not occur counts as evidence.

    Args:
        noise: e, the share of labels that are flipped, in [0, 1/2).

    Raises:
        InvalidArgument: a share that is none.

    Source: Chowdhury, Kini and Natarajan (2024).

    Example:
        >>> loss, d, zero = RobustDPO(0.25), jnp.array(0.7), jnp.array(0.0)
        >>> flipped = 0.75 * loss(d, zero, Extra()) + 0.25 * loss(zero, d, Extra())
        >>> abs(float(flipped - DPO()(d, zero, Extra()))) < 1e-6
        True
    """

    noise: float | Float[Array, ""] = 0.1

    def __post_init__(self) -> None:
        _check_share("noise", self.noise)

    @property
    def tilt(self) -> float | Float[Array, ""]:
        """(1 - e) L - e (L + d) is (1 - 2 e) L - e d."""
        return -self.noise / (1.0 - 2.0 * self.noise)
