"""`apo-sim validate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from apo_sim.claims.verdict import Verdict
from apo_sim.cli.commands import own_claims
from apo_sim.cli.commands.precision import float64
from apo_sim.cli.options.validate_options import Validate
from apo_sim.cli.rendering.console import open_console, say
from apo_sim.cli.rendering.data import print_json
from apo_sim.cli.rendering.verdicts import print_verdicts, summary
from apo_sim.cli.rendering.watch import Watch
from apo_sim.cli.status import DONE, INTERRUPTED, UNSOUND
from apo_sim.files import as_path
from apo_sim.importing import importable_here
from apo_sim.report.ledger import Ledger, read_ledger
from apo_sim.report.validate import validate


def run(options: Validate) -> int:
    """Check the claims; show the verdicts and where they are written."""
    float64()
    console = open_console(stderr=options.json)
    out = as_path("out", options.out)
    earlier = read_ledger(out / "claims.json")
    own = own_claims.declare(options.module)
    # The worker processes import a module of the user's again.
    with own_claims.explained(options.module), importable_here(), Watch(console) as watch:
        ledger = validate(
            options.claim or own or None,
            out=out,
            effort=options.effort,
            seed=options.seed,
            jobs=options.jobs,
            watch=watch,
        )
    done, interrupted = watch.verdicts, watch.total != len(watch.verdicts)
    ids = {verdict.id for verdict in done}
    verdicts = [verdict for verdict in ledger.verdicts if verdict.id in ids]
    if options.json:
        print_json(_summary(ledger, verdicts, out, interrupted))
    elif done:
        print_verdicts(console, verdicts)
    if (options.claim or own) and done and earlier is not None and not ledger.continues(earlier):
        _say_replaced(console, earlier)
    if done and not options.json:
        say(console, f"Report: {out / 'report.html'}")
    if interrupted:
        kept = "the verdicts above are saved" if done else "nothing is saved"
        console.print(f"Interrupted after {len(done)} of {watch.total} claims; {kept}.")
        return INTERRUPTED
    return DONE if all(verdict.sound for verdict in done) else UNSOUND


def _say_replaced(console: Console, earlier: Ledger) -> None:
    say(
        console,
        f"Replaced the earlier results in this folder (seed {earlier.seed}, effort "
        f"{earlier.effort}, version {earlier.version}).",
    )


def _summary(
    ledger: Ledger, verdicts: Sequence[Verdict], out: Path, interrupted: bool
) -> dict[str, Any]:
    """What was checked now, as data."""
    of_run = {name: getattr(ledger, name) for name in ("version", "created", "seed", "effort")}
    return {
        **of_run,
        "report": out / "report.html",
        "ledger": out / "claims.json",
        "interrupted": interrupted,
        "claims": [summary(verdict) for verdict in verdicts],
    }
