r"""How much every reward weighs after extrapolation.

One update moves the log-policy by $d_{t+1} = \alpha_t d_t + r_t/\beta_t$ (constants in y left
out): the step of the previous update, extrapolated by alpha_t, and the new reward. Everything
here follows from that recursion, whose terms are all positive for alpha in [0, 1]; the geometric
sums of the paper, which cancel as alpha approaches 1, are not used.

Schedules: ``alpha[t - 1]`` is alpha_t, t = 1 ... T, which turns pi_hat_t into pi_t, so that the
last one acts on the policy after extrapolation alone; ``beta[t]`` is beta_t, t = 0 ... T-1.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from apo_sim.checks import POSITIVE, SHARE, as_count, as_flag, checked
from apo_sim.theory.closed_form_arguments import (
    Number,
    Schedule,
    as_extrapolation,
    as_proximal_weight,
)


@checked(iterations=as_count, unrestricted=as_flag)
def weights(alpha: ArrayLike, iterations: int, *, unrestricted: bool = False) -> Schedule:
    r"""The weights w_1 ... w_T of the rewards in log pi_hat_T, the latest reward first.

    $w_k = (1 - \alpha^k)/(1 - \alpha)$ is the weight of $r_{T-k}$ (Theorem 4.1), and k at
    alpha = 1. For a schedule, $w_k = 1 + \alpha_{T-k+1} w_{k-1}$, which depends on T.

    Args:
        alpha: extrapolation in [0, 1], a number or a schedule of shape (iterations,).
        iterations: number of updates T.
        unrestricted: accept any finite alpha.

    Returns:
        w_1 ... w_T, shape (iterations,).

    Raises:
        InvalidArgument: alpha outside [0, 1] or of another shape, iterations not a count.

    Example:
        >>> weights(0.5, 3)
        Array([1.  , 1.5 , 1.75], dtype=...)
    """
    schedule = as_extrapolation(alpha, iterations, unrestricted)
    return _accumulate(schedule[:-1][::-1], jnp.ones_like(schedule))


@checked(beta=POSITIVE, iterations=as_count, unrestricted=as_flag)
def reward_weights(
    alpha: ArrayLike, beta: Number, iterations: int, *, unrestricted: bool = False
) -> Schedule:
    r"""The factors of r_0 ... r_{T-1} in log pi_hat_T, $w_{T-i}/\beta_i$ (Theorem 4.1).

    Args:
        alpha: extrapolation in [0, 1], a number or a schedule of shape (iterations,).
        beta: proximal weight, a number or a schedule of shape (iterations,).
        iterations: number of updates T.
        unrestricted: accept any finite alpha.

    Returns:
        The factors in the order of the updates, shape (iterations,); their sum is gamma_T.

    Raises:
        InvalidArgument: as `gamma`.

    Example:
        >>> reward_weights(0.5, 2.0, 3)
        Array([0.875, 0.75 , 0.5  ], dtype=...)
    """
    proximal = as_proximal_weight(beta, iterations)
    return weights(alpha, iterations, unrestricted=unrestricted)[::-1] / proximal


@checked(beta=POSITIVE, iterations=as_count, unrestricted=as_flag)
def gamma(
    alpha: ArrayLike, beta: Number, iterations: int, *, unrestricted: bool = False
) -> Schedule:
    r"""gamma_1 ... gamma_T: the factor of r* in log pi_hat_t when every reward is r*.

    $\gamma_T = \frac1\beta\sum_{k\le T} w_k = \frac1\beta\left[\frac{T}{1-\alpha} -
    \frac{\alpha(1-\alpha^T)}{(1-\alpha)^2}\right]$ (Theorem 4.1 with equal rewards). Schedules:
    $s_{t+1} = \alpha_t s_t + 1/\beta_t$ and $\gamma_{t+1} = \gamma_t + s_{t+1}$.

    Args:
        alpha: extrapolation in [0, 1], a number or a schedule of shape (iterations,).
        beta: proximal weight, a number or a schedule of shape (iterations,).
        iterations: number of updates T.
        unrestricted: accept any finite alpha.

    Returns:
        gamma_1 ... gamma_T, shape (iterations,), in units of one over reward.

    Raises:
        InvalidArgument: alpha outside [0, 1], beta not positive, a schedule of another length,
            iterations not a count.

    Example:
        >>> round(float(gamma(0.6, 0.7, 6)[-1]), 5)
        16.32137
    """
    return jnp.cumsum(_step_sizes(alpha, beta, iterations, unrestricted))


@checked(alpha=SHARE.one(), beta=POSITIVE.one(), iterations=as_count)
def gamma_printed(alpha: ArrayLike, beta: Number, iterations: int) -> Schedule:
    r"""gamma_1 ... gamma_T as printed below (C.6), with the slip in its last exponent.

    The text has $\alpha^{t+1}$ where the sum gives $\alpha^{t+2}$ (T = t + 1), which adds
    $\alpha^T/(\beta(1-\alpha))$.

    Args:
        alpha: extrapolation in [0, 1), a number.
        beta: proximal weight, a number.
        iterations: number of updates T.

    Returns:
        The printed expression for 1 ... T updates, shape (iterations,).

    Raises:
        InvalidArgument: alpha outside [0, 1), beta not positive, a schedule.

    Example:
        >>> round(float(gamma_printed(0.6, 0.7, 6)[-1]), 5)
        16.488
    """
    exponent = jnp.arange(1, iterations + 1)
    return gamma(alpha, beta, iterations) + alpha**exponent / (beta * (1 - alpha))


@checked(beta=POSITIVE, iterations=as_count, unrestricted=as_flag)
def matched_beta(
    alpha: ArrayLike, beta: Number, iterations: int, *, unrestricted: bool = False
) -> Schedule:
    r"""The proximal weights at which plain proximal point follows the path of APO.

    With exact Bradley-Terry preferences APO(alpha, beta) is proximal point without momentum at
    $\beta_t = \beta(1-\alpha)/(1-\alpha^{t+1})$; for schedules, one over the step size $s_{t+1}$
    of `gamma`. Source: ours (N1).

    Args:
        alpha: extrapolation in [0, 1], a number or a schedule of shape (iterations,).
        beta: proximal weight, a number or a schedule of shape (iterations,).
        iterations: number of updates T.
        unrestricted: accept any finite alpha (a step size may then vanish or turn negative).

    Returns:
        beta_0 ... beta_{T-1}, shape (iterations,).

    Raises:
        InvalidArgument: as `gamma`.

    Example:
        >>> matched_beta(1.0, 6.0, 3)
        Array([6., 3., 2.], dtype=...)
    """
    return 1 / _step_sizes(alpha, beta, iterations, unrestricted)


@checked(beta=POSITIVE, iterations=as_count, unrestricted=as_flag)
def effective_updates(
    alpha: ArrayLike, iterations: int, beta: Number | float = 1.0, *, unrestricted: bool = False
) -> Float[Array, ""]:
    r"""How many updates the averaged reward averages over, $(\sum w)^2/\sum w^2$.

    Independent errors of equal size in r_0 ... r_{T-1} shrink by its square root in the
    average $\bar r$. It is at least 3T/4 for every constant alpha in [0, 1] at constant beta, so
    momentum inflates that error by at most $2/\sqrt3$. Source: ours (N5).

    Args:
        alpha: extrapolation in [0, 1], a number or a schedule of shape (iterations,).
        iterations: number of updates T.
        beta: proximal weight, a number or a schedule of shape (iterations,).
        unrestricted: accept any finite alpha.

    Returns:
        The effective number, between 1 and T for alpha in [0, 1], shape ().

    Raises:
        InvalidArgument: as `gamma`.

    Example:
        >>> round(float(effective_updates(0.9, 10)) / 10, 3)
        0.847
    """
    factors = reward_weights(alpha, beta, iterations, unrestricted=unrestricted)
    relative = factors / jnp.max(jnp.abs(factors))
    return jnp.sum(relative) ** 2 / jnp.sum(relative**2)


@checked(iterations=as_count)
def nesterov_schedule(iterations: int) -> Schedule:
    r"""Nesterov's own schedule, alpha_t = t/(t+3) for t = 1 ... T.

    It gives $\gamma_T \sim T^2/(8\beta)$. Source: ours (N9).

    Raises:
        InvalidArgument: iterations not a count.

    Example:
        >>> nesterov_schedule(3)
        Array([0.25, 0.4 , 0.5 ], dtype=...)
        >>> round(float(gamma(nesterov_schedule(2000), 1.0, 2000)[-1]) / 2000**2, 4)
        0.1254
    """
    t = jnp.arange(1, iterations + 1, dtype=float)
    return t / (t + 3)


def _step_sizes(alpha: ArrayLike, beta: Number, iterations: int, unrestricted: bool) -> Schedule:
    """s_1 ... s_T: the factor by which update t moves the log-policy along r*."""
    schedule = as_extrapolation(alpha, iterations, unrestricted)
    return _accumulate(schedule[:-1], 1 / as_proximal_weight(beta, iterations))


def _accumulate(decays: Float[Array, " rest"], increments: Schedule) -> Schedule:
    """x_1 = c_1 and x_{k+1} = a_k x_k + c_{k+1}."""
    decays = jnp.concatenate([jnp.zeros(1, decays.dtype), decays])
    dtype = jnp.result_type(decays, increments)
    inputs = (decays.astype(dtype), increments.astype(dtype))
    return jax.lax.scan(_accumulate_one, jnp.zeros((), dtype), inputs)[1]


def _accumulate_one(
    total: Float[Array, ""], factors: tuple[Float[Array, ""], Float[Array, ""]]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    # Named rather than nested, so that JAX recognises it and compiles the scan once per length.
    decay, increment = factors
    total = decay * total + increment
    return total, total
