"""The claims of a module of the user's."""

from collections.abc import Iterator
from contextlib import contextmanager

from apo_sim.claims import registry
from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.importing import import_named

_REMEDY = "pass the name of a module, such as my_claims for the file my_claims.py"


def declare(module: str | None) -> list[str]:
    """Import a module and return the ids of the claims that it declares; none for None.

    Raises:
        InvalidArgument: it cannot be imported, or declares no claim.
    """
    if module is None:
        return []
    found = import_named("module", module, module, _REMEDY)
    if ids := registry.declared_by(module):
        return ids
    remedy = "decorate a function with apo_sim.claims.claim"
    if hasattr(found, "__path__"):
        remedy = f"it is a package: pass one of its modules, such as {module}.my_claims"
    raise InvalidArgument("module", module, "declares no claim", remedy)


@contextmanager
def explained(module: str | None) -> Iterator[None]:
    """Say, where a claim is unknown and no module was named, that it may be the user's own.

    Raises:
        InvalidArgument: the claim is unknown.
    """
    try:
        yield
    except UnknownName as error:
        if error.argument != "claim" or module is not None:
            raise
        remedy = f"{error.remedy} (for a claim of your own, add --module NAME)"
        raise InvalidArgument("claim", error.value, error.problem, remedy) from error
