"""What paired differences say, and what they could have said: interval, power, least effect."""

import math
from typing import NamedTuple

import numpy as np
import scipy.optimize
from scipy import stats

from apo_sim.checks import as_count
from apo_sim.errors import InvalidArgument
from apo_sim.statistics import CONFIDENCE

POWER = 0.8


class Difference(NamedTuple):
    """A mean difference and how sure it is.

    Attributes:
        mean: over strata and members.
        low: lower end of its interval, corrected for the number of comparisons.
        high: upper end.
        error: its standard error.
        freedom: degrees of freedom of the error.
        level: of the test, after the correction.
        seen: the effect that would be told from zero with probability `POWER`.
    """

    mean: float
    low: float
    high: float
    error: float
    freedom: int
    level: float
    seen: float


def difference_of(values: np.ndarray, comparisons: int = 1) -> Difference:
    """The mean of paired differences in several strata, all of the same number of members.

    Args:
        values: shape (strata, members); members of a stratum are independent, and so are strata,
            whose own means may differ: only the scatter within them counts.
        comparisons: how many intervals shall cover together (Bonferroni).

    Raises:
        InvalidArgument: fewer than two members, or members that all agree.

    Source: ours; the interval is Student's, power that of the noncentral t distribution.

    Example:
        >>> values = np.array([[0.1, 0.2, 0.3], [0.2, 0.3, 0.4]])
        >>> found = difference_of(values)
        >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3), found.freedom
        (0.25, 0.137, 0.363, 4)
        >>> round(power(found, found.seen), 3)
        0.8
    """
    strata, members = values.shape
    if members < 2:
        raise InvalidArgument("values", values, "are single members", "pass two a stratum")
    error = float(np.sqrt(values.var(axis=1, ddof=1).mean() / (strata * members)))
    if error == 0.0:
        raise InvalidArgument("values", values, "do not scatter", "pass more members")
    freedom, level = strata * (members - 1), (1 - CONFIDENCE) / as_count("comparisons", comparisons)
    reach = float(stats.t.ppf(1 - level / 2, freedom)) * error
    mean = float(values.mean())
    seen = error * _noncentrality(freedom, level)
    return Difference(mean, mean - reach, mean + reach, error, freedom, level, seen)


def power(difference: Difference, effect: float) -> float:
    """The probability that a true effect of this size is told from zero.

    Example:
        >>> found = difference_of(np.array([[0.1, 0.2, 0.3]]))
        >>> round(power(found, 0.0), 3), power(found, 10.0) > 0.999
        (0.05, True)
    """
    return _found(effect / difference.error, difference.freedom, difference.level)


def _found(shift: float, freedom: int, level: float) -> float:
    beyond = float(stats.t.ppf(1 - level / 2, freedom))
    if shift == 0.0:
        return level
    law = stats.nct(freedom, abs(shift))
    return float(law.sf(beyond) + law.cdf(-beyond))


def _noncentrality(freedom: int, level: float) -> float:
    """The shift, in standard errors, that is found with probability `POWER`."""
    most = 2.0 * float(stats.t.ppf(1 - level / 2, freedom)) + math.e
    found = scipy.optimize.brentq(lambda z: _found(z, freedom, level) - POWER, 1e-6, most)
    return float(found)  # type: ignore[arg-type]
