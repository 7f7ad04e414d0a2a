"""How findings write random figures, and what they say for sure."""

import math

from apo_sim.estimate import Estimate


def plus_minus(estimate: Estimate) -> str:
    """The figure and half its symmetric interval, to the interval's second digit.

    The figure alone where its interval has no width: then nothing says how far off it is.

    Example:
        >>> plus_minus(Estimate(1.15, 0.94, 1.36)), plus_minus(Estimate(0.5, 0.5, 0.5))
        ('1.15 ± 0.21', '0.500')
    """
    half = (estimate.high - estimate.low) / 2
    if half == 0:
        return f"{estimate.value:,.3f}"
    places = max(1 - math.floor(math.log10(half)), 0) if half < math.inf else 3
    return f"{estimate.value:,.{places}f} ± {half:.{places}f}"


def sure_sign(estimate: Estimate) -> int:
    """1 or -1 where the whole interval lies above or below zero, and 0 where it does not.

    Example:
        >>> sure_sign(Estimate(0.2, 0.1, 0.3)), sure_sign(Estimate(0.2, -0.1, 0.5))
        (1, 0)
    """
    return int(estimate.low > 0) - int(estimate.high < 0)
