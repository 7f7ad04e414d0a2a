"""`apo-sim show ID`."""

from typing import Any

from apo_sim.claims import registry
from apo_sim.claims.verdict import Verdict
from apo_sim.cli.commands import own_claims
from apo_sim.cli.index import declaration, to_entry
from apo_sim.cli.options.show_options import Show
from apo_sim.cli.rendering.console import open_console, say
from apo_sim.cli.rendering.data import print_json
from apo_sim.cli.rendering.verdicts import print_declaration, table_of_verdict
from apo_sim.cli.status import DONE
from apo_sim.files import as_path
from apo_sim.report.ledger import Ledger, read_ledger


def run(options: Show) -> int:
    """Print a claim, and the last verdict on it."""
    own_claims.declare(options.module)
    claim = declaration(options.id)
    out = as_path("out", options.out)
    ledger = read_ledger(out / "claims.json")
    verdicts = {verdict.id: verdict for verdict in ledger.verdicts} if ledger else {}
    verdict = verdicts.get(claim.id)
    if options.json:
        print_json(to_entry(claim) | _last(verdict, ledger))
        return DONE
    console = open_console()
    print_declaration(console, claim)
    if ledger is None or verdict is None:
        say(console, f"No verdict in {out} yet. Run: {registry.command(claim.id)}")
    else:
        console.print(table_of_verdict(verdict, ledger, claim.errata))
    return DONE


def _last(verdict: Verdict | None, ledger: Ledger | None) -> dict[str, Any]:
    """The last verdict and the run that reached it, as data; null where there is none."""
    if verdict is None or ledger is None:
        return {"verdict": None, "run": None}
    run = {name: getattr(ledger, name) for name in ("version", "created", "seed", "effort")}
    found = verdict.to_json() | {"sound": verdict.sound, "flaw": verdict.flaw}
    return {"verdict": found, "run": run}
