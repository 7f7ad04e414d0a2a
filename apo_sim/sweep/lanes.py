"""Many runs at once: one compiled program a shape, its lanes shared out among the devices."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.checks import as_array, as_count, as_function, as_seed, checked, function_of
from apo_sim.errors import InvalidArgument
from apo_sim.loop import Solution, begins_at_random, solve
from apo_sim.problems import Problem
from apo_sim.registry import Family, made_of_settings, rule_of
from apo_sim.running import run
from apo_sim.sweep._plan import Plan, Shape, Unit
from apo_sim.sweep._settings import DEFAULTS, OBJECTS
from apo_sim.sweep.devices import EVERYWHERE, LANES, shared_out
from apo_sim.sweep.series import SERIES
from apo_sim.theory import matched_beta

# Lanes that a device works on at a time: what they work on stays in the cache, and the paths that
# they keep fit the memory. The number does not depend on how many devices there are: another one
# would be compiled to other instructions, and the last bit would depend on the machine.
_MOST_LANES = 128
_CACHE = 2**22
_MEMORY = 2**27
# Bytes that the tables of all of these lanes may have: operations on larger ones the compiler cuts
# up for several threads, which takes half as long again on a core that has lanes of its own.
_UNCUT = 2**17
# Arrays of the largest size that a lane has alive.
_ALIVE = 16
# Settings that `run` takes itself; the others belong to the family.
_OF_RUN = ("beta", "samples", "reward_bound")
# Settings that the momentum rule takes: `alpha`, and whether a matched beta runs in its place.
_OF_RULE = ("alpha", "matched")


def compute(unit: Unit, seed: int) -> dict[str, np.ndarray]:
    """All runs of a unit, on all local devices.

    Args:
        unit: what to compute.
        seed: the seed of the sweep.

    Returns:
        Every variable, shape (*extent of the unit, iterations). A run depends on the seed, on its
        replicate and on its own settings alone, to the last bit.

    Source: ours. A replicate meets the same problem and the same random numbers in every cell
    of equal sizes, so that differences between cells are paired.
    """
    devices = jax.local_device_count()
    batch = _lanes_a_device(unit.shape, "samples" in unit.numbers) * devices
    program = _program(unit.shape, tuple(sorted(unit.numbers)), batch, precision())
    parts = in_blocks(
        lambda lanes: program(np.uint32(seed), *lanes), (unit.numbers, unit.replicate), batch
    )
    size = (*unit.extent, unit.shape.iterations)
    return {name: parts[name].reshape(size) for name in unit.shape.variables}


def over_lanes(
    function: Callable[..., Any], lanes: Any, *, at_once: int = _MOST_LANES, **fixed: Any
) -> Any:
    """A function of one lane, for every lane: compiled once, shared out among the devices.

    Args:
        function: of a lane and of `fixed`; traced, and told from others by which object it is.
        lanes: arrays, or a tree of them, whose first axis is the lanes.
        at_once: lanes that a device works on at a time.
        **fixed: what is the same for all and part of the program; hashable.

    Returns:
        What the function returns, as NumPy arrays whose first axis is the lanes.

    Source: ours.

    Example:
        >>> def power(lane, exponent):
        ...     return lane**exponent
        >>> over_lanes(power, np.arange(3.0), exponent=2).tolist()
        [0.0, 1.0, 4.0]
    """
    program = _mapped(function, tuple(sorted(fixed.items())), precision())
    return in_blocks(program, lanes, at_once * jax.local_device_count())


def in_blocks(program: Callable[[Any], Any], lanes: Any, batch: int) -> Any:
    """A program of `batch` lanes on any number of them, the last repeated to fill up its batch."""
    count = len(jax.tree.leaves(lanes)[0])
    parts = []
    for start in range(0, count, batch):
        here = np.minimum(np.arange(start, start + batch), count - 1)
        part = program(jax.tree.map(lambda values, here=here: values[here], lanes))
        parts.append(jax.tree.map(np.asarray, part))
    return jax.tree.map(lambda *each: np.concatenate(each)[:count], *parts)


def rehearse(plan: Plan) -> None:
    """Trace every program with a part that is not as by default: what `run` refuses, it refuses.

    Raises:
        InvalidArgument: parts that do not go together, named; nothing is computed or stored yet.
    """
    number = jax.ShapeDtypeStruct((), jnp.result_type(float))
    index = jax.ShapeDtypeStruct((), np.uint32)
    for shape, names in plan.shapes():
        if not _is_usual(shape):
            lane = functools.partial(_lane, shape)
            jax.eval_shape(lane, index, dict.fromkeys(names, number), index)


def _is_usual(shape: Shape) -> bool:
    """Whether all parts are the library's own, of those that are known to go together."""
    for name, registry in OBJECTS.items():
        part = getattr(shape, name)
        free = name in ("loss", "momentum")
        if part.identity not in (registry.named if free else (DEFAULTS[name],)):
            return False
    return True


