"""A picture of training logs: what pairs, policy and updates did, step by step."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apo_sim.explain._columns import SHORT_LABELS
from apo_sim.explain.log import Log, Series
from apo_sim.studies.caption import caption

# Title, and columns of one scale.
PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("loss", ("loss", "held_out_loss")),
    ("log-probability, nats", ("chosen_log_prob", "rejected_log_prob")),
    ("reward", ("chosen_reward", "rejected_reward", "margin", "held_out_margin")),
    ("mass of both responses, log ratio", ("pair_mass",)),
    ("divergence, nats", ("kl",)),
    ("entropy, nats", ("entropy",)),
    ("length, tokens", ("length",)),
    ("score", ("reward", "held_out_reward")),
    ("shares", ("ended", "repetition", "accuracy", "held_out_accuracy")),
    ("norm of the gradient", ("gradient_norm",)),
    ("share of updates lost", ("lost_updates",)),
)
# Columns that the title of their panel does not name.
_UNCLEAR = frozenset(name for _, names in PANELS if len(names) > 2 for name in names)
_COLUMNS = 3
# Of a panel, in inches.
_WIDTH, _HEIGHT = 3.6, 2.1
_DASHES: tuple[Any, ...] = ("-", "--", ":", "-.")
# Rows beyond which means of stretches stand before them.
_STRETCHES = 40


def draw(figure: Figure, logs: Mapping[str, Log], note: str = "") -> None:
    """Draw every column that a log has, one panel for those of one scale.

    Colours tell logs apart, or the columns of a single log; dashes the columns. Faint: all rows.
    Before them: means of stretches. Dotted: where an iteration of the outer loop begins.

    Args:
        figure: is filled.
        logs: by name.
        note: for the line above the panels.

    Example:
        >>> from apo_sim.explain.log import Collector
        >>> collector = Collector("a list")
        >>> for step in range(9):
        ...     collector.add({"step": step, "loss": 0.7, "kl": 0.1 * step})
        >>> figure = Figure()
        >>> draw(figure, {"mine": collector.log()})
        >>> [place.get_title() for place in figure.axes]
        ['loss', 'divergence, nats']
    """
    shown = [
        (title, [name for name in names if any(name in log.columns for log in logs.values())])
        for title, names in PANELS
    ]
    shown = [(title, names) for title, names in shown if names]
    several = len(logs) > 1
    rows = max(-(-len(shown) // _COLUMNS), 1)
    figure.set_size_inches(_COLUMNS * _WIDTH, rows * _HEIGHT + 0.3)
    places = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for place, (title, names) in zip(places, shown, strict=False):
        place.set_title(title)
        for number, (label, log) in enumerate(logs.items()):
            for begin in _borders(log):
                place.axvline(begin, color="0.6", lw=0.7, ls=":")
            for which, name in enumerate(names):
                if name in log.columns:
                    colour = f"C{number if several else which}"
                    _plot(place, log, name, colour, _DASHES[which], label)
        first = several and place is places[0]
        _legend(place, names, several, logs if first else ())
    for place in places[len(shown) :]:
        place.remove()
    for place in places[max(len(shown) - _COLUMNS, 0) : len(shown)]:
        place.set_xlabel("step")
    caption(figure, note or "faint: rows of the log; before them: means of stretches")


def _plot(place: Any, log: Log, name: str, colour: str, dashes: Any, label: str) -> None:
    series = log.columns[name].finite
    at = _positions(log, series)
    dense = len(at) > _STRETCHES
    if dense:
        place.plot(at, series.value, color=colour, lw=0.6, alpha=0.25)
    for begin, end in _iterations(series):
        x, y = at[begin:end], series.value[begin:end]
        parts = np.array_split(np.arange(len(x)), min(_STRETCHES, len(x)))
        means = [(x[part].mean(), y[part].mean()) for part in parts]
        mark = "." if len(means) < 3 else ""
        place.plot(*np.array(means).T, color=colour, ls=dashes, lw=1.6, marker=mark, label=label)


def _legend(place: Any, names: list[str], several: bool, logs: Iterable[str]) -> None:
    """The columns by their dashes, and logs by their colours."""
    handles = [
        Line2D([], [], color="0.2" if several else f"C{which}", ls=_DASHES[which], label=label)
        for which, label in enumerate(SHORT_LABELS.get(name, name) for name in names)
        if len(names) > 1 or names[0] in _UNCLEAR
    ]
    handles += [Line2D([], [], color=f"C{n}", lw=3, label=label) for n, label in enumerate(logs)]
    if handles:
        place.legend(handles=handles, fontsize=7, frameon=True, framealpha=0.8, edgecolor="none")


def _positions(log: Log, series: Series) -> np.ndarray:
    """Where the rows of a column stand: at their step, or at their place among all iterations."""
    if len(_starts(log)) < 2:
        return series.step
    every = _keys(log)
    order = np.searchsorted(every, _key(series.iteration, series.step))
    return order.astype(float)


def _borders(log: Log) -> list[float]:
    """Where iterations after the first begin."""
    keys = _keys(log)["iteration"]
    return np.searchsorted(keys, _starts(log)[1:]).astype(float).tolist()


def _starts(log: Log) -> np.ndarray:
    return np.unique(np.concatenate([one.iteration for one in log.columns.values()]))


def _keys(log: Log) -> np.ndarray:
    return np.unique(
        np.concatenate([_key(one.iteration, one.step) for one in log.columns.values()])
    )


def _key(iteration: np.ndarray, step: np.ndarray) -> np.ndarray:
    found = np.empty(len(step), [("iteration", float), ("step", float)])
    found["iteration"], found["step"] = iteration, step
    return found


def _iterations(series: Series) -> Iterator[tuple[int, int]]:
    """First and last place of each iteration."""
    cuts = np.flatnonzero(np.diff(series.iteration)) + 1
    ends = [0, *cuts.tolist(), len(series.iteration)]
    for begin, end in itertools.pairwise(ends):
        if end > begin:
            yield begin, end
