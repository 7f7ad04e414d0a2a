"""General preferences: the exact IPO step, and what the average policy of SPPO guarantees.

The bounds of `apo_sim.theory.optimisation` on the total variation cover exact SPPO under
Assumption B.1 too, with its Delta for the reward gap (N10).
"""

from apo_sim.checks import LOG_PROBABILITY, POSITIVE, PROBABILITY, checked, optional
from apo_sim.theory.closed_form_arguments import Number, log_probability


@checked(tau=POSITIVE)
def ipo_reward_scale(tau: Number) -> Number:
    r"""The factor of P(y > pi_t) in the exact reward of IPO, $2/\tau$.

    With the paper's scaling of the loss, $(h_w - h_l - 1/\tau)^2$, least squares over ordered
    pairs gives $r_t = \frac2\tau P(y \succ \pi_t)$ up to a constant in y. Source: ours (N12).

    Raises:
        InvalidArgument: tau not positive.

    Example:
        >>> float(ipo_reward_scale(0.5))
        4.0
    """
    return 2 / tau


@checked(beta=POSITIVE, tau=POSITIVE)
def ipo_beta(beta: Number, tau: Number) -> Number:
    r"""The proximal weight at which exact SPPO follows exact IPO(tau), $\beta\tau/2$.

    Source: ours (N12).

    Args:
        beta: proximal weight of the IPO run, a number or a schedule.
        tau: target scale of the IPO loss.

    Returns:
        The proximal weight of the SPPO run, of the arguments' common shape.

    Raises:
        InvalidArgument: beta or tau not positive.

    Example:
        >>> float(ipo_beta(3.0, 0.5))
        0.75
    """
    return beta / ipo_reward_scale(tau)


@checked(
    beta=POSITIVE,
    iterations=POSITIVE,
    p_min=optional(PROBABILITY),
    log_p_min=optional(LOG_PROBABILITY),
)
def average_exploitability(
    beta: Number,
    iterations: Number,
    p_min: Number | None,
    *,
    log_p_min: Number | None = None,
) -> Number:
    r"""How exploitable the average policy of exact SPPO without momentum can be.

    $\frac{\beta\log(1/p_{\min})}{T} + \frac1{8\beta}$ for the uniform average of pi_0 ...
    pi_{T-1} on any game: the regret of exponential weights with rewards in [0, 1], whose own
    value is 1/2 against itself. The remark after Theorem B.2 (RB.3) has the rate
    $1/\sqrt T$ only, which $\beta = \sqrt{T/(8\log(1/p_{\min}))}$ attains.

    Args:
        beta: proximal weight, constant over the run.
        iterations: number of policies averaged, T.
        p_min: smallest reference mass of an arm, in (0, 1], or None.
        log_p_min: log p_min, in its place.

    Returns:
        The bound on max_y P(y > average) - 1/2, of the arguments' common shape.

    Raises:
        InvalidArgument: beta or iterations not positive, p_min outside (0, 1].

    Example:
        >>> round(float(average_exploitability(5.0, 2000, 1 / 3)), 4)
        0.0277
    """
    log_p = log_probability(p_min, log_p_min, "p_min")
    return -beta * log_p / iterations + 1 / (8 * beta)
