"""Many trainings at once: one compiled program, blocks of iterations, a checkpoint after each."""

import contextlib
import dataclasses
import functools
import io
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.checks import as_count
from apo_sim.configuration import check_same, environment
from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.files import (
    alone_in,
    as_path,
    cannot_write,
    clear_drafts,
    writable_folder,
    write_bytes,
)
from apo_sim.geometry import KL
from apo_sim.identity import fingerprint, identity
from apo_sim.interruption import interruptible
from apo_sim.loop import State, advance
from apo_sim.loop import begin as start
from apo_sim.losses import DPO
from apo_sim.methods import OnNetwork, Proximal, TrainingDiverged
from apo_sim.momentum import NoMomentum
from apo_sim.preferences import Pairwise
from apo_sim.progress import bar
from apo_sim.proximal.by_gradient import ByGradient
from apo_sim.spaces import InParameters
from apo_sim.sweep.devices import LANES, shared_out
from apo_sim.training import SERIES

Lane = dict[str, Any]
Setup = Callable[[Lane], dict[str, Any]]

# Lanes side by side on a GPU; a core takes one after another, which then stays in its cache.
_TOGETHER = 64
_FILE = "checkpoint.npz"


def trainings(
    setup: Setup,
    lanes: Mapping[str, np.ndarray],
    *,
    iterations: int,
    block: int = 10,
    configuration: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    progress: bool = True,
    diverging: str = "refuse",
) -> dict[str, np.ndarray]:
    """Train once for every lane, lanes shared out among the devices, in one compilation.

    Args:
        setup: from one lane's numbers to the arguments of `apo_sim.train` but for `iterations`
            and `save`; traced, so that what sets a shape (samples, widths) is the same for all.
        lanes: numbers that differ between the trainings, each of shape (lanes,).
        iterations: T.
        block: iterations between two checkpoints and two ticks of the bar.
        configuration: what else the numbers depend on, as plain data: a checkpoint of another
            configuration is refused, and so is one of another `setup`, told by its content.
        out: folder of the checkpoint. A training that was stopped goes on from the last block
            when it is started again, to the same numbers; None: in memory.
        progress: show a bar, on a terminal.
        diverging: "refuse" to raise, or "report" to return the series; from there on, the policy
            stays what it was, and losses and distances are zero.

    Returns:
        Every series of `apo_sim.train`, shape (lanes, iterations), and `diverged`, the iteration
        from which on a lane is no training any more (0: never), shape (lanes,).

    Raises:
        TrainingDiverged: a lane diverged.
        InvalidArgument: the folder holds something else, cannot be written or is in use by
            another process; lanes of different lengths; a setup whose content cannot be told,
            with `out`.

    Source: ours.

    Example:
        >>> from apo_sim import SGD, families
        >>> from apo_sim.policies import Table
        >>> def setup(lane):
        ...     key = jax.random.key(lane["seed"])
        ...     return {
        ...         "problem": families.uniform_bandit(key, 1, 3),
        ...         "policy": Table(1, 3),
        ...         "step": ByGradient(SGD(lane["rate"]), steps=5),
        ...         "beta": 1.0,
        ...         "key": key,
        ...     }
        >>> lanes = {"seed": np.arange(2), "rate": np.array([0.1, 0.5])}
        >>> found = trainings(setup, lanes, iterations=4, block=2)
        >>> found["suboptimality"].shape
        (2, 4)
    """
    iterations, block = as_count("iterations", iterations), as_count("block", block)
    if diverging not in ("refuse", "report"):
        raise UnknownName("diverging", diverging, ("refuse", "report"))
    count = _count(lanes)
    rows = _rows(count)
    padded = {name: np.asarray(values)[rows] for name, values in lanes.items()}
    checkpoint = None
    if out is not None:
        plan = {"iterations": iterations, "lanes": _as_lists(lanes), **(configuration or {})}
        plan["setup"] = identity("setup", setup)
        checkpoint = _Checkpoint(as_path("out", out), plan, rows)
    block = min(block, iterations)
    begin, go_on = _programs(_by_content(setup), iterations)
    state: Any = None
    done, found = 0, {}
    if checkpoint is not None:
        done, state, found = checkpoint.load(jax.eval_shape(begin, padded))
    alone = contextlib.nullcontext()
    if checkpoint is not None and done < iterations:
        alone = checkpoint.alone()
    with alone, interruptible() as look, bar("iterations", iterations, done, progress) as tick:
        if done == 0:
            state = begin(padded)
        _refuse_divergence(state, count, diverging)
        while done < iterations:
            size = min(block, iterations - done)
            part, state = go_on(padded, state, size)
            _refuse_divergence(state, count, diverging)
            part = {name: np.asarray(values) for name, values in part.items()}
            found = {
                name: np.concatenate([found[name], values], axis=1) if name in found else values
                for name, values in part.items()
            }
            done += size
            if checkpoint is not None:
                checkpoint.save(done, state, found)
            tick(size)
            look()
    series = {name: values[:count] for name, values in found.items()}
    return {**series, "diverged": np.asarray(state.diverged)[:count]}


def _count(lanes: Mapping[str, Any]) -> int:
    """Number of lanes."""
    remedy = "pass arrays by name, whose first axis is the lanes"
    if not isinstance(lanes, Mapping) or not lanes:
        raise InvalidArgument("lanes", lanes, "contains no lanes", remedy)
    for name, values in lanes.items():
        if np.ndim(values) == 0 or len(values) == 0:
            raise InvalidArgument(f"lanes[{name!r}]", values, "has no lanes", remedy)
    counts = {len(values) for values in lanes.values()}
    if len(counts) > 1:
        raise InvalidArgument("lanes", sorted(counts), "have different numbers of lanes", remedy)
    return counts.pop()


