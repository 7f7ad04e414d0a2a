"""What a claim is about: the problems and settings it is judged on, and its quantifier."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from apo_sim.claims.words import Quantifier
from apo_sim.errors import InvalidArgument
from apo_sim.plain_kinds import one_of

SHOWN = 7  # so many values are listed one by one


@runtime_checkable
class AsList(Protocol):
    """An array; that NumPy makes them is not asked, for `apo-sim claims` does without it."""

    def tolist(self) -> Any:
        """The numbers of the array."""
        ...


Values = str | float | int | Sequence[float | int | str] | AsList | None


@dataclass(frozen=True)
class Scope:
    """Where a claim is made, which is where it is tried.

    A setting is a number, several, or words ("any", "from 0 to 0.999"); None where the claim
    knows no such setting. It is kept as the text that a reader sees, so that a check passes the
    very constants that it uses.

    Attributes:
        quantifier: a `Quantifier`, or its word.
        problems: what is drawn or searched, in words.
        arms: numbers of arms K.
        iterations: numbers of updates T.
        beta: proximal weights.
        samples: preference pairs an iteration N; "exact" for exact preferences.
        alpha: extrapolations.

    Raises:
        UnknownName: for another quantifier.
        InvalidArgument: for a setting that is neither text nor numbers.

    Example:
        >>> scope = Scope("for all", "random bandits", arms=5, beta=(0.1, 1.0, 5.0))
        >>> scope.beta, scope.samples
        ('0.1, 1, 5', None)
    """

    quantifier: Quantifier | str
    problems: str
    arms: Values = None
    iterations: Values = None
    beta: Values = None
    samples: Values = None
    alpha: Values = None

    def __post_init__(self) -> None:
        quantifier = one_of(Quantifier)("quantifier", self.quantifier)
        object.__setattr__(self, "quantifier", quantifier)
        for field in dataclasses.fields(self)[2:]:
            text = _text(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, text)

    def settings(self) -> dict[str, str]:
        """The settings that the claim has, by their symbols.

        Example:
            >>> Scope("exists", "two arms", arms=2, samples=1).settings()
            {'K': '2', 'N': '1'}
        """
        named = (
            ("K", self.arms),
            ("T", self.iterations),
            ("β", self.beta),
            ("N", self.samples),
            ("α", self.alpha),
        )
        return {symbol: str(value) for symbol, value in named if value is not None}


def _text(name: str, values: Values) -> str | None:
    """Values as a reader wants them: a short list, or the ends of a long one."""
    if values is None or isinstance(values, str):
        return values
    if isinstance(values, int | float):  # NumPy's float64 is a float
        return _number(values)
    try:
        each = list(values.tolist() if isinstance(values, AsList) else values)
        listed = [v if isinstance(v, str) else _number(v) for v in each]
    except TypeError:
        listed = []
    if not listed:
        raise InvalidArgument(name, values, "is not a setting", "pass numbers, text, or None")
    if len(listed) <= SHOWN:
        return ", ".join(listed)
    return f"{listed[0]} to {listed[-1]} ({len(listed)} values)"


def _number(value: float | int) -> str:
    number = float(value)
    return f"{number:,.0f}" if abs(number) >= 1000 and number.is_integer() else f"{number:.4g}"
