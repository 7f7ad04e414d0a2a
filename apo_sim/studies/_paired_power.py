"""What paired differences say, and what they could have said: interval, power, least effect."""

from dataclasses import dataclass

import numpy as np
import scipy.optimize
from scipy import stats

from apo_sim.checks import as_count
from apo_sim.errors import InvalidArgument
from apo_sim.estimate import Estimate
from apo_sim.statistics import CONFIDENCE, t_quantile

POWER = 0.8


@dataclass(frozen=True)
class Difference:
    """A mean difference, and what the same data could have shown.

    Attributes:
        estimate: the mean over strata and members; its interval is corrected for the number of
            comparisons.
        error: its standard error.
        freedom: degrees of freedom of the error.
        level: of the test, after the correction.
    """

    estimate: Estimate
    error: float
    freedom: int
    level: float

    def power(self, effect: float) -> float:
        """The probability that a true effect of this size, above 0, is told from zero.

        Source: the noncentral t distribution.

        Example:
            >>> found = difference_of(np.array([[0.1, 0.2, 0.3]]))
            >>> round(found.power(0.1), 3), found.power(1.0) > 0.99
            (0.179, True)
        """
        beyond = t_quantile(1 - self.level, self.freedom)
        return float(stats.nct.sf(beyond, self.freedom, effect / self.error))

    @property
    def seen(self) -> float:
        """The effect that would be told from zero with probability `POWER`."""
        most = self.error * (2 * t_quantile(1 - self.level, self.freedom) + 3)
        found = scipy.optimize.brentq(lambda effect: self.power(effect) - POWER, 0.0, most)
        return float(found)  # type: ignore[arg-type]


def difference_of(values: np.ndarray, comparisons: int = 1, unit: str = "") -> Difference:
    """The mean of paired differences in several strata, all of the same number of members.

    Args:
        values: shape (strata, members); members of a stratum are independent, and so are strata,
            whose own means may differ: only the scatter within them counts.
        comparisons: how many intervals shall cover together (Bonferroni).
        unit: of the values.

    Raises:
        InvalidArgument: fewer than two members, or members that all agree.

    Source: ours; the interval is Student's.

    Example:
        >>> values = np.array([[0.1, 0.2, 0.3], [0.2, 0.3, 0.4]])
        >>> found = difference_of(values)
        >>> f"{found.estimate:.3f}", found.freedom
        ('0.250 [0.137, 0.363]', 4)
        >>> round(found.power(found.seen), 3)
        0.8
    """
    strata, members = values.shape
    if members < 2:
        raise InvalidArgument(
            "values",
            values,
            "have strata with a single member",
            "pass at least two for each stratum",
        )
    error = float(np.sqrt(values.var(axis=1, ddof=1).mean() / (strata * members)))
    if error == 0.0:
        raise InvalidArgument(
            "values", values, "do not vary within their strata", "pass more members"
        )
    freedom, level = strata * (members - 1), (1 - CONFIDENCE) / as_count("comparisons", comparisons)
    reach = t_quantile(1 - level, freedom) * error
    mean = float(values.mean())
    estimate = Estimate(mean, mean - reach, mean + reach, unit, values.size)
    return Difference(estimate, error, freedom, level)
