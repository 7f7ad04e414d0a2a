"""What a check works in (`Study`), what it found (`Finding`) and what is made of it (`Verdict`)."""

import dataclasses
import math
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat, TypedDict, TypeVar

from apo_sim.claims.scope import Scope
from apo_sim.claims.words import Effort, Origin, Quantifier, Ruling, Variant
from apo_sim.errors import InvalidArgument
from apo_sim.estimate import FIGURES, Estimate, revived
from apo_sim.plain_kinds import as_seed, as_text, is_listing, is_mapping, is_real, is_whole, one_of

if TYPE_CHECKING:
    import jax
    import numpy

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# The positive control that a verdict needs beside the negative one, and the variant that runs it.
# Each must come out "holds": a check that says "fails" must be able to pass the true statement,
# and one that does not decide must be able to see an effect of the size that matters.
POSITIVE = {
    Ruling.FAILS: "repair",
    Ruling.DEPENDS: "power",
    Ruling.NOT_REPRODUCED: "power",
}
VARIANT_OF = {"control": Variant.WRONG, "repair": Variant.REPAIRED, "power": Variant.PLANTED}

T = TypeVar("T")


class ClaimError(RuntimeError):
    """A check that did not give a usable finding; the message names the claim."""


@dataclass(frozen=True)
class Study:
    """What one run of a check is given.

    Attributes:
        claim: id of the claim, which the randomness is folded from.
        effort: an `Effort`, or its word: `"quick"` (seconds) or `"full"` (minutes).
        seed: seed of the whole run.
        variant: a `Variant`, or its word: `"stated"` for the claim as it stands; `"wrong"` for its
            negative control, the same check with one thing made wrong; `"repaired"` for the
            statement that is true in place of one that fails; `"planted"` for an effect of stated
            size put into the data.

    Example:
        >>> study = Study("N2", effort="quick", seed=0)
        >>> study.pick(quick=100, full=10_000)
        100
        >>> Study("N2", seed=0).key == Study("N3", seed=0).key
        Array(False, dtype=bool)
    """

    claim: str
    effort: Effort | str = Effort.QUICK
    seed: int = 0
    variant: Variant | str = Variant.STATED

    def __post_init__(self) -> None:
        as_text("claim", self.claim)
        object.__setattr__(self, "effort", one_of(Effort)("effort", self.effort))
        object.__setattr__(self, "variant", one_of(Variant)("variant", self.variant))
        as_seed("seed", self.seed)

    @property
    def wrong(self) -> bool:
        """Whether this is the negative control: one thing must be made wrong."""
        return self.variant == Variant.WRONG

    @property
    def repaired(self) -> bool:
        """Whether the repaired statement is to be judged, by the same check."""
        return self.variant == Variant.REPAIRED

    @property
    def planted(self) -> bool:
        """Whether an effect of stated size, in favour of the claim, is to be put into the data."""
        return self.variant == Variant.PLANTED

    @property
    def key(self) -> "jax.Array":
        """A JAX key that depends on the seed and on the claim, not on the variant."""
        import jax  # verdicts are read, and listed, without it

        return jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(self.claim.encode()))

    def subkey(self, index: int) -> "jax.Array":
        """The key of the `index`-th random ingredient of the check."""
        import jax

        return jax.random.fold_in(self.key, index)

    def rng(self, index: int = 0) -> "numpy.random.Generator":
        """A NumPy generator from the same seed, claim and `index`."""
        import numpy as np

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
        return quick if self.effort == Effort.QUICK else full


