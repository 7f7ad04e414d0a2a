"""The figures of a training log, column by column, whatever file they came from."""

from array import array
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from apo_sim.errors import InvalidArgument
from apo_sim.explain._columns import canonical, is_complement

_ABSENT = ("", "none", "null", "n/a")


@dataclass(frozen=True)
class Series:
    """One column: what was logged when, in order, each step once.

    Attributes:
        iteration: of the outer loop; 0 where there is none, shape (rows,).
        step: within the run, or the iteration, shape (rows,).
        value: shape (rows,); may hold what is no finite number.
    """

    iteration: np.ndarray
    step: np.ndarray
    value: np.ndarray

    @property
    def finite(self) -> "Series":
        """Those rows that are finite numbers."""
        kept = np.isfinite(self.value)
        return Series(self.iteration[kept], self.step[kept], self.value[kept])


@dataclass(frozen=True)
class Log:
    """What a log holds.

    Attributes:
        source: where it came from, in words.
        columns: by their names here, see `columns`.
        rows: how many there were.
        dtype: the parameters' precision, where a file beside the log says so.
        unknown: columns that nothing was read from.
    """

    source: str
    columns: Mapping[str, Series]
    rows: int
    dtype: str | None = None
    unknown: tuple[str, ...] = ()


class Collector:
    """Takes rows one by one, in any order, and keeps numbers only.

    A step that comes twice, as in a run that was resumed, counts as it came last.

    Args:
        source: of the rows, for messages.

    Raises:
        InvalidArgument: a known column that holds anything but numbers; no row with a known column.

    Example:
        >>> collector = Collector("a list")
        >>> for row in (
        ...     {"step": 2, "loss": 0.5},
        ...     {"step": 1, "loss": 0.7},
        ...     {"step": 2, "loss": 0.4},
        ... ):
        ...     collector.add(row)
        >>> collector.log().columns["loss"].value.tolist()
        [0.7, 0.4]
    """

    def __init__(self, source: str):
        self.source: str = source
        self._rows = 0
        self._names: dict[str, str | None] = {}
        self._kept: dict[str, tuple[array, array, array]] = defaultdict(
            lambda: (array("d"), array("d"), array("d"))
        )

    def add(self, row: Mapping[str, Any]) -> None:
        """One row, from a tool's names to numbers, or to text that says numbers."""
        self._rows += 1
        found: dict[str, float] = {}
        for name, value in row.items():
            known = self._name(name)
            if known is not None:
                number = self._number(name, value)
                if number is not None:
                    found[known] = 1.0 - number if is_complement(name) else number
        step = found.pop("step", float(self._rows))
        iteration = found.pop("iteration", 0.0)
        for known, number in found.items():
            for kept, figure in zip(self._kept[known], (iteration, step, number), strict=True):
                kept.append(figure)

    def log(self, dtype: str | None = None) -> Log:
        """All of it, in order."""
        if not self._kept:
            seen = ", ".join(sorted(self._names)[:8]) or "nothing"
            raise InvalidArgument(
                "log",
                self.source,
                f"has no figures of a training run: its columns are {seen}",
                "pass a log with columns such as step, loss, rewards/chosen and rewards/margins",
            )
        columns = {name: _in_order(*map(np.asarray, kept)) for name, kept in self._kept.items()}
        unknown = tuple(sorted(name for name, known in self._names.items() if known is None))
        return Log(self.source, columns, self._rows, dtype, unknown)

    def _name(self, name: Any) -> str | None:
        if name not in self._names:
            self._names[str(name)] = canonical(str(name))
        return self._names[str(name)]

    def _number(self, name: str, value: Any) -> float | None:
        if value is None or (isinstance(value, str) and value.strip().lower() in _ABSENT):
            return None
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            raise InvalidArgument(
                "log",
                self.source,
                f"has {name} = {value!r:.40} in row {self._rows}, which is not a number",
                "take out that row, or export the log again",
            ) from None


def _in_order(iteration: np.ndarray, step: np.ndarray, value: np.ndarray) -> Series:
    """Sorted by iteration and step; of rows that share both, the one that came last."""
    order = np.lexsort((step, iteration))  # stable
    iteration, step, value = iteration[order], step[order], value[order]
    last = np.ones(len(step), bool)
    last[:-1] = (np.diff(step) != 0) | (np.diff(iteration) != 0)
    return Series(iteration[last], step[last], value[last])
