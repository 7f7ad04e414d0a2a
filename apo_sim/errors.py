"""What the library says about bad input: the argument, its value and the remedy."""

import difflib
from collections.abc import Iterable


class InvalidArgument(ValueError):
    """An argument that cannot be used, said before anything is compiled.

    Attributes:
        argument: name of the argument.
        value: what was given.
        remedy: what to do instead.

    Example:
        >>> raise InvalidArgument("beta", -1.0, "must be positive", "pass a number above 0")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: beta = -1.0 must be positive; pass a number above 0
    """

    def __init__(self, argument: str, value: object, problem: str, remedy: str):
        self.argument, self.value, self.problem, self.remedy = argument, value, problem, remedy
        super().__init__(f"{argument} = {_short(value)} {problem}; {remedy}")

    def __reduce__(self) -> tuple:
        # The default would call __init__ with the message alone, and errors cross processes here.
        return type(self), (self.argument, self.value, self.problem, self.remedy)


class UnknownName(InvalidArgument):
    """A name that nothing answers to; the message offers the nearest known ones.

    Example:
        >>> raise UnknownName("claim", "n22", ["N1", "N2"])
        Traceback (most recent call last):
        ...
        apo_sim.errors.UnknownName: claim = 'n22' is unknown; did you mean 'N2'?
    """

    def __init__(self, argument: str, value: object, known: Iterable[str]):
        self.known = list(known)
        by_lower = {name.lower(): name for name in self.known}
        near = difflib.get_close_matches(str(value).lower(), by_lower, n=1)
        remedy = (
            f"did you mean {by_lower[near[0]]!r}?" if near else f"known: {', '.join(self.known)}"
        )
        super().__init__(argument, value, "is unknown", remedy)

    def __reduce__(self) -> tuple:
        return type(self), (self.argument, self.value, self.known)


def _short(value: object) -> str:
    shape = getattr(value, "shape", None)
    if shape:
        return f"array of shape {tuple(shape)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
