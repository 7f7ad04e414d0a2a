"""Modules that a user names: found in the working directory as well, or refused in plain words."""

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from apo_sim.errors import InvalidArgument

_LONGEST = 400  # of what an error says
_MISSING = "names a module that does not exist"


@contextlib.contextmanager
def importable_here() -> Iterator[None]:
    """Let modules of the working directory be imported, here and in processes started meanwhile.

    Example:
        >>> with importable_here():
        ...     os.getcwd() in sys.path
        True
    """
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if added:
            sys.path.remove(here)


def import_named(argument: str, value: str, module: str, remedy: str) -> ModuleType:
    """Import a module that was named on the command line or in an argument.

    Args:
        argument: what the user passed the name in.
        value: what was passed; the name of the module may be a part of it.
        module: the dotted name of the module.
        remedy: what to pass instead, if there is no such module.

    Returns:
        The module.

    Raises:
        InvalidArgument: the module does not exist or cannot be imported; then the message has what
            it raised, and where.

    Example:
        >>> import_named("module", "no.such", "no.such", "pass a module such as my_claims")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: module = 'no.such' names a module that does not exist; \
pass a module such as my_claims
    """
    # Only a name is looked up: the import of "." or "a..b" would be one relative to no package.
    if not all(module.split(".")):
        raise InvalidArgument(argument, value, _MISSING, remedy)
    try:
        with importable_here():
            return importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the module does, even leave the program
        if isinstance(error, ModuleNotFoundError) and _is_within(module, error.name):
            raise InvalidArgument(argument, value, _MISSING, remedy) from error
        raise InvalidArgument(
            argument,
            value,
            f"names a module that cannot be imported: {_said_by(error)}",
            "install or repair the modules that it imports"
            if isinstance(error, ImportError)
            else "correct it there",
        ) from error


def _is_within(module: str, name: str | None) -> bool:
    return bool(name) and f"{module}.".startswith(f"{name}.")


def _said_by(error: BaseException) -> str:
    """An error in one line, with the line that was being imported when it was raised."""
    said = " ".join(str(error).split())
    said = said if len(said) <= _LONGEST else f"{said[: _LONGEST - 3]}..."
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if isinstance(error, SyntaxError):  # it names the line that was not understood
        return text
    frames = traceback.extract_tb(error.__traceback__)
    # Below that line are the functions that it calls, above it what imports the module.
    lines = [frame for frame in frames if frame.name == "<module>"]
    return f"{text} ({Path(lines[-1].filename).name}:{lines[-1].lineno})" if lines else text
