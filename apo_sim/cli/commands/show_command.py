"""`apo-sim show ID`."""

from pathlib import Path
from typing import Any

from apo_sim.claims import registry
from apo_sim.claims.registry import Declaration
from apo_sim.claims.verdict import Verdict
from apo_sim.cli.commands import own_claims
from apo_sim.cli.index import declaration, to_entry
from apo_sim.cli.options.show_options import Show
from apo_sim.cli.rendering.console import open_console, say
from apo_sim.cli.rendering.data import print_json
from apo_sim.cli.rendering.verdicts import print_declaration, table_of_verdict
from apo_sim.cli.status import DONE
from apo_sim.errors import InvalidArgument
from apo_sim.files import as_path
from apo_sim.report.ledger import Ledger, read_ledger

REFERENCE = Path("experiments/reference")  # from a clone of the repository


def run(options: Show) -> int:
    """Print a claim, and the last verdict on it."""
    own_claims.declare(options.module)
    out = as_path("out", options.out)
    ledger = read_ledger(out / "claims.json")
    verdict = ledger.of(options.id) if ledger else None
    claim = _declared(options, verdict)
    if options.json:
        print_json(to_entry(claim) | _last(verdict, ledger))
        return DONE
    console = open_console()
    print_declaration(console, claim)
    if ledger is None or verdict is None:
        say(console, f"No verdict in {out} yet. Run: {registry.command(claim.id)}")
        kept = read_ledger(REFERENCE / "claims.json")
        if kept is not None and kept.of(claim.id) is not None:
            say(console, f"That of the reference run: apo-sim show {claim.id} --out {REFERENCE}")
    else:
        console.print(table_of_verdict(verdict, ledger, claim.errata))
    return DONE


def _declared(options: Show, verdict: Verdict | None) -> Declaration:
    """What the claim says of itself; of one whose module was not named, as its verdict has it."""
    try:
        with own_claims.explained(options.module):
            return declaration(options.id)
    except InvalidArgument:
        if verdict is None:
            raise
    return Declaration(**vars(verdict.claim), control=verdict.control["what"])


def _last(verdict: Verdict | None, ledger: Ledger | None) -> dict[str, Any]:
    """The last verdict and the run that reached it, as data; null where there is none."""
    if verdict is None or ledger is None:
        return {"verdict": None, "run": None}
    run = {name: getattr(ledger, name) for name in ("version", "created", "seed", "effort")}
    found = verdict.to_json() | {"sound": verdict.sound, "flaw": verdict.flaw}
    return {"verdict": found, "run": run}
