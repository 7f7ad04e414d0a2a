"""Errors for bad input, whose messages give the argument, its value and the remedy."""

import difflib
from collections.abc import Iterable
from typing import Any

# Longer texts are no name that was mistyped.
_LONGEST = 100
_LISTED = 25  # of very many known names the first will do


class InvalidArgument(ValueError):
    """An argument that cannot be used; raised before anything is compiled.

    Attributes:
        argument: name of the argument.
        value: the value that was passed.
        remedy: what to do instead.

    Example:
        >>> raise InvalidArgument("beta", -1.0, "must be positive", "pass a number above 0")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: beta = -1.0 must be positive; pass a number above 0
    """

    def __init__(self, argument: str, value: object, problem: str, remedy: str):
        self.argument: str = argument
        self.value: object = value
        self.problem: str = problem
        self.remedy: str = remedy
        super().__init__(f"{argument} = {_short(value)} {problem}; {remedy}")

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call __init__ with the message alone, and errors cross processes here.
        return type(self), (self.argument, self.value, self.problem, self.remedy)


class UnknownName(InvalidArgument):
    """An unknown name; the message suggests the closest known one.

    Example:
        >>> raise UnknownName("claim", "n22", ["N1", "N2"])
        Traceback (most recent call last):
        ...
        apo_sim.errors.UnknownName: claim = 'n22' is unknown; did you mean 'N2'?
    """

    def __init__(self, argument: str, value: object, known: Iterable[str]):
        self.known: list[str] = list(known)
        by_lower = {name.lower(): name for name in self.known}
        text = value.lower() if isinstance(value, str) and len(value) <= _LONGEST else ""
        near = difflib.get_close_matches(text, by_lower, n=1)
        more = f" and {len(self.known) - _LISTED} more" if len(self.known) > _LISTED + 5 else ""
        listed = ", ".join(self.known[:_LISTED] if more else self.known)
        remedy = f"did you mean {by_lower[near[0]]!r}?" if near else f"known: {listed}{more}"
        super().__init__(argument, value, "is unknown", remedy)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.argument, self.value, self.known)


class MissingExtra(ImportError):
    """A part of the library needs optional packages that are not installed.

    Example:
        >>> raise MissingExtra("apo_sim.llm", ["flax"], "llm")
        Traceback (most recent call last):
        ...
        apo_sim.errors.MissingExtra: apo_sim.llm needs flax; pip install 'apo-sim[llm]'
    """

    def __init__(self, part: str, packages: Iterable[str], extra: str):
        self.part: str = part
        self.packages: list[str] = list(packages)
        self.extra: str = extra
        super().__init__(
            f"{part} needs {', '.join(self.packages)}; pip install 'apo-sim[{extra}]'", name=part
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.part, self.packages, self.extra)


class Diverged(InvalidArgument):
    """A run produced numbers that are not finite.

    Attributes:
        iteration: the first iteration in which that happened, counted from 1.

    Example:
        >>> Diverged("beta", 1e-9, 3, "raise it").iteration
        3
    """

    def __init__(self, argument: str, value: object, iteration: int, remedy: str):
        self.iteration: int = iteration
        super().__init__(argument, value, f"diverges in iteration {iteration}", remedy)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.argument, self.value, self.iteration, self.remedy)


def _short(value: object) -> str:
    shape = getattr(value, "shape", None)
    if shape and isinstance(shape, tuple):
        return f"array of shape {shape}"
    try:
        text = repr(value)
    except Exception:  # a caller's own, or an integer of thousands of digits
        text = f"<{type(value).__name__}>"
    # A path that is cut is no path.
    longest = 300 if isinstance(value, str) and "/" in value else 60
    return text if len(text) <= longest else text[: longest - 3] + "..."