@dataclass(frozen=True)
class Finding:
    """What one run of a check found.

    Attributes:
        verdict: a `Ruling`, or its word: `"holds"`, `"fails"`, `"depends"` (yes in some cells of
            the scope and not in others: `regions` says which), `"vacuous"` (holds, but says nothing
            anywhere it was tried) or `"not reproduced"` (the data decide neither way).
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
        facts: figures by name, for what quotes them: README, notebooks, tests. Those that are
            random are an `Estimate` each.
        note: choices, allowances and caveats, in at most three sentences.
        draw: fills an empty matplotlib figure; None once pickled or copied.

    Example:
        >>> Finding("holds", measured=1.0, bound=4.0).ratio
        0.25
        >>> finding = Finding("holds", 0.1, 0.2, interval=(0.05, 0.15), unit="share", instances=9)
        >>> finding.estimates["measured"]
        Estimate(value=0.1, low=0.05, high=0.15, unit='share', n=9)
    """

    verdict: Ruling | str
    measured: SupportsFloat | None = None
    bound: SupportsFloat | None = None
    ratio: SupportsFloat | None = None
    interval: tuple[SupportsFloat | None, SupportsFloat | None] | None = None
    unit: str = ""
    instances: int = 1
    cells: int = 1
    regions: Mapping[str, Mapping[str, Any]] | None = None
    counterexample: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    note: str = ""
    draw: Callable[[Any], object] | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verdict", one_of(Ruling)("verdict", self.verdict))
        for field in ("measured", "bound", "ratio"):
            value = getattr(self, field)
            object.__setattr__(self, field, None if value is None else float(value))
        if self.interval is not None:
            ends = (None if end is None else float(end) for end in self.interval)
            object.__setattr__(self, "interval", tuple(ends))
        if self.ratio is None:
            object.__setattr__(self, "ratio", ratio_of(self.measured, self.bound))

    def __getstate__(self) -> dict[str, Any]:
        """All but the function that draws, which other processes cannot be sent."""
        return {**vars(self), "draw": None}

    @property
    def estimates(self) -> dict[str, Estimate]:
        """All that is random by name: what was measured, the facts, and the cells of the map."""
        found = {name: fact for name, fact in self.facts.items() if isinstance(fact, Estimate)}
        if self.measured is not None and self.interval is not None:
            figures = revived([self.measured, *self.interval])
            found = {"measured": Estimate(*figures, self.unit, self.instances), **found}
        for cells in (self.regions or {}).values():
            found |= {name: Estimate(*revived(figures)) for name, figures in cells.items()}
        return found

    def as_plain(self, claim: str) -> "Finding":
        """The same of plain data: finite or None, lists for arrays.

        Raises:
            ClaimError: for NaN, and for what JSON cannot hold.
        """
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        draw, facts = fields.pop("draw"), fields.pop("facts")
        fields = plain(fields, claim)
        plain(facts, claim, "facts")
        kept = {
            name: fact if isinstance(fact, Estimate) else plain(fact, claim, f"facts.{name}")
            for name, fact in facts.items()
        }
        return Finding(**_paired(fields), facts=kept, draw=draw)


class Control(TypedDict):
    """A second run of a check: what was changed, and what the check said of it."""

    what: str
    verdict: str | None


@dataclass(frozen=True)
class Statement:
    """What is claimed, by whom, and where.

    Attributes:
        id: short name, such as `"N2"`.
        title: a few words.
        source: who says it: `"paper"`, `"reviews"` or `"ours"`; empty where that is not known.
        statement: the claim in words and LaTeX, between dollars.
        scope: the problems and settings it is made for, and its quantifier.
        defect: what is at fault where several claims fail for one reason, in the same words.
    """

    id: str
    title: str
    source: Origin | Literal[""]
    statement: str
    scope: Scope | None = None
    defect: str | None = None


