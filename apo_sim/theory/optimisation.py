r"""Optimisation error: bounds for the policy proportional to pi_ref exp(gamma r).

Throughout, p is the reference mass of the best arm, gamma the accumulated weight
(`apo_sim.theory.gamma`), Delta the smallest reward gap. Pass p as ``p_star``, or ``None`` and
``log_p_star=problem.log_best_ref``, which also covers p below the smallest float. All arguments
broadcast; for several contexts take the expectation,
``problem.context_probs @ sharp_gap(None, gamma, log_p_star=problem.log_best_ref)``.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from apo_sim.checks import (
    LEAD,
    LOG_PROBABILITY,
    NUMBER,
    OPEN_SHARE,
    POSITIVE,
    PROBABILITY,
    SHARE,
    checked,
    optional,
    within,
)
from apo_sim.errors import InvalidArgument
from apo_sim.geometry.omega import log_omega
from apo_sim.problems import Bandit
from apo_sim.theory.closed_form_arguments import Number, log_probability

# A second arm needs some mass.
_BELOW_ZERO = within("below 0", lambda values: values < 0)


@checked(x=NUMBER)
def wright_omega(x: Number) -> Number:
    r"""W_0(exp(x)), W_0 the Lambert function, without forming exp(x).

    The root of $w + \log w = x$, found in $\log w$, see `apo_sim.geometry.omega`.

    Example:
        >>> round(float(wright_omega(1.0)), 6)
        1.0
        >>> round(float(wright_omega(1000.0)), 2)  # 993.1 + log(993.1)
        993.1
    """
    return _wright_omega(x)


def _wright_omega(x: Number) -> Number:
    x = jnp.asarray(x, float)
    log_w = log_omega(x)
    # Each form where it keeps all digits.
    return jnp.where(x > 1, x - log_w, jnp.exp(log_w))


@checked(log_p=LOG_PROBABILITY)
def log_odds_against(log_p: Number) -> Number:
    """log((1 - p)/p) from log p, exact near p = 1 and below the smallest float.

    Example:
        >>> round(float(log_odds_against(jnp.log(0.01))), 4)
        4.5951
    """
    return _log_odds_against(log_p)


def _log_odds_against(log_p: Number) -> Number:
    log_p = jnp.asarray(log_p, float)
    return jnp.log(-jnp.expm1(log_p)) - log_p


@checked(p_star=optional(PROBABILITY), gamma=POSITIVE, log_p_star=optional(LOG_PROBABILITY))
def sharp_gap(p_star: Number | None, gamma: Number, *, log_p_star: Number | None = None) -> Number:
    r"""The largest gap over all rewards, $W_0\left(\frac{1-p}{e\,p}\right)/\gamma$.

    Proof: at fixed p the worst rewards have two levels; with $z = e^{-\gamma\Delta}$ maximise
    $-z\log z/(z + p/(1-p))$. `two_level` with `worst_case_gap` attains it. Source: ours (N2).

    Args:
        p_star: reference mass of the best arm, in (0, 1], or None.
        gamma: accumulated weight, positive.
        log_p_star: log p, in place of p_star.

    Returns:
        The bound on the gap, in units of reward, of the arguments' common shape.

    Raises:
        InvalidArgument: p outside (0, 1], gamma not positive, p given twice or not at all.

    Example:
        >>> round(float(sharp_gap(0.01, 1.0)), 3)
        2.629
    """
    return _wright_omega(_log_odds_against(log_probability(p_star, log_p_star)) - 1) / gamma


@checked(p_star=optional(PROBABILITY), gamma=POSITIVE, log_p_star=optional(LOG_PROBABILITY))
def gap_printed(
    p_star: Number | None, gamma: Number, *, log_p_star: Number | None = None
) -> Number:
    r"""The bound as printed in (C.8), $\log\frac{1-p}{p}/\gamma$. It is false for large p.

    Above $p = 1/(1 + e^{1/e}) \approx 0.409$ the auxiliary function of its proof turns positive;
    above 1/2 the bound is negative. Arguments, shapes and errors as `sharp_gap`.

    Example:
        >>> round(float(gap_printed(0.01, 1.0)), 3)
        4.595
    """
    return _log_odds_against(log_probability(p_star, log_p_star)) / gamma


@checked(p_star=optional(PROBABILITY), gamma=POSITIVE, log_p_star=optional(LOG_PROBABILITY))
def gap_gibbs(p_star: Number | None, gamma: Number, *, log_p_star: Number | None = None) -> Number:
    r"""The corrected bound, $\log\frac1p/\gamma$, by the Gibbs variational principle.

    It replaces (C.8) for every p. Arguments, shapes and errors as `sharp_gap`.

    Example:
        >>> round(float(gap_gibbs(0.01, 1.0)), 3)
        4.605
    """
    return -log_probability(p_star, log_p_star) / gamma


@checked(p_star=optional(PROBABILITY), gamma=POSITIVE, log_p_star=optional(LOG_PROBABILITY))
def worst_case_gap(
    p_star: Number | None, gamma: Number, *, log_p_star: Number | None = None
) -> Number:
    r"""The reward gap of the two-level rewards that attain `sharp_gap`, $(1 + W_0)/\gamma$.

    Above 2 it needs rewards outside [-1, 1]. Arguments, shapes and errors as `sharp_gap`.

    Example:
        >>> round(float(worst_case_gap(0.01, 1.0)), 3)
        3.629
    """
    return 1 / gamma + sharp_gap(p_star, gamma, log_p_star=log_p_star)


@checked(
    p_star=optional(OPEN_SHARE),
    gap=LEAD,
    log_p_star=optional(_BELOW_ZERO),
)
def two_level(p_star: Number | None, gap: Number, *, log_p_star: Number | None = None) -> Bandit:
    """The worst case of N2 and N3: a best arm of mass p and another one `gap` below it.

    Any number of arms on the lower level, sharing its mass, behaves as this single one does.

    Args:
        p_star: reference mass of the best arm, below 1, one context for each entry, or None.
        gap: reward gap, positive; the rewards are half of it above and below zero.
        log_p_star: log p, in place of p_star.

    Returns:
        A `Bandit` of two arms, the first one best.

    Raises:
        InvalidArgument: p outside (0, 1], gap not positive, p given twice or not at all.

    Example:
        >>> bandit = two_level(0.01, worst_case_gap(0.01, 5.0))
        >>> policy = jax.nn.log_softmax(bandit.log_ref + 5.0 * bandit.reward)
        >>> round(float(bandit.suboptimality(policy)) / float(sharp_gap(0.01, 5.0)), 6)
        1.0
    """
    log_p = jnp.atleast_1d(log_probability(p_star, log_p_star))
    if gap.ndim > 1 or log_p.ndim > 1 or gap.size not in (1, log_p.size):
        raise InvalidArgument(
            "gap",
            gap,
            f"does not match {log_p.size} contexts",
            "pass one number, or one for each context",
        )
    log_p, gap = jnp.broadcast_arrays(log_p, gap)
    reward = jnp.stack([gap / 2, -gap / 2], axis=-1)
    return Bandit(reward, jnp.stack([log_p, jnp.log(-jnp.expm1(log_p))], axis=-1))


@checked(
    p_star=optional(PROBABILITY), gap=NUMBER, gamma=POSITIVE, log_p_star=optional(LOG_PROBABILITY)
)
def sharp_tv(
    p_star: Number | None,
    gap: Number,
    gamma: Number,
    *,
    log_p_star: Number | None = None,
) -> Number:
    r"""The largest total variation to the optimal policy, $\frac{1-p}{p e^{\gamma\Delta}+1-p}$.

    Attained by `two_level` rewards. Source: ours (N3). With Delta the dominance of Assumption
    B.1 and rewards P(y > pi_t) it bounds exact SPPO as well (N10), since every reward that is
    summed then has that gap.

    Args:
        p_star: reference mass of the best arm, in (0, 1], or None.
        gap: smallest reward gap Delta, at least 0.
        gamma: accumulated weight, positive.
        log_p_star: log p, in place of p_star.

    Returns:
        The bound, in [0, 1], of the arguments' common shape.

    Raises:
        InvalidArgument: as `sharp_gap`.

    Example:
        >>> round(float(sharp_tv(0.2, 1.0, 3.0)), 4), float(sharp_tv(0.2, 1.0, 2000.0))
        (0.1661, 0.0)
    """
    return jnp.exp(log_sharp_tv(p_star, gap, gamma, log_p_star=log_p_star))


@checked(
    p_star=optional(PROBABILITY), gap=NUMBER, gamma=POSITIVE, log_p_star=optional(LOG_PROBABILITY)
)
def log_sharp_tv(
    p_star: Number | None,
    gap: Number,
    gamma: Number,
    *,
    log_p_star: Number | None = None,
) -> Number:
    """Natural logarithm of `sharp_tv`, for totals that underflow. Arguments as there.

    Example:
        >>> round(float(log_sharp_tv(0.5, 1.0, 2000.0)), 3)
        -2000.0
    """
    log_odds = _log_odds_against(log_probability(p_star, log_p_star))
    return jax.nn.log_sigmoid(log_odds - gamma * gap)


@checked(
    p_star=optional(PROBABILITY), gap=NUMBER, gamma=POSITIVE, log_p_star=optional(LOG_PROBABILITY)
)
def tv_printed(
    p_star: Number | None,
    gap: Number,
    gamma: Number,
    *,
    log_p_star: Number | None = None,
) -> Number:
    r"""The printed bound of Theorem 4.8, $\sqrt{\frac12 e^{-\gamma\Delta}/p}$.

    It goes through Pinsker's inequality and (C.9) and loses a factor 2 in the exponent against
    `sharp_tv`. Arguments, shapes and errors as there; not clipped at 1, and infinite where it
    passes the largest float (`log_tv_printed` does not).

    Example:
        >>> round(float(tv_printed(0.5, 1.0, 2.0)), 4)
        0.3679
    """
    return jnp.exp(log_tv_printed(p_star, gap, gamma, log_p_star=log_p_star))


@checked(
    p_star=optional(PROBABILITY), gap=NUMBER, gamma=POSITIVE, log_p_star=optional(LOG_PROBABILITY)
)
def log_tv_printed(
    p_star: Number | None,
    gap: Number,
    gamma: Number,
    *,
    log_p_star: Number | None = None,
) -> Number:
    """Natural logarithm of `tv_printed`. Arguments as there.

    Example:
        >>> round(float(log_tv_printed(0.5, 1.0, 2.0)), 4)
        -1.0
    """
    exponent = gamma * gap
    return (-jnp.log(2.0) - exponent - log_probability(p_star, log_p_star)) / 2


@checked(gap=NUMBER, alpha=SHARE, beta=POSITIVE)
def asymptotic_slope(gap: Number, alpha: ArrayLike, beta: Number) -> Number:
    r"""How much -log pi_hat_T(y) grows with every update in the end, $\Delta_y/(\beta(1-\alpha))$.

    Exact Bradley-Terry preferences; Delta_y is the reward gap of arm y. Linear growth, where
    the rebuttal has O(log T). Source: ours (N7).

    Args:
        gap: r*(y*) - r*(y), at least 0.
        alpha: extrapolation in [0, 1), a number.
        beta: proximal weight, a number.

    Returns:
        The slope, in nats an update, of the arguments' common shape.

    Raises:
        InvalidArgument: alpha outside [0, 1), beta not positive.

    Example:
        >>> float(asymptotic_slope(0.5, 0.75, 2.0))
        1.0
    """
    return gap / (beta * (1 - alpha))
