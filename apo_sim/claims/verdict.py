"""What a check works in (`Study`), what it found (`Finding`) and what is made of it (`Verdict`)."""

import dataclasses
import math
import re
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsFloat, TypedDict, TypeVar

import numpy as np

from apo_sim.claims.scope import QUANTIFIERS, Scope
from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.plain_kinds import as_seed, as_text, one_of

if TYPE_CHECKING:
    import jax

VERDICTS = ("holds", "fails", "depends", "vacuous", "not reproduced")
EFFORTS = ("quick", "full")
SOURCES = ("paper", "reviews", "ours")
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
VARIANTS = ("stated", "wrong", "repaired", "planted")

# The positive control that a verdict needs beside the negative one, and the variant that runs it.
# Each must come out "holds": a check that says "fails" must be able to pass the true statement,
# and one that does not decide must be able to see an effect of the size that matters.
POSITIVE = {"fails": "repair", "depends": "power", "not reproduced": "power"}
VARIANT_OF = {"control": "wrong", "repair": "repaired", "power": "planted"}

T = TypeVar("T")


class ClaimError(RuntimeError):
    """A check that did not give a usable finding; the message names the claim."""


@dataclass(frozen=True)
class Study:
    """What one run of a check is given.

    Attributes:
        claim: id of the claim, which the randomness is folded from.
        effort: `"quick"` (seconds) or `"full"` (minutes).
        seed: seed of the whole run.
        variant: `"stated"` for the claim as it stands; `"wrong"` for its negative control, the
            same check with one thing made wrong; `"repaired"` for the statement that is true in
            place of one that fails; `"planted"` for an effect of stated size put into the data.

    Example:
        >>> study = Study("N2", effort="quick", seed=0)
        >>> study.pick(quick=100, full=10_000)
        100
        >>> Study("N2", seed=0).key == Study("N3", seed=0).key
        Array(False, dtype=bool)
    """

    claim: str
    effort: str = "quick"
    seed: int = 0
    variant: str = "stated"

    def __post_init__(self) -> None:
        as_text("claim", self.claim)
        one_of(EFFORTS)("effort", self.effort)
        one_of(VARIANTS)("variant", self.variant)
        as_seed("seed", self.seed)

    @property
    def wrong(self) -> bool:
        """Whether this is the negative control: one thing must be made wrong."""
        return self.variant == "wrong"

    @property
    def repaired(self) -> bool:
        """Whether the repaired statement is to be judged, by the same check."""
        return self.variant == "repaired"

    @property
    def planted(self) -> bool:
        """Whether an effect of stated size, in favour of the claim, is to be put into the data."""
        return self.variant == "planted"

    @property
    def key(self) -> "jax.Array":
        """A JAX key that depends on the seed and on the claim, not on the variant."""
        import jax  # verdicts are read, and listed, without it

        return jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(self.claim.encode()))

    def subkey(self, index: int) -> "jax.Array":
        """The key of the `index`-th random ingredient of the check."""
        import jax

        return jax.random.fold_in(self.key, index)

    def rng(self, index: int = 0) -> np.random.Generator:
        """A NumPy generator from the same seed, claim and `index`."""
        return np.random.default_rng([self.seed, zlib.crc32(self.claim.encode()), index])

    def sweep_seed(self, index: int = 0) -> int:
        """The seed of the `index`-th sweep of the check.

        Example:
            >>> 0 <= Study("N2").sweep_seed() < 2**32
            True
        """
        return int(self.rng(index).integers(2**32))

    def pick(self, quick: T, full: T) -> T:
        """One of the two, by the effort."""
        return quick if self.effort == "quick" else full


@dataclass(frozen=True)
class Finding:
    """What one run of a check found.

    Attributes:
        verdict: `"holds"`, `"fails"`, `"depends"` (yes in some cells of the scope and not in
            others: `regions` says which), `"vacuous"` (holds, but says nothing anywhere it was
            tried) or `"not reproduced"` (the data decide neither way).
        measured: the figure measured, in `unit`; the worst one, for a bound.
        bound: what it is held against, in the same unit.
        ratio: measured / bound, left out where the bound is not positive.
        interval: ends of a confidence interval for `measured`, where anything is random; of 95 %
            for all cells together.
        unit: what the figures are in.
        instances: how many instances, seeds or starts were tried.
        cells: how many cells were judged side by side; the interval is corrected for their number.
        regions: of a question that is answered cell by cell: `"yes"`, `"no"` and `"undecided"`,
            each from the name of a cell to its figure and the ends of its interval.
        counterexample: the instance that refutes the claim, as plain data.
        facts: figures by name, for what quotes them: README, notebooks, tests.
        note: choices, allowances and caveats, in at most three sentences.
        draw: fills an empty matplotlib figure.

    Example:
        >>> Finding("holds", measured=1.0, bound=4.0).ratio
        0.25
    """

    verdict: str
    measured: SupportsFloat | None = None
    bound: SupportsFloat | None = None
    ratio: SupportsFloat | None = None
    interval: tuple[SupportsFloat, SupportsFloat] | None = None
    unit: str = ""
    instances: int = 1
    cells: int = 1
    regions: Mapping[str, Mapping[str, Any]] | None = None
    counterexample: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    note: str = ""
    draw: Callable[[Any], object] | None = None

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise UnknownName("verdict", self.verdict, VERDICTS)
        for field in ("measured", "bound", "ratio"):
            value = getattr(self, field)
            object.__setattr__(self, field, None if value is None else float(value))
        if self.interval is not None:
            low, high = self.interval
            object.__setattr__(self, "interval", (float(low), float(high)))
        if self.ratio is None:
            object.__setattr__(self, "ratio", ratio_of(self.measured, self.bound))


