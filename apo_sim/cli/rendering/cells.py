"""Cells of a grid of settings, a line each."""

import itertools
from typing import Any

MOST = 20


def lines_of_cells(mean: Any, half: Any, intervals: bool) -> list[str]:
    """A line a cell, with its settings in words and its mean; the first twenty.

    Args:
        mean: means over the seeds, labelled by settings.
        half: half the width of their intervals.
        intervals: whether there are any.
    """
    found = []
    for words, value, width in _cells(mean, half):
        # Equal numbers say as little as one about how far off they are.
        interval = f" ± {width:.2g}" if intervals and width != 0 else ""
        found.append(f"{words:<60} {value:10.4g}{interval}")
    return found


def _cells(mean: Any, half: Any) -> list[tuple[str, float, float]]:
    if not mean.dims:
        return [("", float(mean), float(half))]
    table = mean.stack(cell=mean.dims)
    halves = half.stack(cell=mean.dims)
    found = []
    for index in itertools.islice(range(table.sizes["cell"]), MOST):
        place = table.cell.values[index]
        words = ", ".join(f"{n}={_short(v)}" for n, v in zip(mean.dims, place, strict=True))
        found.append((words, float(table[index]), float(halves[index])))
    return found


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
