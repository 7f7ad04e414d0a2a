"""How far a run has come: a live bar on a terminal, a line a claim in a log."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from apo_sim.cli.rendering.console import plain
from apo_sim.cli.rendering.verdicts import state

if TYPE_CHECKING:
    from apo_sim.claims.verdict import Verdict
    from apo_sim.report.validate import Progress as Reached


class Watch:
    """Called by a run of the claims whenever one starts or ends.

    Attributes:
        verdicts: those reached so far.
        total: number of claims to check.
    """

    def __init__(self, console: Console):
        self.console = console
        self.verdicts: tuple[Verdict, ...] = ()
        self.total: int = 0
        self.live: Progress = Progress(
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task: TaskID = self.live.add_task("starting", total=None)

    def __enter__(self) -> "Watch":
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def __call__(self, progress: "Reached") -> None:
        fresh = progress.done[len(self.verdicts) :]
        self.verdicts, self.total = progress.done, progress.total
        for verdict in fresh:
            count = f"{len(progress.done):>{len(str(progress.total))}}/{progress.total}"
            if not self.console.is_terminal:
                self.console.print(
                    plain(f"[{count}] {verdict.id:<10} {state(verdict):<15}")
                    + f"{verdict.seconds:6.1f} s"
                )
        self.live.update(
            self.task,
            total=progress.total,
            completed=len(progress.done),
            description=", ".join(progress.running),
        )