class Control(TypedDict):
    """A second run of a check: what was changed, and what the check said of it."""

    what: str
    verdict: str | None


@dataclass(frozen=True)
class Verdict:
    """A claim, the finding on it and on its controls: one entry of `claims.json`.

    Attributes are those of `Finding` and of the claim, with numbers that are finite or None, and
        control: what was made wrong and the verdict on it, which must be `"fails"`.
        repair: for a claim that fails, the repaired statement and the verdict on it, which must
            be `"holds"`; None where the claim does not fail or declares no repair.
        power: for a claim that depends or is not reproduced, the effect that was planted and the
            verdict on it, which must be `"holds"`; None as for `repair`.
        seconds: time the check and its controls took.
        figure: path of the figure inside the results folder.
    `verdict` is None for a check that could not be run to its end; the note says why.
    """

    id: str
    title: str
    source: str
    statement: str
    verdict: str | None
    measured: float | None
    bound: float | None
    ratio: float | None
    interval: tuple[float | None, float | None] | None
    unit: str
    instances: int
    counterexample: dict[str, Any] | None
    control: Control
    seconds: float
    figure: str | None
    note: str
    scope: dict[str, Any] | None = None
    cells: int = 1
    regions: dict[str, dict[str, Any]] | None = None
    repair: Control | None = None
    power: Control | None = None
    defect: str | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    draw: Callable[[Any], object] | None = dataclasses.field(default=None, compare=False)

    @property
    def sound(self) -> bool:
        """Whether the check ran and every control that its verdict needs came out as it must."""
        return self.flaw is None

    @property
    def flaw(self) -> str | None:
        """Why the verdict does not count, in a sentence; None if it does.

        Example:
            >>> from apo_sim.claims import check
            >>> verdict = dataclasses.replace(check("LD.2"), verdict="fails")
            >>> verdict.flaw
            'it fails, and no repaired statement shows that the check can pass'
        """
        if self.verdict is None:
            return self.note
        if self.control["verdict"] != "fails":
            return f"its negative control came out {self.control['verdict']!r} in place of 'fails'"
        needed = POSITIVE.get(self.verdict)
        if needed is None:
            return None
        positive = getattr(self, needed)
        if positive is None:
            return _MISSING[needed]
        if positive["verdict"] != "holds":
            return f"its {needed} came out {positive['verdict']!r} in place of 'holds'"
        return None

    def to_json(self) -> dict[str, Any]:
        """The entry of `claims.json`: plain data, every number finite or None."""
        entry = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del entry["draw"]
        return plain(entry, self.id)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Verdict":
        """The verdict of an entry of `claims.json`.

        Raises:
            InvalidArgument: for an entry that no run can have written: other fields, values of
                other types, an id that is no name, a figure outside the folder of figures.

        Example:
            >>> from apo_sim.claims import check
            >>> verdict = check("LD.2")
            >>> Verdict.from_json(verdict.to_json()) == verdict
            True
        """
        known = {field.name for field in dataclasses.fields(cls)} - {"draw"}
        if not isinstance(entry, Mapping) or set(entry) != known:
            raise InvalidArgument("entry", entry, "has other fields", "write it by to_json")
        check_id(entry["id"])
        for name, value in entry.items():
            if not _TYPES[name](value):
                raise InvalidArgument(name, value, "is of another type", "write it by to_json")
        fields = dict(entry)
        if fields["interval"] is not None:
            fields["interval"] = tuple(fields["interval"])
        if fields["figure"] not in (None, f"figures/{fields['id']}.svg"):
            raise InvalidArgument("figure", fields["figure"], "is elsewhere", "write it by to_json")
        return cls(**fields)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    if value is None:
        return True
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and abs(value) <= sys.float_info.max