@dataclasses.dataclass(frozen=True)
class _ByContent:
    """A setup that equals another of the same content, and is none's equal once changed."""

    setup: Setup = dataclasses.field(compare=False)
    content: str


def _by_content(setup: Setup) -> _ByContent:
    try:
        return _ByContent(setup, fingerprint("setup", setup))
    except InvalidArgument:  # it cannot be told from another, and shares no program with any
        return _ByContent(setup, uuid.uuid4().hex)


def _rows(count: int) -> np.ndarray:
    """The last lane is repeated, so that every device has whole batches."""
    batch = (_together() or 1) * jax.local_device_count()
    return np.minimum(np.arange(-(-count // batch) * batch), count - 1)


def _together() -> int | None:
    return None if jax.default_backend() == "cpu" else _TOGETHER


# Trained again with the same setup, nothing is compiled again.
@functools.lru_cache(maxsize=8)
def _programs(of: _ByContent, iterations: int) -> tuple[Any, Any]:
    setup = of.setup

    def each(function: Any, lanes: Any) -> Any:
        return jax.lax.map(function, lanes, batch_size=_together())

    def begin(lanes: Any) -> State:
        def one(lane: Any) -> State:
            given = _arguments(setup, lane)
            return start(given["problem"], _method(given), given["key"])

        return each(one, lanes)

    @functools.lru_cache
    def block_of(size: int) -> Any:
        def block(lanes: Any, state: Any) -> Any:
            def one(both: Any) -> Any:
                lane, state = both
                given = _arguments(setup, lane)
                training = advance(
                    given["problem"], _method(given), state, size, samples=given["samples"]
                )
                return {name: getattr(training, name) for name in SERIES}, training.state

            return each(one, (lanes, state))

        return shared_out(block, LANES, LANES)

    return (
        shared_out(begin, LANES),
        lambda lanes, state, size: block_of(size)(lanes, state),
    )


def _arguments(setup: Setup, lane: Lane) -> dict[str, Any]:
    given = {
        "loss": DPO(),
        "momentum": NoMomentum(),
        "ranker": Pairwise(),
        "geometry": KL(),
        "step": ByGradient(),
        "space": InParameters(),
        "samples": None,
        "params": None,
        **setup(lane),
    }
    given["beta"] = jnp.asarray(given["beta"], given["problem"].log_ref.dtype)
    return given


def _method(given: dict[str, Any]) -> Proximal:
    names = ("loss", "momentum", "geometry", "beta", "ranker")
    fit = OnNetwork(given["policy"], given["step"], given["space"], given["params"])
    return Proximal(**{name: given[name] for name in names}, fit=fit)


def _refuse_divergence(state: Any, count: int, diverging: str) -> None:
    iteration = np.asarray(state.diverged)[:count]
    if diverging == "refuse" and iteration.any():
        lane = int(np.flatnonzero(iteration)[0])
        raise TrainingDiverged(f"lane {lane}", int(iteration[lane]))


def _as_lists(lanes: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
    return {name: np.asarray(values).tolist() for name, values in lanes.items()}


class _Checkpoint:
    """State and series after the last whole block, in one file that is replaced as a whole.

    It holds every lane once: another number of devices repeats the last one another time.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any], rows: np.ndarray):
        self.path = folder / _FILE
        self.rows = rows
        try:
            self.plan = json.loads(json.dumps(plan))
        except (TypeError, ValueError):
            raise InvalidArgument(
                "configuration", plan, "is not plain data", "pass numbers, texts, lists and dicts"
            ) from None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other processes out of the folder, which is made if it is not there."""
        folder = writable_folder("out", self.path.parent)
        with alone_in("out", folder):
            clear_drafts(folder.glob(f".{_FILE}.*"))
            yield

    def load(self, state: Any) -> tuple[int, Any, dict[str, np.ndarray]]:
        """What is there, in the shape of `state`; the beginning if nothing is."""
        if not self.path.exists():
            return 0, state, {}
        try:
            with self.path.open("rb") as whole, np.load(whole) as file:
                stored = {name: file[name] for name in file.files}
            theirs, where = (json.loads(str(stored.pop(n))) for n in ("plan", "environment"))
            done = int(stored.pop("done"))
        except Exception as error:  # every layer of the format has errors of its own
            raise InvalidArgument(
                "out", str(self.path), "cannot be read", "remove it, or choose another folder"
            ) from error
        check_same(self.path, "training", theirs, self.plan)
        check_same(self.path, "training", where, environment())
        leaves, shape = jax.tree.flatten(state)
        kept = [
            _from_numpy(stored.pop(f"state {i}")[self.rows], leaf) for i, leaf in enumerate(leaves)
        ]
        found = {name: values[self.rows] for name, values in stored.items()}
        return done, jax.tree.unflatten(shape, kept), found

    def save(self, done: int, state: Any, found: Mapping[str, np.ndarray]) -> None:
        leaves = {f"state {i}": _to_numpy(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
        lanes = self.rows[-1] + 1
        kept = {name: values[:lanes] for name, values in {**leaves, **found}.items()}
        texts = {"plan": json.dumps(self.plan), "environment": json.dumps(environment())}
        content = {**texts, "done": done, **kept}
        file = io.BytesIO()
        np.savez(file, **content)  # type: ignore[arg-type]
        try:
            write_bytes(self.path, file.getvalue())
        except OSError as error:
            raise cannot_write("out", self.path, error) from None


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_numpy(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _from_numpy(values: np.ndarray, like: Any) -> Any:
    return jax.random.wrap_key_data(jnp.asarray(values)) if _is_key(like) else jnp.asarray(values)
