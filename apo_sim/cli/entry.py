"""Run the command: parse, import what the subcommand needs, do it, and say what went wrong."""

import importlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from apo_sim import start
from apo_sim.cli.options import SUBCOMMANDS
from apo_sim.cli.parsing import parse
from apo_sim.cli.rendering.console import open_console
from apo_sim.cli.rendering.overview import print_overview
from apo_sim.cli.status import DONE, INTERRUPTED, USAGE
from apo_sim.errors import InvalidArgument, MissingExtra
from apo_sim.interruption import end_at_once, heard_in_compiled_code, interruptible
from apo_sim.version import __version__


def main(arguments: list[str] | None = None) -> int:
    """Run `apo-sim` and return its exit status.

    Example:
        >>> main(["show", "N99"])
        2
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be text
            stream.reconfigure(errors="backslashreplace")
    command = isinstance(signal.getsignal(signal.SIGINT), start.Quiet)
    status = _status(sys.argv[1:] if arguments is None else arguments)
    if command and status == INTERRUPTED:
        end_at_once(INTERRUPTED)
    return status


def _status(arguments: list[str]) -> int:
    try:
        return _answer(arguments)
    except (InvalidArgument, MissingExtra) as error:
        print(f"apo-sim: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `apo-sim claims | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _answer(arguments: list[str]) -> int:
    if arguments in ([], ["--help"], ["-h"]):
        print_overview(open_console())
        return DONE
    if arguments == ["--version"]:
        print(f"apo-sim {__version__}")
        return DONE
    try:
        options = parse(arguments)
    except SystemExit as stop:  # help, or usage that the parser has explained
        return stop.code if isinstance(stop.code, int) else USAGE
    # Before JAX is imported, if it is not yet; `float64` sees to it where it is.
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    run = _command(type(options))
    with _hearing():
        return run(options)


def _command(kind: type) -> Callable[[Any], int]:
    """What does a subcommand; the import takes seconds where JAX is needed."""
    name = next(name for name, options in SUBCOMMANDS.items() if options is kind)
    return importlib.import_module(f"apo_sim.cli.commands.{name}_command").run


@contextmanager
def _hearing() -> Iterator[None]:
    """Ctrl-C as an interruption; before, it ends the process, and once all is done, it does not."""
    command = isinstance(signal.getsignal(signal.SIGINT), start.Quiet)
    if command:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interruptible(), heard_in_compiled_code(INTERRUPTED) if command else nullcontext():
            yield
    finally:
        if command:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
