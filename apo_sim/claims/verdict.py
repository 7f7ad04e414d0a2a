"""What a check works in (`Study`), what it found (`Finding`) and what is made of it (`Verdict`)."""

import dataclasses
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, SupportsFloat, TypedDict, TypeVar

import jax
import numpy as np

from apo_sim.errors import InvalidArgument, UnknownName

VERDICTS = ("holds", "fails", "vacuous", "not reproduced")
EFFORTS = ("quick", "full")
SOURCES = ("paper", "reviews", "ours")

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
        wrong: True for the negative control: run the same check with one thing made wrong.

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
    wrong: bool = False

    def __post_init__(self) -> None:
        if self.effort not in EFFORTS:
            raise UnknownName("effort", self.effort, EFFORTS)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int | np.integer):
            raise InvalidArgument("seed", self.seed, "is not an integer", "pass an integer >= 0")
        if not 0 <= self.seed < 2**32:
            raise InvalidArgument("seed", self.seed, "is out of range", "pass 0 <= seed < 2**32")

    @property
    def key(self) -> jax.Array:
        """A JAX key that depends on the seed and on the claim, not on `wrong`."""
        return jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(self.claim.encode()))

    def subkey(self, index: int) -> jax.Array:
        """The key of the `index`-th random ingredient of the check."""
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
        verdict: `"holds"`, `"fails"`, `"vacuous"` (holds, but says nothing anywhere it was
            tried) or `"not reproduced"` (the data decide neither way).
        measured: the figure measured, in `unit`; the worst one, for a bound.
        bound: what it is held against, in the same unit.
        ratio: measured / bound, left out where the bound is not positive.
        interval: ends of a confidence interval for `measured`, where anything is random.
        unit: what the figures are in.
        instances: how many instances, seeds or starts were tried.
        counterexample: the instance that refutes the claim, as plain data.
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
    counterexample: Mapping[str, Any] | None = None
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
    """The negative control: what was made wrong, and what the check said of it."""

    what: str
    verdict: str | None


@dataclass(frozen=True)
class Verdict:
    """A claim, the finding on it and on its negative control: one entry of `claims.json`.

    Attributes are those of `Finding` and of the claim, with numbers that are finite or None, and
        control: what was made wrong and the verdict on it, which must be `"fails"`.
        seconds: time the check and its control took.
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
    draw: Callable[[Any], object] | None = dataclasses.field(default=None, compare=False)

    @property
    def sound(self) -> bool:
        """Whether the check ran and its negative control failed as it must."""
        return self.verdict is not None and self.control["verdict"] == "fails"

    def to_json(self) -> dict[str, Any]:
        """The entry of `claims.json`: plain data, every number finite or None."""
        entry = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del entry["draw"]
        return plain(entry, self.id)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Verdict":
        """The verdict of an entry of `claims.json`."""
        fields = dict(entry)
        if fields["interval"] is not None:
            fields["interval"] = tuple(fields["interval"])
        return cls(**fields)


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
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return plain(np.asarray(value).tolist(), claim, where)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            raise ClaimError(f"claim {claim}: {where} is NaN")
        return value if math.isfinite(value) else None
    raise ClaimError(f"claim {claim}: {where} is a {type(value).__name__}, which JSON cannot hold")
