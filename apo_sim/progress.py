"""The one bar that anything longer shows, and what a log shows in its place."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

# Seconds between two lines of a log, and what takes at least how long is said when it is done.
_EVERY, _LONG = 60.0, 10.0


@contextmanager
def bar(what: str, total: int, done: int, show: bool) -> Iterator[Callable[[int], None]]:
    """A bar that counts, with an estimate of what remains.

    Where there is neither terminal nor notebook, such as in the log of a batch job, a line on
    stderr once a minute, and when it is done.

    Args:
        what: is counted.
        total: how many there are.
        done: how many of them at the start.
        show: False for none.

    Yields:
        A function that counts so many more.

    Example:
        >>> with bar("runs", 3, 0, show=False) as advance:
        ...     advance(2)
    """
    console = Console(stderr=True)
    seen = console.is_terminal or console.is_jupyter
    if show and not seen:
        yield _lines(what, total, done)
        return
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        console=console,
        transient=True,
        disable=not show,
    )
    with progress:
        task = progress.add_task(what, total=total, completed=done)
        yield lambda more: progress.advance(task, more)


def _lines(what: str, total: int, done: int) -> Callable[[int], None]:
    """Counts, and says where it is when it has said nothing for long."""
    begun = said = time.monotonic()
    count = done

    def advance(more: int) -> None:
        nonlocal count, said
        count, now = count + more, time.monotonic()
        if now - said < (_EVERY if count < total else _LONG) or count == done:
            return
        gone, left = now - begun, (now - begun) / (count - done) * (total - count)
        gone, left = (timedelta(seconds=round(seconds)) for seconds in (gone, left))
        remains = f", left {left}" if count < total else ""
        print(f"{what}: {count}/{total} after {gone}{remains}", file=sys.stderr, flush=True)
        said = now

    return advance
