"""Losses by name: of a module that can be imported, or of TRL."""

from collections.abc import Callable
from typing import Any

from apo_sim.errors import InvalidArgument
from apo_sim.importing import import_named

_REMEDY = "pass MODULE:FUNCTION, such as mypackage.losses:dpo, or trl:dpo"


def load_loss(name: str) -> Callable[..., Any]:
    """Load a loss by its name, `module:function` or `trl:loss`.

    Modules in the working directory are found too.

    Args:
        name: the name of the loss.

    Raises:
        InvalidArgument: the module does not exist, cannot be imported or lacks the function.
        MissingExtra: the loss is one of TRL's, and TRL is not installed.

    Example:
        >>> load_loss("apo_sim.conformance:no_such_loss")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: loss = 'apo_sim.conformance:no_such_loss' is not defined \
in its module; pass MODULE:FUNCTION, such as mypackage.losses:dpo, or trl:dpo
    """
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise InvalidArgument("loss", name, "is not the name of a loss", _REMEDY)
    if module == "trl":
        from apo_sim.conformance import trl

        return trl.loss(path)
    return _imported(name, module, path)


def _imported(name: str, module: str, path: str) -> Callable[..., Any]:
    found: Any = import_named("loss", name, module, _REMEDY)
    for part in path.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise InvalidArgument("loss", name, "is not defined in its module", _REMEDY)
    return found
