r"""Statistical error: bounds for maximum likelihood from N preference pairs an iteration.

Three flavours. ``"printed"`` is the paper's. ``"corrected"`` puts back the factor 2 of its Lemma
E.1. ``"sharp"`` (ours) keeps what the proofs give away:

- $1/\sigma'(1+R)$ is the price of a slope of the sigmoid between a true reward difference, which
  is at most 2, and a fitted one, at most 2R. The secant between the two ends is that price
  exactly, and it grows like R, not like $e^R$;
- $\tanh(|\log x|/2) \le |\log x|/2$ in place of Lemma D.2 saves a factor 2;
- the weights $w_{T-i}/\beta_i$ stay, instead of $1/(\beta(1-\alpha))$ for all of them.

Every function has a form in natural logarithms, since the constants overflow quickly.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from apo_sim.checks import (
    NUMBER,
    OPEN_SHARE,
    POSITIVE,
    SHARE,
    Kind,
    Real,
    above_zero,
    as_count,
    checked,
    one_of,
)
from apo_sim.theory.closed_form_arguments import Number
from apo_sim.theory.extrapolation import reward_weights

Flavour = Literal["printed", "corrected", "sharp"]
Scalar = Float[Array, ""]

_FLAVOUR = one_of(("printed", "corrected", "sharp"))
_PER_UPDATE = Real(shape=(None,))
# Its entropy is a number, too.
_MODERATE = Real(
    "must be positive and at most 1e150",
    lambda bound: above_zero(bound) & (bound <= 1e150),
    "pass a number above 0, such as 1.0",
).one()
# What the bounds on total variation take.
_OF_RUN: dict[str, Kind] = {
    "log_coverage": _PER_UPDATE,
    "beta": POSITIVE,
    "samples": POSITIVE.one(),
    "reward_bound": POSITIVE.one(),
    "log_class_size": NUMBER.one(),
    "delta": OPEN_SHARE.one(),
    "flavour": _FLAVOUR,
}
# What the bounds on the reward take.
_OF_DATA: dict[str, Kind] = {
    "samples": POSITIVE,
    "log_class_size": NUMBER,
    "reward_bound": POSITIVE,
    "delta": OPEN_SHARE,
    "flavour": _FLAVOUR,
}
# N = A entropy(N) is a fixed point whose slope is about 1/log N: this many steps reach float64.
_FIXED_POINT_STEPS = 100


@checked(arms=as_count, samples=POSITIVE, reward_bound=POSITIVE, contexts=as_count)
def tabular_entropy(arms: int, samples: Number, reward_bound: Number, contexts: int = 1) -> Number:
    r"""Metric entropy of the tabular class, $X K \log(1 + 4RN)$, in place of $\log|\Pi|$.

    The paper's class is finite. A table is not: this counts a grid of spacing 1/(2N) on
    [-R, R] for every arm, too fine to matter beside a squared error of order 1/N.

    Args:
        arms: number of arms K.
        samples: preference pairs an iteration N, at least 1; it sets no shape and may be traced.
        reward_bound: R of Assumption 4.3.
        contexts: number of contexts X.

    Returns:
        The entropy in nats, of the arguments' common shape.

    Raises:
        InvalidArgument: arms or contexts not counts, samples or reward_bound not positive.

    Example:
        >>> round(float(tabular_entropy(10, 1000, 1.0)), 2)
        82.94
    """
    return arms * contexts * jnp.log1p(4 * reward_bound * samples)


@checked(reward_bound=POSITIVE, flavour=_FLAVOUR)
def log_slope(reward_bound: Number, flavour: Flavour = "corrected") -> Number:
    r"""Logarithm of the least slope of the sigmoid that the bounds divide by.

    Printed and corrected: $\log\sigma'(1+R)$. Sharp: the secant
    $\frac{\sigma(2R)-\sigma(2)}{2R-2}$, computed as $\frac{\sinh(h)/h}{4\cosh 1\cosh R}$ with
    h = R - 1; below R = 1, where realizability keeps true differences within 2R, $\sigma'(2R)$.

    Args:
        reward_bound: R of Assumption 4.3, positive.
        flavour: "printed", "corrected" or "sharp".

    Returns:
        The logarithm, of reward_bound's shape.

    Raises:
        InvalidArgument: reward_bound not positive, unknown flavour.

    Example:
        >>> [round(float(log_slope(50.0, flavour)), 2) for flavour in ("corrected", "sharp")]
        [-51.0, -6.71]
    """
    bound = reward_bound
    if flavour == "sharp":
        fitted, true = _log_cosh(bound), _log_cosh(jnp.minimum(bound, 1.0))
        return _log_sinhc(jnp.maximum(bound - 1, 0.0)) - jnp.log(4.0) - true - fitted
    return jax.nn.log_sigmoid(1 + bound) + jax.nn.log_sigmoid(-1 - bound)


@checked(**_OF_DATA)
def log_reward_error_bound(
    samples: Number,
    log_class_size: Number,
    reward_bound: Number,
    delta: Number,
    *,
    flavour: Flavour = "corrected",
) -> Number:
    """Natural logarithm of `reward_error_bound`. Arguments as there.

    Example:
        >>> round(float(log_reward_error_bound(1000, jnp.log(8), 1e4, 0.05)), 1)
        19997.4
    """
    return _log_reward_error(
        jnp.log(samples),
        log_class_size - jnp.log(delta),
        reward_bound,
        flavour,
    )


@checked(**_OF_DATA)
def reward_error_bound(
    samples: Number,
    log_class_size: Number,
    reward_bound: Number,
    delta: Number,
    *,
    flavour: Flavour = "corrected",
) -> Number:
    r"""Lemma D.1: how far the fitted reward is from the true one, in mean square.

    With probability at least $1-\delta$,
    $E_{y,y'\sim\pi_t}[((r^*-r_t)(y)-(r^*-r_t)(y'))^2] \le \frac{2\log(|\Pi|/\delta)}{N s^2}$, with
    s the slope of `log_slope`. As printed, the 2 of Lemma E.1 is missing. Proof of the 2: the
    squared Hellinger distance is at most $\log(|\Pi|/\delta)/N$, and for two coins the squared
    difference of probabilities at most twice that.

    Args:
        samples: preference pairs N.
        log_class_size: log of the number of policies in the class (an infinite class:
            `tabular_entropy`).
        reward_bound: R of Assumption 4.3.
        delta: probability of failure, in (0, 1).
        flavour: "printed", "corrected" or "sharp".

    Returns:
        The bound, squared reward, of the arguments' common shape. Infinite where it passes the
        largest float; `log_reward_error_bound` does not.

    Raises:
        InvalidArgument: samples or reward_bound not positive, delta outside (0, 1), unknown
            flavour.

    Example:
        >>> round(float(reward_error_bound(1000, jnp.log(8), 1.0, 0.05)), 3)
        0.921
    """
    return jnp.exp(
        log_reward_error_bound(samples, log_class_size, reward_bound, delta, flavour=flavour)
    )


@checked(**_OF_RUN)
def log_tv_statistical(
    log_coverage: Number,
    alpha: ArrayLike,
    beta: Number,
    samples: Number,
    reward_bound: Number,
    log_class_size: Number,
    delta: Number,
    *,
    flavour: Flavour = "corrected",
) -> Scalar:
    """Natural logarithm of `tv_statistical`. Arguments as there.

    Example:
        >>> round(float(log_tv_statistical(jnp.full(4, 2e3), 0.3, 1.0, 1000, 1e3, 2.0, 0.05)), 1)
        2000.6
    """
    failure = -jnp.log(delta) + jnp.log(log_coverage.shape[0])
    log_error = _log_reward_error(
        jnp.log(samples),
        log_class_size + failure,
        reward_bound,
        flavour,
    )
    return _log_propagated(log_coverage, alpha, beta, flavour) + log_error / 2


@checked(**_OF_RUN)
def tv_statistical(
    log_coverage: Number,
    alpha: ArrayLike,
    beta: Number,
    samples: Number,
    reward_bound: Number,
    log_class_size: Number,
    delta: Number,
    *,
    flavour: Flavour = "corrected",
) -> Scalar:
    r"""Lemmas C.1 and C.2: total variation between the run's policy and the exact one.

    With probability at least $1-\delta$ (Theorem 4.4 adds twice this to the gap),
    $D_{TV}(\hat\pi_T,\pi^*_T) \le \frac1s \sqrt{\frac{c T\sum_t \kappa_t\log(T|\Pi|/\delta)}
    {N\beta^2(1-\alpha)^2}}$ with s the slope of `log_slope`, c = 1 printed, c = 2 corrected. Sharp:
    $\frac{1}{2s}\sum_i\frac{w_{T-i}}{\beta_i}\sqrt{2\kappa_i\log(T|\Pi|/\delta)/N}$. Corrected
    and sharp hold with the corrected kappa, see `apo_sim.theory.coverage`.

    Args:
        log_coverage: log kappa_0 ... log kappa_{T-1}, shape (iterations,).
        alpha: extrapolation: a number in [0, 1); "sharp" takes 1 and schedules, too.
        beta: proximal weight: a number; "sharp" takes schedules, too.
        samples: preference pairs an iteration N.
        reward_bound: R of Assumption 4.3.
        log_class_size: log of the number of policies in the class (an infinite class:
            `tabular_entropy`).
        delta: probability of failure, in (0, 1).
        flavour: "printed", "corrected" or "sharp".

    Returns:
        The bound, not clipped at 1, shape (). Infinite where it passes the largest float;
        `log_tv_statistical` does not.

    Raises:
        InvalidArgument: wrong shapes, alpha outside its range, beta, samples or reward_bound not
            positive, delta outside (0, 1), unknown flavour.

    Example:
        >>> round(float(tv_statistical(jnp.zeros(3), 0.3, 5.0, 1e5, 1.0, 2.0, 0.05)), 4)
        0.0901
    """
    return jnp.exp(
        log_tv_statistical(
            log_coverage,
            alpha,
            beta,
            samples,
            reward_bound,
            log_class_size,
            delta,
            flavour=flavour,
        )
    )


@checked(
    log_coverage=_PER_UPDATE,
    beta=POSITIVE,
    reward_bound=POSITIVE.one(),
    log_class_size=NUMBER.one(),
    delta=OPEN_SHARE.one(),
    threshold=POSITIVE.one(),
    flavour=_FLAVOUR,
)
def log_samples_needed(
    log_coverage: Number,
    alpha: ArrayLike,
    beta: Number,
    reward_bound: Number,
    log_class_size: Number,
    delta: Number,
    *,
    threshold: Number | float = 1.0,
    flavour: Flavour = "corrected",
) -> Scalar:
    """The log N above which `tv_statistical` says something, for a finite class.

    The bound has to come below `threshold`, 1 being the trivial bound. The other arguments, and
    the errors raised, are those of `tv_statistical`.

    Returns:
        The natural logarithm of the number of pairs an iteration, at least 0, shape ().

    Example:
        >>> log_n = log_samples_needed(jnp.zeros(3), 0.3, 5.0, 1.0, 2.0, 0.05)
        >>> round(float(log_n), 3)
        6.7
    """
    log_threshold = jnp.log(threshold)
    one_pair = log_tv_statistical(
        log_coverage, alpha, beta, 1.0, reward_bound, log_class_size, delta, flavour=flavour
    )
    return jnp.maximum(2 * (one_pair - log_threshold), 0.0)


@checked(
    log_coverage=_PER_UPDATE,
    beta=POSITIVE,
    reward_bound=_MODERATE,
    arms=as_count,
    delta=OPEN_SHARE.one(),
    contexts=as_count,
    threshold=POSITIVE.one(),
    flavour=_FLAVOUR,
)
def log_samples_needed_tabular(
    log_coverage: Number,
    alpha: ArrayLike,
    beta: Number,
    reward_bound: Number,
    arms: int,
    delta: Number,
    *,
    contexts: int = 1,
    threshold: Number | float = 1.0,
    flavour: Flavour = "corrected",
) -> Scalar:
    """The log N above which `tv_statistical` says something, for a table of policies.

    The class size is `tabular_entropy` at that same N, so N solves a fixed-point equation.
    Arguments and errors as `log_samples_needed` and `tabular_entropy`.

    Example:
        >>> log_n = log_samples_needed_tabular(jnp.zeros(3), 0.3, 5.0, 1.0, 10, 0.05)
        >>> round(float(log_n), 3)
        9.631
    """
    log_scale = jnp.log(4 * reward_bound)

    def solve(_, log_samples: Scalar) -> Scalar:
        return log_samples_needed(
            log_coverage,
            alpha,
            beta,
            reward_bound,
            arms * contexts * jnp.logaddexp(0.0, log_scale + log_samples),
            delta,
            threshold=threshold,
            flavour=flavour,
        )

    # The first step outside the loop, so that values are checked where they are concrete.
    start = solve(None, jnp.zeros_like(log_scale))
    return jax.lax.fori_loop(0, _FIXED_POINT_STEPS, solve, start)


def _log_propagated(
    log_coverage: Float[Array, " iterations"],
    alpha: ArrayLike,
    beta: Number,
    flavour: Flavour,
) -> Scalar:
    """Log of the factor from a root-mean-square reward error to total variation."""
    iterations = log_coverage.shape[0]
    if flavour == "sharp":
        factors = reward_weights(alpha, beta, iterations)
        return jax.nn.logsumexp(jnp.log(factors) + log_coverage / 2) - jnp.log(2.0)
    alpha, beta = SHARE.one()("alpha", alpha), POSITIVE.one()("beta", beta)
    total = jnp.log(iterations) + jax.nn.logsumexp(log_coverage)
    return total / 2 - jnp.log(beta) - jnp.log1p(-alpha)


def _log_reward_error(
    log_samples: Number, complexity: Number, reward_bound: Number, flavour: Flavour
) -> Number:
    dropped = 0.0 if flavour == "printed" else jnp.log(2.0)
    return dropped + jnp.log(complexity) - log_samples - 2 * log_slope(reward_bound, flavour)


def _log_sinhc(x: Number) -> Number:
    """log(sinh(x)/x) for x >= 0; 0 at 0."""
    safe = jnp.where(x > 0, x, 1.0)
    return jnp.where(x > 0, x + jnp.log(-jnp.expm1(-2 * safe) / (2 * safe)), 0.0)


def _log_cosh(x: Number) -> Number:
    return jnp.logaddexp(x, -x) - jnp.log(2.0)