def precision() -> bool:
    """Whether floating-point numbers are double."""
    return jnp.zeros(()).dtype == jnp.float64


def lane_bytes(shape: Shape, sampled: bool) -> tuple[int, int, int]:
    """One table of a run, all that it works on, and the paths that it keeps, in bytes, roughly."""
    table = 8 * shape.contexts * shape.arms
    pairs = sampled or shape.arms <= 64
    kept = any(SERIES[name].save == "path" for name in shape.variables)
    return (
        table,
        _ALIVE * table * (shape.arms if pairs else 1),
        _ALIVE * table * (shape.iterations if kept else 1),
    )


def _lanes_a_device(shape: Shape, sampled: bool) -> int:
    table, worked_on, kept = lane_bytes(shape, sampled)
    fit = max(min(_UNCUT // table, _CACHE // worked_on, _MEMORY // kept), 1)
    return min(1 << (fit.bit_length() - 1), _MOST_LANES)


@functools.lru_cache(maxsize=64)
def _mapped(function: Callable[..., Any], fixed: tuple[Any, ...], x64: bool) -> Any:
    return shared_out(jax.vmap(functools.partial(function, **dict(fixed))), LANES)


@functools.lru_cache(maxsize=64)
def _program(shape: Shape, names: tuple[str, ...], batch: int, x64: bool) -> Any:
    """(seed, settings of every lane, replicates) -> variables of every lane.

    The names of the settings and the precision are here to tell programs apart.
    """
    lanes = jax.vmap(functools.partial(_lane, shape), (None, 0, 0))
    return shared_out(lanes, EVERYWHERE, LANES, LANES)


def _as_integer(name: str, value: Any) -> Any:
    """A whole number, maybe traced."""
    if not isinstance(value, jax.Array | np.generic):
        return as_seed(name, value)
    array = as_array(name, value)
    if array.ndim or not jnp.issubdtype(jnp.result_type(value), jnp.integer):
        raise InvalidArgument(name, value, "is not a whole number", "pass an integer")
    return value


@checked(
    family=as_function, seed=_as_integer, replicate=_as_integer, contexts=as_count, arms=as_count
)
def replicate_problem(
    family: Family, seed: Any, replicate: Any, contexts: int, arms: int, **parameters: Any
) -> tuple[Problem, Any]:
    """The problem that a replicate of a sweep meets, and the key of its labels."""
    function_of(None, contexts, arms, **parameters)("family", family)
    for name, value in parameters.items():
        as_array(name, value)
    own = jax.random.fold_in(jax.random.key(seed), replicate)
    of_problem, of_data = jax.random.split(own)
    return family(of_problem, contexts, arms, **parameters), of_data


def _lane(shape: Shape, seed: Any, numbers: dict[str, Any], replicate: Any) -> dict[str, Any]:
    parameters = {n: v for n, v in numbers.items() if n not in (*_OF_RUN, *_OF_RULE)}
    problem, key = replicate_problem(
        shape.family.content, seed, replicate, shape.contexts, shape.arms, **parameters
    )
    if shape.draws == "shared":
        key = jnp.broadcast_to(jax.random.fold_in(key, 0), (shape.iterations,))
    kept = {name: SERIES[name] for name in shape.variables}
    save = tuple({series.save for series in kept.values()})
    if made_of_settings(shape.method):
        solution, beta = _proximal(shape, problem, key, numbers, save)
    else:
        method, samples, beta = shape.method.content, numbers.get("samples"), None
        solution = solve(
            problem,
            method,
            iterations=shape.iterations,
            samples=samples,
            key=key if samples is not None or begins_at_random(method) else None,
            save=save,
        )
    return {n: jnp.asarray(s.of(problem, solution, beta)) for n, s in kept.items()}


def _proximal(
    shape: Shape, problem: Problem, key: Any, numbers: dict[str, Any], save: tuple[str, ...]
) -> tuple[Solution, Any]:
    """The proximal method made of the settings, and its beta."""
    given = {name: numbers[name] for name in _OF_RUN if name in numbers}
    alpha: Any = numbers.get("alpha")  # none where the rule has its own
    if "matched" in numbers:
        schedule = matched_beta(alpha, given["beta"], shape.iterations, unrestricted=True)
        given["beta"] = jnp.where(numbers["matched"], schedule, given["beta"])
        alpha = jnp.where(numbers["matched"], 0.0, alpha)
    solution = run(
        problem,
        shape.loss.content,
        rule_of(shape.momentum, alpha),
        ranker=shape.ranker.content,
        geometry=shape.geometry.content,
        iterations=shape.iterations,
        key=key if "samples" in numbers else None,
        save=save,
        **given,
    )
    return solution, given["beta"]
