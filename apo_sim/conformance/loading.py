"""Losses by name: of a module that can be imported, or of TRL."""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from apo_sim.errors import InvalidArgument

_REMEDY = "pass MODULE:FUNCTION, such as mypackage.losses:dpo, or trl:dpo"


def load(name: str) -> Callable[..., Any]:
    """A loss by its name, `module:function` or `trl:loss`.

    Modules of the working directory are found, too.

    Args:
        name: of the loss.

    Raises:
        InvalidArgument: there is no such module, it cannot be imported, or has no such function.
        MissingExtra: TRL is asked for and not installed.

    Example:
        >>> load("apo_sim.conformance:no_such_loss")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: loss = 'apo_sim.conformance:no_such_loss' is not in the \
module; pass MODULE:FUNCTION, such as mypackage.losses:dpo, or trl:dpo
    """
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise InvalidArgument("loss", name, "is no name of a loss", _REMEDY)
    if module == "trl":
        from apo_sim.conformance import trl

        return trl.loss(path)
    return _imported(name, module, path)


def _imported(name: str, module: str, path: str) -> Callable[..., Any]:
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        if error.name and (module + ".").startswith(error.name + "."):
            raise InvalidArgument("loss", name, "is in no module", _REMEDY) from error
        what = f"is in a module that cannot be imported ({error})"
        raise InvalidArgument("loss", name, what, "install or mend what it imports") from error
    except (TypeError, ValueError) as error:  # ".", "a..b"
        raise InvalidArgument("loss", name, "is in no module", _REMEDY) from error
    finally:
        if added:
            sys.path.remove(here)
    for part in path.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise InvalidArgument("loss", name, "is not in the module", _REMEDY)
    return found  # type: ignore[return-value]
