"""Checking many claims: in worker processes, with what is finished kept whatever happens."""

import contextlib
import dataclasses
import importlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from apo_sim.checks import (
    as_count,
    as_seed,
    as_text,
    checked,
    function_of,
    optional,
    sequence_of,
)
from apo_sim.claims import registry
from apo_sim.claims.verdict import Study, Verdict
from apo_sim.files import (
    alone_in,
    cannot_write,
    clear_drafts,
    writable_folder,
    write_bytes,
    write_text,
)
from apo_sim.interruption import interruptible
from apo_sim.report import style
from apo_sim.report.ledger import Ledger, new_ledger, read_ledger
from apo_sim.report.page import render_page
from apo_sim.start import PARENT

# A worker is one thread of work: two of them must not fight for the same cores.
WORKER = {
    "JAX_ENABLE_X64": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
# Most of a quick check is compiling, which optimised code does not pay back there.
QUICK = {"XLA_FLAGS": f"{WORKER['XLA_FLAGS']} --xla_backend_optimization_level=1"}

# A figure's formats in the folder: two for whoever wants the figure, and that of the page.
FORMATS = (*style.METADATA, "webp")

HEARTBEAT = 0.2  # seconds between two looks whether Ctrl-C was pressed


# A verdict, and its figure by format.
Checked = tuple[Verdict, dict[str, bytes]]


@dataclasses.dataclass(frozen=True)
class Progress:
    """What `validate` tells its watcher after every change.

    Attributes:
        total: number of claims to check.
        done: the verdicts so far, in the order they were reached.
        running: ids of the claims being checked now.
    """

    total: int
    done: tuple[Verdict, ...]
    running: tuple[str, ...]


_IDS = sequence_of(as_text, "are not claim ids", 'pass a list such as ["N2"], or None for all')


@checked(claims=optional(_IDS), seed=as_seed, jobs=optional(as_count), watch=function_of(None))
def validate(
    claims: Sequence[str] | None = None,
    *,
    out: str | Path = "results",
    effort: str = "quick",
    seed: int = 0,
    jobs: int | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Ledger:
    """Check claims and write `claims.json`, `report.html` and `figures/` into a folder.

    A check that raises is reported as broken and the others go on. Every verdict is written as
    it is reached, with its figure, so that an interruption (Ctrl-C) or a kill loses nothing that
    was finished. If the folder holds a run of the same version, seed and effort, then a run of
    some of the claims updates their entries there; a run of other settings replaces it.

    Args:
        claims: ids; None for all.
        out: the folder, made if it is not there.
        effort: `"quick"` or `"full"`.
        seed: an integer in [0, 2**32).
        jobs: number of worker processes; 1 checks in this process; None is two, or one on a
            machine with a single core.
        watch: called with the progress after every change.

    Returns:
        What was written to `claims.json`. `missing` names what an interruption left out.

    Raises:
        UnknownName: for an unknown claim or effort.
        InvalidArgument: for a bad seed, a bad number of jobs, or a folder that cannot be written
            or that another process is writing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ledger = validate(["LD.2"], out=folder, jobs=1)
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['claims.json', 'figures', 'report.html']
        >>> ledger.sound
        True
    """
    ids = _known(claims)
    Study("", effort, seed)  # says what is wrong with either
    workers = _workers(jobs, len(ids))
    folder = writable_folder("out", out)
    writable_folder("out", folder / "figures")
    earlier = read_ledger(folder / "claims.json") if claims is not None else None
    record = _Record(folder, ids, seed, effort, earlier)
    with alone_in("out", folder):
        clear_drafts([*folder.iterdir(), *(folder / "figures").iterdir()])
        steps = _check_all(ids, effort, seed, workers)
        with contextlib.suppress(KeyboardInterrupt), contextlib.closing(steps):
            for checked, running in steps:
                if checked is not None:
                    record.add(checked)
                watch(Progress(len(ids), tuple(record.done), running))
        ledger = record.ledger()
        if ledger.missing and record.done:  # the interruption may have come amid the writing
            record.write(ledger)
    return ledger


class _Record:
    """The folder of a run: no verdict ever stands beside the figure of another run."""

    def __init__(
        self, folder: Path, ids: Sequence[str], seed: int, effort: str, earlier: Ledger | None
    ):
        self.folder, self.earlier = folder, earlier
        self.begun = new_ledger((), seed=seed, effort=effort, missing=ids)
        self.done: list[Verdict] = []

    def ledger(self, without: str | None = None) -> Ledger:
        """The verdicts so far, with those of the earlier run that this one has not come to."""
        earlier = None if self.earlier is None else self.earlier.without(without)
        return self.begun.with_verdicts(self.done).merged(earlier)

    def add(self, checked: Checked) -> None:
        """Write a verdict and its figure, or neither; then the page."""
        verdict, images = checked
        try:
            # A kill from here on leaves the claim without verdict, not one with a wrong figure.
            self.ledger(without=verdict.id).write(self.folder / "claims.json")
            for kind in FORMATS:
                file = self.folder / "figures" / f"{verdict.id}.{kind}"
                if kind in images:
                    write_bytes(file, images[kind])
                else:
                    file.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write("out", self.folder, error) from None
        self.done.append(verdict)
        self.write(self.ledger())

    def write(self, ledger: Ledger) -> None:
        """Write the verdicts, then the page."""
        try:
            ledger.write(self.folder / "claims.json")
            write_text(self.folder / "report.html", render_page(ledger, self.folder))
        except OSError as error:
            raise cannot_write("out", self.folder, error) from None


Step = tuple[Checked | None, tuple[str, ...]]


def _check_all(ids: Sequence[str], effort: str, seed: int, workers: int) -> Generator[Step]:
    """Verdicts as they are reached (None when a claim starts), with the ids now running."""
    if workers == 1:
        with interruptible() as look:
            for id in ids:
                yield None, (id,)
                yield check_and_draw(id, registry.module(id), effort, seed), ()
                look()
        return
    waiting = list(ids)
    # Raised wherever the program happens to be, Ctrl-C could leave a lock of the pool held, and
    # the program waiting for it forever.
    with interruptible(at_once=False) as look:
        while waiting:
            yield from _check_in_pool(waiting, effort, seed, workers, look)


def _check_in_pool(
    waiting: list[str], effort: str, seed: int, workers: int, look: Callable[[], None]
) -> Generator[Step]:
    """Check the ids in `waiting`, taking them off it, until it is empty or a worker dies."""
    running: dict[Future[Checked], str] = {}
    lost: list[str] = []
    settings = WORKER | (QUICK if effort == "quick" else {}) | {PARENT: str(os.getpid())}
    with _environment(settings), _pool(workers) as pool:
        try:
            while waiting or running:
                # No more than can run at once, so that `running` means it.
                while waiting and len(running) < workers:
                    id = waiting[0]
                    place = registry.module(id)
                    with _deaf_children():
                        task = pool.submit(check_and_draw, id, place, effort, seed)
                    running[task] = id
                    del waiting[0]
                    yield None, tuple(running.values())
                finished = wait(running, HEARTBEAT, FIRST_COMPLETED).done
                look()
                for task in finished:
                    checked = task.result()
                    del running[task]
                    yield checked, tuple(running.values())
        except BrokenProcessPool:
            lost = list(running.values())
    # What was running died together: each is tried again in a process of its own.
    for id in lost:
        if workers == 1:
            yield (registry.broken(id, "The worker process died."), {}), ()
        else:
            yield from _check_in_pool([id], effort, seed, 1, look)


@contextlib.contextmanager
def _pool(workers: int) -> Generator[ProcessPoolExecutor]:
    """Worker processes, ended at once by an interruption."""
    before = set(multiprocessing.active_children())
    # Not forked: JAX has threads of its own, which a fork would leave behind.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, spawn)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def check_and_draw(id: str, module: str, effort: str, seed: int) -> Checked:
    """Check one claim and draw its figure; whatever goes wrong becomes a broken entry.

    Args:
        id: the claim.
        module: where it is declared, imported first: a new process knows only the package's own.
        effort: `"quick"` or `"full"`.
        seed: the seed of the run.

    Returns:
        The verdict, with the path that its figure has in the folder of results; the figure, by
        format.
    """
    try:
        importlib.import_module(module)
        verdict = registry.check(id, effort, seed)
        if verdict.draw is None:
            return verdict, {}
        images = style.render(verdict.draw, id)
        images["webp"] = style.for_page(images["png"])
        return dataclasses.replace(verdict, figure=f"figures/{id}.svg"), images
    except (Exception, SystemExit) as error:  # a check that leaves the program reaches no verdict
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        return registry.broken(id, reason), {}


def _known(claims: Sequence[str] | None) -> list[str]:
    """The ids asked for, each once and known, in the order of the registry."""
    if claims is None:
        return registry.names()
    for id in claims:
        registry.module(id)
    return [id for id in registry.names() if id in set(claims)]


def _workers(jobs: int | None, claims: int) -> int:
    if jobs is None:
        jobs = min(2, os.cpu_count() or 1)
    return min(jobs, max(claims, 1))


@contextlib.contextmanager
def _deaf_children() -> Generator[None]:
    """Ctrl-C reaches the whole group of processes; those started meanwhile never notice."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Generator[None]:
    """Environment variables for the processes started meanwhile, where the user set none."""
    before = dict(os.environ)
    os.environ.update({name: value for name, value in variables.items() if name not in before})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
