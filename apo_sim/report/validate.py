"""Checking many claims: in worker processes, with what is finished kept whatever happens."""

import contextlib
import dataclasses
import importlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import FrameType

from apo_sim.claims import registry
from apo_sim.claims.verdict import Study, Verdict
from apo_sim.errors import InvalidArgument
from apo_sim.report import style
from apo_sim.report.files import writable_folder, write_text
from apo_sim.report.ledger import Ledger, new_ledger, read_ledger
from apo_sim.report.page import render_page

# A worker is one thread of work: two of them must not fight for the same cores.
WORKER = {
    "JAX_ENABLE_X64": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}

HEARTBEAT = 0.2  # seconds between two looks whether Ctrl-C was pressed


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

    A check that raises is reported as broken and the others go on. An interruption (Ctrl-C)
    ends the run, and what was finished is written. If the folder holds a run of the same
    version, seed and effort, then a run of some of the claims updates their entries there;
    a run of other settings replaces it.

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
        InvalidArgument: for a bad seed, a bad number of jobs, or a folder that cannot be written.

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

    done: list[Verdict] = []
    steps = _check_all(ids, folder, effort, seed, workers)
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(steps):
        for verdict, running in steps:
            if verdict is not None:
                done.append(verdict)
            watch(Progress(len(ids), tuple(done), running))

    missing = set(ids) - {verdict.id for verdict in done}
    ledger = new_ledger(done, seed=seed, effort=effort, missing=missing)
    if claims is not None:
        ledger = ledger.merged(read_ledger(folder / "claims.json"))
    if done:  # an interruption before the first verdict leaves an earlier run as it was
        ledger.write(folder / "claims.json")
        write_text(folder / "report.html", render_page(ledger, folder))
    return ledger


Step = tuple[Verdict | None, tuple[str, ...]]


def _check_all(
    ids: Sequence[str], folder: Path, effort: str, seed: int, workers: int
) -> Generator[Step]:
    """Verdicts as they are reached (None when a claim starts), with the ids now running."""
    if workers == 1:
        for id in ids:
            yield None, (id,)
            yield check_into(id, registry.module(id), folder, effort, seed), ()
        return
    waiting = list(ids)
    with _interruption() as check_interruption:
        while waiting:
            yield from _check_in_pool(waiting, folder, effort, seed, workers, check_interruption)


def _check_in_pool(
    waiting: list[str],
    folder: Path,
    effort: str,
    seed: int,
    workers: int,
    check_interruption: Callable[[], None],
) -> Generator[Step]:
    """Check the ids in `waiting`, taking them off it, until it is empty or a worker dies."""
    running: dict[Future[Verdict], str] = {}
    lost: list[str] = []
    with _environment(WORKER), _pool(workers) as pool:
        try:
            while waiting or running:
                # No more than can run at once, so that `running` means it.
                while waiting and len(running) < workers:
                    id = waiting[0]
                    place = registry.module(id)
                    with _deaf_children():
                        task = pool.submit(check_into, id, place, folder, effort, seed)
                    running[task] = id
                    del waiting[0]
                    yield None, tuple(running.values())
                finished = wait(running, HEARTBEAT, FIRST_COMPLETED).done
                check_interruption()
                for task in finished:
                    verdict = task.result()
                    del running[task]
                    yield verdict, tuple(running.values())
        except BrokenProcessPool:
            lost = list(running.values())
    # What was running died together: each is tried again in a process of its own.
    for id in lost:
        if workers == 1:
            yield registry.broken(id, "The worker process died."), ()
        else:
            yield from _check_in_pool([id], folder, effort, seed, 1, check_interruption)


@contextlib.contextmanager
def _interruption() -> Iterator[Callable[[], None]]:
    """A function that raises `KeyboardInterrupt` if Ctrl-C was pressed since.

    Raised wherever the program happens to be, it could leave a lock of the pool held, and the
    program waiting for it forever. A second Ctrl-C is raised wherever it is.
    """
    pressed = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    ours = (
        before is signal.default_int_handler
        and threading.current_thread() is threading.main_thread()
    )
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
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


def check_into(id: str, module: str, folder: Path, effort: str, seed: int) -> Verdict:
    """Check one claim and draw its figure; whatever goes wrong becomes a broken entry.

    Args:
        id: the claim.
        module: where it is declared, imported first: a new process knows only the package's own.
        folder: the results folder; the figure goes to `figures/` in it.
        effort: `"quick"` or `"full"`.
        seed: the seed of the run.

    Returns:
        The verdict, without `draw` and with the path of the figure.
    """
    try:
        importlib.import_module(module)
        verdict = registry.check(id, effort, seed)
        if verdict.draw is None:
            return verdict
        path = style.save(verdict.draw, id, folder / "figures")
        return dataclasses.replace(verdict, draw=None, figure=path.relative_to(folder).as_posix())
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        return registry.broken(id, reason)


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
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise InvalidArgument("jobs", jobs, "is not a count", "pass an integer >= 1")
    return min(jobs, max(claims, 1))


@contextlib.contextmanager
def _deaf_children() -> Iterator[None]:
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
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables for the processes started meanwhile, where the user set none."""
    before = dict(os.environ)
    os.environ.update({name: value for name, value in variables.items() if name not in before})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
