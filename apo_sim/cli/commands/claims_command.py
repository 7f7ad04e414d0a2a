"""`apo-sim claims`."""

from apo_sim.claims import registry
from apo_sim.cli.commands import own_claims
from apo_sim.cli.index import declaration, to_entry
from apo_sim.cli.options.claims_options import Claims
from apo_sim.cli.rendering.console import open_console
from apo_sim.cli.rendering.data import print_json
from apo_sim.cli.rendering.verdicts import table_of_claims
from apo_sim.cli.status import DONE


def run(options: Claims) -> int:
    """List the claims."""
    own = own_claims.declare(options.module)
    claims = [declaration(id) for id in own or registry.names()]
    if options.json:
        print_json([to_entry(claim) for claim in claims])
    else:
        open_console().print(table_of_claims(claims))
    return DONE