@dataclass(frozen=True)
class Verdict:
    """A claim, the finding on it and on its controls: one entry of `claims.json`.

    What the three have is read here, too: `verdict.title`, `verdict.measured`, `verdict.repair`.

    Attributes:
        claim: what was judged.
        finding: what the check found, of plain data; None for one that could not be run to its end.
        controls: what was changed and what the check then said, by name: `"control"`, made wrong,
            must be `"fails"`; `"repair"`, the repaired statement of a claim that fails, and
            `"power"`, the effect planted where nothing is decided, must be `"holds"`.
        seconds: time the check and its controls took.
        figure: path of the figure inside the results folder.
        reason: why the check could not be run to its end.
    """

    claim: Statement
    finding: Finding | None
    controls: Mapping[str, Control]
    seconds: float = 0.0
    figure: str | None = None
    reason: str = ""

    def __str__(self) -> str:
        """The verdict in a few lines, with its flaw if it has one.

        Example:
            >>> from apo_sim.claims import check
            >>> print(check("LD.2"))
            LD.2: Logarithm against distance
            holds: measured 0.5, held against 1; tried on 20,000 instances, claimed for all
            made wrong: the factor $1 + x$ left out: fails
        """
        lines = [f"{self.id}: {self.title}", f"{self.verdict or 'broken'}: {self._figures()}"]
        lines += [
            f"{CHANGED[name]}: {control['what']}: {control['verdict'] or 'not run'}"
            for name, control in self.controls.items()
        ]
        return "\n".join(lines if self.sound else [*lines, f"does not count: {self.flaw}"])

    def _figures(self) -> str:
        if self.measured is None:
            return self.note
        if self.regions is not None:
            return f"{self.measured:g} of {self.bound:g} {self.unit}; tried on {self.tried}"
        against = "" if self.bound is None else f", held against {self.bound:.4g}"
        return f"measured {self.measured:.4g}{against}; tried on {self.tried}"

    @property
    def id(self) -> str:
        """Short name of the claim."""
        return self.claim.id

    @property
    def title(self) -> str:
        """The claim in a few words."""
        return self.claim.title

    @property
    def source(self) -> Origin | Literal[""]:
        """Who says it."""
        return self.claim.source

    @property
    def statement(self) -> str:
        """The claim in words and LaTeX."""
        return self.claim.statement

    @property
    def scope(self) -> dict[str, Any] | None:
        """Where it is made, as plain data."""
        return None if self.claim.scope is None else dataclasses.asdict(self.claim.scope)

    @property
    def defect(self) -> str | None:
        """What is at fault."""
        return self.claim.defect

    @property
    def verdict(self) -> Ruling | None:
        """How it came out; None for a check that could not be run to its end."""
        return None if self.finding is None else Ruling(self.finding.verdict)

    @property
    def measured(self) -> float | None:
        """The figure measured, in `unit`."""
        return self._found("measured")

    @property
    def bound(self) -> float | None:
        """What it is held against."""
        return self._found("bound")

    @property
    def ratio(self) -> float | None:
        """Measured / bound."""
        return self._found("ratio")

    @property
    def interval(self) -> tuple[float | None, float | None] | None:
        """Ends of the interval of `measured`."""
        return self._found("interval")

    @property
    def unit(self) -> str:
        """What the figures are in."""
        return self._found("unit", "")

    @property
    def instances(self) -> int:
        """How many were tried."""
        return self._found("instances", 0)

    @property
    def tried(self) -> str:
        """How many instances were tried, in words, and whether all of the scope were meant.

        Example:
            >>> from apo_sim.claims import check
            >>> check("LD.2").tried
            '20,000 instances, claimed for all'
        """
        scope = self.claim.scope
        among = f"{self.instances:,} {'instance' if self.instances == 1 else 'instances'}"
        universal = scope is not None and scope.quantifier == Quantifier.FOR_ALL
        return f"{among}, claimed for all" if universal else among

    @property
    def cells(self) -> int:
        """How many were judged side by side."""
        return self._found("cells", 1)

    @property
    def regions(self) -> dict[str, dict[str, Any]] | None:
        """The map of a question that is answered cell by cell."""
        return self._found("regions")

    @property
    def counterexample(self) -> dict[str, Any] | None:
        """The instance that refutes the claim."""
        return self._found("counterexample")

    @property
    def facts(self) -> dict[str, Any]:
        """Figures by name, as plain data: those that are random are [value, low, high]."""
        return plain(self._found("facts", {}), self.id)

    @property
    def estimates(self) -> dict[str, Estimate]:
        """All that is random by name, with its interval, unit and number of members."""
        return self._found("estimates", {})

    @property
    def note(self) -> str:
        """Choices, allowances and caveats; or why there is no finding."""
        return self._found("note", self.reason)

    @property
    def draw(self) -> Callable[[Any], object] | None:
        """Fills an empty matplotlib figure."""
        return self._found("draw")

    @property
    def control(self) -> Control:
        """What was made wrong, and the verdict on it."""
        return self.controls["control"]

    @property
    def repair(self) -> Control | None:
        """The repaired statement and the verdict on it, where the claim fails."""
        return self.controls.get("repair")

    @property
    def power(self) -> Control | None:
        """The planted effect and the verdict on it, where the claim is undecided."""
        return self.controls.get("power")

    def _found(self, name: str, missing: Any = None) -> Any:
        return missing if self.finding is None else getattr(self.finding, name)

    @property
    def sound(self) -> bool:
        """Whether the check ran and every control that its verdict needs came out as it must."""
        return self.flaw is None

    @property
    def flaw(self) -> str | None:
        """Why the verdict does not count, in a sentence; None if it does.

        Example:
            >>> from apo_sim.claims import check
            >>> verdict = check("LD.2")
            >>> false = dataclasses.replace(verdict.finding, verdict="fails")
            >>> dataclasses.replace(verdict, finding=false).flaw
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
        entry = {name: getattr(self, name) for name in _TYPES}
        facts: Mapping[str, Any] = {} if self.finding is None else self.finding.facts
        random = {name: fact for name, fact in facts.items() if isinstance(fact, Estimate)}
        entry["estimates"] = {name: dataclasses.asdict(fact) for name, fact in random.items()}
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
        if not is_mapping(entry) or set(entry) != set(_TYPES):
            raise InvalidArgument("entry", entry, "has other fields", "write it by to_json")
        check_id(entry["id"])
        for name, value in entry.items():
            if not _TYPES[name](value):
                raise InvalidArgument(name, value, "is of another type", "write it by to_json")
        if entry["figure"] not in (None, f"figures/{entry['id']}.svg"):
            raise InvalidArgument("figure", entry["figure"], "is elsewhere", "write it by to_json")
        controls = {name: entry[name] for name in VARIANT_OF if entry[name] is not None}
        return cls(
            _statement(entry),
            _finding(entry),
            controls,
            seconds=entry["seconds"],
            figure=entry["figure"],
            reason="" if entry["verdict"] else entry["note"],
        )


def _statement(entry: Mapping[str, Any]) -> Statement:
    named = {field.name: entry[field.name] for field in dataclasses.fields(Statement)}
    named["source"] = named["source"] and Origin(named["source"])
    named["scope"] = named["scope"] and Scope(**named["scope"])
    return Statement(**named)


def _finding(entry: Mapping[str, Any]) -> Finding | None:
    if entry["verdict"] is None:
        return None
    named = {f.name: entry[f.name] for f in dataclasses.fields(Finding) if f.name in entry}
    random = {
        name: Estimate(*revived([record[part] for part in FIGURES]), record["unit"], record["n"])
        for name, record in entry["estimates"].items()
    }
    return Finding(**_paired({**named, "facts": {**named["facts"], **random}}))


def _paired(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of a finding that were JSON data, with a tuple of two ends for their list."""
    ends = fields["interval"]
    return fields if ends is None else {**fields, "interval": tuple(ends)}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return is_whole(value) and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    if value is None:
        return True
    return is_real(value) and abs(value) <= sys.float_info.max