def _is_plain(value: Any, depth: int = 16) -> bool:
    """Whether it is data that a page can show: finite, and not nested without end."""
    if isinstance(value, Mapping):
        inner = [*value, *value.values()]
        return depth > 0 and all(_is_plain(entry, depth - 1) for entry in inner)
    if isinstance(value, list | tuple):
        return depth > 0 and all(_is_plain(entry, depth - 1) for entry in value)
    return isinstance(value, str | bool) or _is_number(value)


def _is_figures(value: Any, length: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == length and all(map(_is_number, value))


def _is_control(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and set(value) == {"what", "verdict"}
        and _is_text(value["what"])
        and (value["verdict"] is None or value["verdict"] in VERDICTS)
    )


def _is_scope(value: Any) -> bool:
    names = {field.name for field in dataclasses.fields(Scope)}
    return (
        isinstance(value, Mapping)
        and set(value) == names
        and value["quantifier"] in QUANTIFIERS
        and _is_text(value["problems"])
        and all(text is None or _is_text(text) for text in value.values())
    )


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(cells, Mapping) and all(_is_figures(cell, 3) for cell in cells.values())
        for cells in value.values()
    )


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


# What an entry of `claims.json` may hold, so that nothing is made of a file that is something else.
_TYPES: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("id", "title", "statement", "unit", "note"), _is_text),
    **dict.fromkeys(("measured", "bound", "ratio"), _is_number),
    "seconds": lambda value: value is not None and _is_number(value) and value >= 0,
    **dict.fromkeys(("instances", "cells"), _is_count),
    **dict.fromkeys(("defect", "figure"), _or_none(_is_text)),
    **dict.fromkeys(("repair", "power"), _or_none(_is_control)),
    "source": lambda value: value in (*SOURCES, ""),
    "verdict": lambda value: value is None or value in VERDICTS,
    "interval": _or_none(lambda value: _is_figures(value, 2)),
    "counterexample": _or_none(lambda value: isinstance(value, Mapping) and _is_plain(value)),
    "control": _is_control,
    "scope": _or_none(_is_scope),
    "regions": _or_none(_is_map),
    "facts": lambda value: isinstance(value, Mapping) and _is_plain(value),
}


_MISSING = {
    "repair": "it fails, and no repaired statement shows that the check can pass",
    "power": "it is undecided somewhere, and no planted effect shows that the check can decide",
}


def check_id(id: Any) -> None:
    """Refuse an id that is no plain name: figures and commands are named after it.

    Raises:
        InvalidArgument: for anything but up to 64 letters, digits, dots, dashes and underscores,
            the first of them a letter or a digit.

    Example:
        >>> check_id("T4.4-opt")
        >>> check_id("../mine")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: id = '../mine' is not the name of a claim; use letters, \
digits, '.', '-' and '_', beginning with a letter or a digit
    """
    if not isinstance(id, str) or not ID.fullmatch(id):
        raise InvalidArgument(
            "id",
            id,
            "is not the name of a claim",
            "use letters, digits, '.', '-' and '_', beginning with a letter or a digit",
        )


def ratio_of(measured: Any, bound: Any) -> float | None:
    """Measured / bound, or None where that says nothing: no bound, or one that is not positive.

    Example:
        >>> ratio_of(1.0, 4.0), ratio_of(1.0, 0.0), ratio_of(1.0, math.inf)
        (0.25, None, 0.0)
    """
    if measured is None or bound is None or not bound > 0:
        return None
    if math.isinf(bound):
        return None if math.isinf(measured) else 0.0
    # A quotient that overflows says as little as one by zero.
    ratio = np.float64(measured) / np.float64(bound) if bound > abs(measured) / 1e300 else np.inf
    return float(ratio) if np.isfinite(ratio) else None


def plain(value: Any, claim: str, where: str = "") -> Any:
    """`value` as JSON data: arrays become lists, infinities None, and NaN an error.

    Args:
        value: numbers, strings, arrays, and dicts, lists and tuples of them.
        claim: the claim it belongs to, for the message.
        where: the path to `value` inside the finding, for the message.

    Raises:
        ClaimError: for NaN, and for what JSON cannot hold.

    Example:
        >>> plain({"p": np.array([0.5, np.inf])}, "N2")
        {'p': [0.5, None]}
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v, claim, f"{where}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, claim, f"{where}[{i}]") for i, v in enumerate(value)]
    # Arrays and scalars of NumPy and JAX.
    if hasattr(value, "__array__") and not isinstance(value, type):
        return plain(np.asarray(value).tolist(), claim, where)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            raise ClaimError(f"claim {claim}: {where} is NaN")
        return value if math.isfinite(value) else None
    raise ClaimError(f"claim {claim}: {where} is a {type(value).__name__}, which JSON cannot hold")
