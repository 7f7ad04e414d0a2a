"""Kahneman-Tversky optimisation: single labels of responses of the reference policy, fitted."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from apo_sim.checks import POSITIVE, above_zero, check_single, within
from apo_sim.geometry.root import increasing_root
from apo_sim.methods._states import TwoPolicies
from apo_sim.methods.method import Report
from apo_sim.methods.requests import SingleLabels
from apo_sim.preferences import Labels, Pairwise, Ranker
from apo_sim.preferences.ranked_pairs import RANKER
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass

_UP_TO_ONE = within("in (0, 1]", lambda values: above_zero(values) & (values <= 1))
# What is left of two equal weights that were summed up in another order, in last digits.
_ROUNDING = 64.0

Arms = Float[Array, "contexts arms"]


@pytree_dataclass
class KTO(TwoPolicies):
    """argmax of sum_y c(y) sigmoid(beta l(y) - z), l = log(pi / pi_ref), from single labels.

    c(y) = lambda_D times the desirable minus lambda_U times the undesirable labels of y: for exact
    preferences and equal weights mu(y) (2 P(y > mu) - 1). The anchor z = max(0, mean of beta l over
    responses in contexts that are not theirs) has no gradient, so it is solved for: the policy that
    is best for it must have it. All labels so far, of responses of the reference policy, are fitted
    anew in every iteration.

    With pi = pi_ref u the sigmoid is u^beta / (u^beta + e^z), which is concave for beta <= 1. So no
    arm with c <= 0 is worth any mass, and the best policy shares it among *all* arms with c > 0,
    such that c(y) / pi_ref(y) times the slope is the same; it is as greedy as that, and no more.
    Mass is taken from an arm down to pi_ref e^{-R / beta}. Where no arm has c > 0, those that the
    labels do not tell apart keep their share of the reference; where all have c < 0, one arm takes
    what the others lose, the one that costs least.

    Args:
        beta: weight of the log-ratio, in (0, 1]; above 1 there are several maxima.
        desirable: lambda_D, above 0.
        undesirable: lambda_U, above 0.
        reward_bound: R > 0, with beta l >= -R; without it the maximum is at infinity.
        ranker: how the pairs come about that are taken apart; its policy is the reference policy.

    Raises:
        InvalidArgument: a number out of range, something that is not a ranker.

    Source: Ethayarajh et al. (2024), "Model alignment as prospect theoretic optimization",
        equations (7) and (8); the maximum and the bound on a table are ours.

    Example:
        >>> import apo_sim as apo
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.9, 0.0]]), jnp.log(jnp.full((1, 3), 1 / 3)))
        >>> solution = apo.solve(bandit, KTO(beta=0.5), iterations=1)
        >>> [round(float(p), 3) for p in jnp.exp(solution.final_log_policy[0])]
        [0.576, 0.424, 0.0]
    """

    beta: float | Float[Array, ""] = 0.1
    desirable: float | Float[Array, ""] = 1.0
    undesirable: float | Float[Array, ""] = 1.0
    reward_bound: float | Float[Array, ""] = 4.0
    ranker: Ranker = Pairwise()

    def __post_init__(self) -> None:
        kinds = dict.fromkeys(("desirable", "undesirable", "reward_bound"), POSITIVE)
        for name, kind in {"beta": _UP_TO_ONE, **kinds}.items():
            check_single(name, getattr(self, name), kind.remedy)
            kind.check(name, getattr(self, name))
        RANKER("ranker", self.ranker)

    @property
    def request(self) -> SingleLabels:
        return SingleLabels(self.ranker, accumulated=True)

    def step(
        self, problem: Problem, state: Any, data: Labels, t: Int[Array, ""]
    ) -> tuple[Any, Report]:
        _, log_ref = state
        beta, liked, disliked, bound = (
            jnp.asarray(number, log_ref.dtype)
            for number in (self.beta, self.desirable, self.undesirable, self.reward_bound)
        )
        gain, loss = liked * data.desirable, disliked * data.undesirable
        noise = _ROUNDING * jnp.finfo(log_ref.dtype).eps * (gain + loss)
        weight = jnp.where(jnp.abs(gain - loss) > noise, gain - loss, 0.0)
        anchor, scores, residual = _anchored(weight, log_ref, beta, bound, data)
        log_policy = jax.nn.log_softmax(log_ref + scores / beta, axis=1)
        series = {"residual": residual, "anchor": anchor}
        return (log_policy, log_ref), Report(series=series, rewards=scores)

    def behaviour(self, state: Any) -> LogPolicy:
        """log of the reference policy, which all the labels are about."""
        return state[1]


def _anchored(
    weight: Arms, log_ref: LogPolicy, beta: Array, bound: Array, data: Labels
) -> tuple[Array, Arms, Array]:
    """The anchor that the policy which is best for it has, its scores, and how far it is off."""
    unit = jnp.finfo(log_ref.dtype).eps

    def at(anchor: Array) -> tuple[Arms, Array]:
        scores = _best(weight, log_ref, beta, bound, anchor)
        return scores, anchor - jnp.maximum(data.mismatched_mean(scores), 0.0)

    def excess(anchor: Array) -> tuple[Array, Array, Array]:
        return at(anchor)[1], jnp.ones_like(anchor), 8.0 * unit * (1.0 + anchor)

    low, high = jnp.zeros_like(beta), beta * jnp.max(-log_ref)
    anchor = jnp.maximum(increasing_root(excess, low, low, high), 0.0)
    scores, off = at(anchor)
    return anchor, scores, jnp.abs(off)


def _best(weight: Arms, log_ref: LogPolicy, beta: Array, bound: Array, anchor: Array) -> Arms:
    """beta l of the policy that is best for a given anchor, arm by arm at least -R."""
    floor = -bound / beta
    free = _free(weight, log_ref, beta, floor, anchor)
    kept = jnp.sum(jnp.where(free, 0.0, jnp.exp(log_ref + floor)), axis=1, keepdims=True)
    log_mass = jnp.log1p(-kept)
    common = log_mass - jax.nn.logsumexp(jnp.where(free, log_ref, -jnp.inf), axis=1, keepdims=True)
    gains = free & (weight > 0)
    log_slope = jnp.where(gains, jnp.log(jnp.where(gains, weight, 1.0)) - log_ref, 0.0)
    shared = _Shared(log_slope, log_ref, free, log_mass, common, floor).ratios(beta, anchor)
    log_ratio = jnp.where(jnp.any(gains, axis=1, keepdims=True), shared, common)
    return beta * jnp.where(free, log_ratio, floor)


def _free(weight: Arms, log_ref: LogPolicy, beta: Array, floor: Array, anchor: Array) -> Array:
    """Which arms share the mass that the others lose."""
    gains, indifferent = weight > 0, weight == 0
    others = -jnp.expm1(log_ref) * jnp.exp(floor)
    alone = jnp.log1p(-others) - log_ref
    sigmoid = jax.nn.sigmoid
    cost = weight * (sigmoid(beta * alone - anchor) - sigmoid(beta * floor - anchor))
    cheapest = jnp.argmax(cost, axis=1, keepdims=True) == jnp.arange(weight.shape[1])
    any_gains, any_indifferent = (jnp.any(each, axis=1, keepdims=True) for each in
                                  (gains, indifferent))  # fmt: skip
    return jnp.where(any_gains, gains, jnp.where(any_indifferent, indifferent, cheapest))


class _Shared(NamedTuple):
    """Mass to be shared such that the logarithms of all slopes are the same.

    Attributes:
        log_slope: log(c / pi_ref), shape (contexts, arms).
        log_ref: log pi_ref.
        free: which arms take part.
        log_mass: logarithm of what they share, shape (contexts, 1).
        common: the log-ratio of each if they shared it as the reference does, shape (contexts, 1).
        floor: the least log-ratio.
    """

    log_slope: Arms
    log_ref: LogPolicy
    free: Array
    log_mass: Array
    common: Array
    floor: Array

    def ratios(self, beta: Array, anchor: Array) -> Arms:
        """log(pi / pi_ref) of each arm."""
        unit = jnp.finfo(self.log_ref.dtype).eps

        def steepness(log_ratio: Array) -> tuple[Array, Array]:
            """-log of the slope of u^beta / (u^beta + e^z), up to a constant, and its slope."""
            steep = (1.0 - beta) * log_ratio + 2.0 * jnp.logaddexp(beta * log_ratio, anchor)
            return steep, 1.0 - beta + 2.0 * beta * jax.nn.sigmoid(beta * log_ratio - anchor)

        high = jnp.maximum(self.log_mass - self.log_ref, self.common)
        low = jnp.minimum(jnp.full_like(high, self.floor), high)
        lowest, highest = steepness(low)[0], steepness(high)[0]

        def at(price: Array) -> Arms:
            wanted = jnp.clip(price + self.log_slope, lowest, highest)

            def excess(log_ratio: Array) -> tuple[Array, Array, Array]:
                steep, slope = steepness(log_ratio)
                return steep - wanted, slope, unit * (1.0 + jnp.abs(wanted))

            return increasing_root(excess, low, high, high)

        def missing(price: Array) -> tuple[Array, Array, Array]:
            log_ratio = at(price)
            moves = (log_ratio > low) & (log_ratio < high)
            share = jnp.where(self.free, jnp.exp(self.log_ref + log_ratio - self.log_mass), 0.0)
            speed = jnp.where(moves, 1.0 / steepness(log_ratio)[1], 0.0)
            total = jnp.sum(share, axis=1, keepdims=True)
            slope = jnp.sum(share * speed, axis=1, keepdims=True) / total
            return jnp.log(total), slope, 8.0 * unit * (1.0 + jnp.abs(price))

        even = steepness(self.common)[0]
        most = jnp.max(jnp.where(self.free, self.log_slope, -jnp.inf), axis=1, keepdims=True)
        least = jnp.min(jnp.where(self.free, self.log_slope, jnp.inf), axis=1, keepdims=True)
        return at(increasing_root(missing, even - most, even - least, even - least))