def _is_plain(value: Any, depth: int = 16) -> bool:
    """Whether it is data that a page can show: finite, and not nested without end."""
    if is_mapping(value):
        inner = [*value, *value.values()]
        return depth > 0 and all(_is_plain(entry, depth - 1) for entry in inner)
    if is_listing(value):
        return depth > 0 and all(_is_plain(entry, depth - 1) for entry in value)
    return isinstance(value, str | bool) or _is_number(value)


def _is_figures(value: Any, length: int) -> bool:
    return is_listing(value) and len(value) == length and all(map(_is_number, value))


def _is_control(value: Any) -> bool:
    return (
        is_mapping(value)
        and set(value) == {"what", "verdict"}
        and _is_text(value["what"])
        and (value["verdict"] is None or _is_word(Ruling)(value["verdict"]))
    )


def _is_scope(value: Any) -> bool:
    names = {field.name for field in dataclasses.fields(Scope)}
    return (
        is_mapping(value)
        and set(value) == names
        and _is_word(Quantifier)(value["quantifier"])
        and _is_text(value["problems"])
        and all(text is None or _is_text(text) for text in value.values())
    )


def _is_word(words: Iterable[str]) -> Callable[[Any], bool]:
    known = tuple(words)
    return lambda value: isinstance(value, str) and value in known


