"""The one bar that anything longer shows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@contextmanager
def bar(what: str, total: int, done: int, show: bool) -> Iterator[Callable[[int], None]]:
    """A bar that counts, with an estimate of what remains; on a terminal or in a notebook only.

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
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        console=console,
        transient=True,
        disable=not (show and (console.is_terminal or console.is_jupyter)),
    )
    with progress:
        task = progress.add_task(what, total=total, completed=done)
        yield lambda more: progress.advance(task, more)
