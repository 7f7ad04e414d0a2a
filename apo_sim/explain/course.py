"""How the figures of a run went: each column of a log at first and at last."""

from collections.abc import Sequence
from dataclasses import dataclass

from apo_sim.explain._columns import LABELS, RESTART
from apo_sim.explain._levels import levels
from apo_sim.explain.log import Log


@dataclass(frozen=True)
class Course:
    """One column.

    Attributes:
        name: of the column, see `columns`.
        label: in words, with its unit.
        first: its level in the first tenth of the run; of few rows, the first.
        last: its level in the last quarter; of few rows, the last.
        beyond_noise: whether the difference is more than noise; None: there are too few rows.
    """

    name: str
    label: str
    first: float
    last: float
    beyond_noise: bool | None


def courses(log: Log) -> tuple[Course, ...]:
    """Every column with a finite number, in the order of `LABELS`.

    A column that begins anew in each iteration is averaged over the iterations.

    Example:
        >>> from apo_sim.explain.log import Collector
        >>> collector = Collector("a list")
        >>> for step in range(40):
        ...     collector.add({"step": step, "loss": 0.7 - 0.01 * step})
        >>> (loss,) = courses(collector.log())
        >>> loss.first > loss.last, loss.beyond_noise
        (True, True)
    """
    found = []
    for name, label in LABELS.items():
        series = log.columns.get(name)
        if series is None or not len(series.finite.value):
            continue
        level = levels(series, name in RESTART)
        if level is None:
            first, last, beyond = (*series.finite.value[[0, -1]].tolist(), None)
        else:
            low, high = level.change()
            first, last, beyond = level.start, level.end, not low <= 0.0 <= high
        found.append(Course(name, label, first, last, beyond))
    return tuple(found)


def as_text(shown: Sequence[Course]) -> str:
    """The columns as lines of a table; a star stands beside what changed beyond noise.

    Example:
        >>> print(as_text([Course("loss", "loss", 0.7, 0.25, True)]))
                     first        last
        loss           0.7        0.25 *
    """
    width = max([len(one.label) for one in shown], default=0)
    lines = [f"{'':{width}}  {'first':>10}  {'last':>10}"]
    for one in shown:
        star = " *" if one.beyond_noise else ""
        lines.append(f"{one.label:{width}}  {one.first:>10.4g}  {one.last:>10.4g}{star}")
    return "\n".join(lines)
