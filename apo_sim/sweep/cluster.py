"""The units of a sweep on a Dask cluster."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from apo_sim.errors import InvalidArgument
from apo_sim.sweep._plan import Unit
from apo_sim.sweep.lanes import compute, precision

# Units a worker has waiting, so that it never waits for the next.
_AHEAD = 2
# Seconds to wait for a scheduler, and between two looks whether it is still there.
_PATIENCE = 30
_HEARTBEAT = 2


class ClusterLost(RuntimeError):
    """The cluster of a sweep went away. What was finished is in the store."""


def compute_elsewhere(
    cluster: Any, units: Sequence[Unit], seed: int
) -> Iterator[tuple[Unit, dict[str, np.ndarray]]]:
    """Results of all units, in the order in which workers finish them.

    Args:
        cluster: a Dask cluster or client, or the address of a scheduler.
        units: what to compute.
        seed: the seed of the sweep.

    Raises:
        InvalidArgument: Dask is not installed, or nothing answers at the address.
        ClusterLost: the scheduler or all workers are gone before the end.
    """
    distributed = _distributed(cluster)
    ours = not isinstance(cluster, distributed.Client)
    try:
        # As the default it would be what the caller's own xarray and Dask turn to, even afterwards.
        client = (
            distributed.Client(cluster, timeout=_PATIENCE, set_as_default=False)
            if ours
            else cluster
        )
    except (OSError, TimeoutError, TypeError, ValueError) as error:
        raise InvalidArgument(
            "cluster", cluster, "does not answer", "pass the address of a running scheduler"
        ) from error
    try:
        yield from _share_out(client, list(units), seed)
    finally:
        if ours:
            client.close()


def _distributed(cluster: Any) -> Any:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise InvalidArgument(
            "cluster", cluster, "needs Dask", "pip install 'apo-sim[cluster]'"
        ) from error
    return distributed


def _share_out(
    client: Any, waiting: list[Unit], seed: int
) -> Iterator[tuple[Unit, dict[str, np.ndarray]]]:
    from distributed import wait

    total, done = len(waiting), 0
    waiting.reverse()
    double = precision()
    running: dict[Any, Unit] = {}
    try:
        while waiting or running:
            if client.status != "running":
                raise OSError("the scheduler is gone")
            # Not `scheduler_info`, whose answer the client's own refreshing now and then empties.
            workers = len(client.nthreads())
            if workers == 0:
                raise OSError("no workers are left")
            while waiting and len(running) < _AHEAD * workers:
                unit = waiting.pop()
                running[client.submit(_compute, unit, seed, double, pure=False)] = unit
            try:
                with client.as_current():  # `wait` asks the default client
                    first: Any = wait(list(running), _HEARTBEAT, "FIRST_COMPLETED")
            except TimeoutError:
                continue
            for future in first.done:
                unit = running.pop(future)
                results = future.result()
                future.release()
                done += 1
                yield unit, results
    except _lost() as error:
        why = " ".join(str(error).split())  # Dask's messages may be of several lines
        raise ClusterLost(
            f"the cluster went away after {done} of {total} units ({why}); "
            "what was finished is kept, and the same call with the same out= goes on from there"
        ) from error


def _lost() -> tuple[type[BaseException], ...]:
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError

    return (OSError, CancelledError, KilledWorker, FutureCancelledError, CommClosedError)


def _compute(unit: Unit, seed: int, double: bool) -> dict[str, np.ndarray]:
    """On a worker: the same precision as at home, or the numbers would be others."""
    with jax.enable_x64(double):
        return compute(unit, seed)
