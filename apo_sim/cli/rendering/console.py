"""Where text goes: colours on a terminal, unless NO_COLOR is set; none in a pipe or a file."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

# A log has no width of its own: wide enough for the tables, whatever wrote it.
LOG_WIDTH = 120


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # who reads no further has what they want; rich would end the program with 1


def open_console(stderr: bool = False) -> Console:
    """The console of the standard output, or of the standard error."""
    console = _Console(highlight=False, emoji=False, stderr=stderr)
    if console.is_terminal:
        return console
    return _Console(highlight=False, emoji=False, stderr=stderr, width=LOG_WIDTH)


def say(console: Console, line: str) -> None:
    """A line as it is: no markup in it, and no other breaks."""
    console.print(line, soft_wrap=True, markup=False)


def plain(text: str) -> str:
    r"""Text in which rich finds no markup.

    Example:
        >>> print(plain("[0, 1) and [bold]"))
        [0, 1) and \[bold]
    """
    return escape(text)


def table(**settings: object) -> Table:
    """An empty table without lines, its headings bold."""
    return Table(box=None, pad_edge=False, header_style="bold", **settings)  # type: ignore[arg-type]
