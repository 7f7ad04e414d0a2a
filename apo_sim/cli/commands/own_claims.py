"""The claims of a module of the user's."""

from apo_sim.claims import registry
from apo_sim.errors import InvalidArgument
from apo_sim.importing import import_named

_REMEDY = "pass the name of a module, such as my_claims for the file my_claims.py"


def declare(module: str | None) -> list[str]:
    """Import a module and return the ids of the claims that it declares; none for None.

    Raises:
        InvalidArgument: it cannot be imported, or declares no claim.
    """
    if module is None:
        return []
    import_named("module", module, module, _REMEDY)
    if ids := registry.declared_by(module):
        return ids
    raise InvalidArgument(
        "module", module, "declares no claim", "decorate a function with apo_sim.claims.claim"
    )
