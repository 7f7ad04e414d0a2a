"""Modules that a user names: found in the working directory as well, or refused in plain words."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType

from apo_sim.errors import InvalidArgument


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
        InvalidArgument: the module does not exist or cannot be imported.

    Example:
        >>> import_named("module", "no.such", "no.such", "pass a module such as my_claims")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: module = 'no.such' names a module that does not exist; \
pass a module such as my_claims
    """
    try:
        with importable_here():
            return importlib.import_module(module)
    except ImportError as error:
        if error.name and (module + ".").startswith(error.name + "."):
            raise InvalidArgument(
                argument, value, "names a module that does not exist", remedy
            ) from error
        raise InvalidArgument(
            argument,
            value,
            f"names a module that cannot be imported ({error})",
            "install or repair the modules that it imports",
        ) from error
    except (TypeError, ValueError) as error:  # ".", "a..b"
        raise InvalidArgument(
            argument, value, "names a module that does not exist", remedy
        ) from error