def _is_estimate(value: Any) -> bool:
    return (
        is_mapping(value)
        and set(value) == {*FIGURES, "unit", "n"}
        and all(_is_number(value[name]) for name in FIGURES)
        and _is_text(value["unit"])
        and (value["n"] is None or _is_count(value["n"]))
    )


def _is_map(value: Any) -> bool:
    return is_mapping(value) and all(
        is_mapping(cells) and all(_is_figures(cell, 3) for cell in cells.values())
        for cells in value.values()
    )


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


# What an entry of `claims.json` holds, in its order, so that nothing is made of a file that is
# something else.
_TYPES: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("id", "title"), _is_text),
    "source": lambda value: value == "" or _is_word(Origin)(value),
    "statement": _is_text,
    "verdict": _or_none(_is_word(Ruling)),
    **dict.fromkeys(("measured", "bound", "ratio"), _is_number),
    "interval": _or_none(lambda value: _is_figures(value, 2)),
    "unit": _is_text,
    "instances": _is_count,
    "counterexample": _or_none(lambda value: is_mapping(value) and _is_plain(value)),
    "control": _is_control,
    "seconds": lambda value: value is not None and _is_number(value) and value >= 0,
    "figure": _or_none(_is_text),
    "note": _is_text,
    "scope": _or_none(_is_scope),
    "cells": _is_count,
    "regions": _or_none(_is_map),
    **dict.fromkeys(("repair", "power"), _or_none(_is_control)),
    "defect": _or_none(_is_text),
    "facts": lambda value: is_mapping(value) and _is_plain(value),
    "estimates": lambda value: is_mapping(value) and all(map(_is_estimate, value.values())),
}


# What was done to the claim, by the name of the control.
CHANGED = {"control": "made wrong", "repair": "repaired", "power": "planted"}
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
    ratio = float(measured) / float(bound) if bound > abs(measured) / 1e300 else math.inf
    return ratio if math.isfinite(ratio) else None


def plain(value: Any, claim: str, where: str = "") -> Any:
    """`value` as JSON data: arrays become lists, infinities None, and NaN an error.

    Args:
        value: numbers, strings, arrays, estimates, and dicts, lists and tuples of them.
        claim: the claim it belongs to, for the message.
        where: the path to `value` inside the finding, for the message.

    Raises:
        ClaimError: for NaN, and for what JSON cannot hold.

    Example:
        >>> import numpy as np
        >>> plain({"p": np.array([0.5, np.inf])}, "N2")
        {'p': [0.5, None]}
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)  # the text of a word
    if isinstance(value, Estimate):
        return plain(value.figures, claim, where)
    if is_mapping(value):
        return {str(k): plain(v, claim, f"{where}.{k}".lstrip(".")) for k, v in value.items()}
    if is_listing(value):
        return [plain(v, claim, f"{where}[{i}]") for i, v in enumerate(value)]
    # Arrays and scalars of NumPy and JAX.
    if hasattr(value, "__array__") and not isinstance(value, type):
        import numpy as np

        return plain(np.asarray(value).tolist(), claim, where)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            raise ClaimError(f"claim {claim}: {where} is NaN")
        return value if math.isfinite(value) else None
    raise ClaimError(f"claim {claim}: {where} is a {type(value).__name__}, which JSON cannot hold")
