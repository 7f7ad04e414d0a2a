"""A random figure with its interval: what findings are made of, in values and in text."""

import math
from dataclasses import dataclass
from typing import Any

FIGURES = ("value", "low", "high")


@dataclass(frozen=True)
class Estimate:
    """A random figure with the ends of its interval.

    Attributes:
        value: the figure.
        low: lower end.
        high: upper end.
        unit: what the three are in.
        n: number of independent members behind it; None where nobody has counted.

    Example:
        >>> Estimate(0.5, 0.4, 0.6, "share", 100).figures
        (0.5, 0.4, 0.6)
        >>> str(Estimate(0.5, 0.4, 0.6)), f"{Estimate(0.5, 0.4, 0.6):.2f}"
        ('0.5 [0.4, 0.6]', '0.50 [0.40, 0.60]')
    """

    value: float
    low: float
    high: float
    unit: str = ""
    n: int | None = None

    @property
    def figures(self) -> tuple[float, float, float]:
        """The figure and the two ends."""
        return self.value, self.low, self.high

    def __str__(self) -> str:
        return format(self)

    def __format__(self, spec: str) -> str:
        value, low, high = (format(figure, spec or ".4g") for figure in self.figures)
        return f"{value} [{low}, {high}]"


def revived(figures: Any) -> tuple[float, float, float]:
    """Value, lower and upper end of plain data, where None stands for what is infinite.

    Example:
        >>> revived([0.5, None, 0.6])
        (0.5, -inf, 0.6)
    """
    value, low, high = figures
    return (
        math.inf if value is None else value,
        -math.inf if low is None else low,
        math.inf if high is None else high,
    )
