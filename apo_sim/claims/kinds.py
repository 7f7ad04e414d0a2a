"""What the judges take: measurements, intervals, estimates, witnesses."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.checks import (
    Kind,
    as_array,
    as_count,
    function_of,
    instance_of,
    may_be_numbers,
    sequence_of,
)
from apo_sim.claims.verdict import ClaimError, Finding
from apo_sim.errors import InvalidArgument
from apo_sim.estimate import Estimate
from apo_sim.statistics import Interval

Witness = Mapping[str, Any] | Callable[[int], Mapping[str, Any]] | None
Draw = Callable[[Any], object] | None
# What the judges work on; users may pass anything that NumPy can turn into it.
Numbers = np.ndarray
# The squares of larger samples overflow.
_LARGEST = 1e150


def as_numbers(name: str, values: Any) -> np.ndarray:
    """Real numbers in double precision, infinite ones included."""
    if not may_be_numbers(values):
        raise InvalidArgument(name, values, "is not an array", "pass numbers")
    try:
        array = np.asarray(values)
        array = array.astype(np.float64) if array.dtype.kind in "fiuV" else array
    except (TypeError, ValueError, OverflowError, RuntimeError):
        array = np.zeros(0, bool)
    if array.dtype != np.float64:
        raise InvalidArgument(name, values, "is not an array of real numbers", "pass numbers")
    if array.size == 0:
        raise InvalidArgument(name, values, "is empty", "pass at least one instance")
    if np.isnan(array).any():
        bad = np.argwhere(np.isnan(array))[0]
        raise ClaimError(f"{name} is NaN at index {tuple(map(int, bad))}")
    return array


def as_instances(name: str, values: Any) -> np.ndarray:
    """One number per instance, in a flat array."""
    return np.ravel(as_numbers(name, values))


def as_samples(name: str, values: Any) -> np.ndarray:
    """Finite numbers in a flat array: infinite ones have no useful mean, and squares overflow."""
    flat = as_instances(name, values)
    if not np.all(np.abs(flat) <= _LARGEST):
        raise InvalidArgument(name, values, "is not finite, or too large", "leave such runs out")
    return flat


def as_real(name: str, value: Any) -> float:
    """One real number, possibly infinite."""
    array = as_numbers(name, value)
    if array.ndim:
        raise InvalidArgument(name, value, "is not a single number", "pass one number")
    return float(array)


def as_share(name: str, value: Any) -> float:
    """One number in (0, 1)."""
    number = as_real(name, value)
    if not 0 < number < 1:
        raise InvalidArgument(name, value, "lies outside (0, 1)", "pass a share such as 0.95")
    return number


def as_interval(name: str, value: Any) -> Interval:
    """Two ends, the lower one first."""
    ends = as_numbers(name, value)
    if ends.shape != (2,) or ends[0] > ends[1]:
        raise InvalidArgument(name, value, "is not an interval", "pass (low, high)")
    return float(ends[0]), float(ends[1])


def as_trials(name: str, value: Any) -> int:
    """A count that may be zero."""
    return as_count(name, value, least=0)


def as_estimate(name: str, value: Any) -> Estimate:
    """A figure with the ends of its interval."""
    figures = value.figures if isinstance(value, Estimate) else value
    if not isinstance(figures, tuple | list) or len(figures) != 3:
        raise InvalidArgument(name, value, "is not an estimate", "pass (value, low, high)")
    value, low, high = (as_real(name, figure) for figure in figures)
    return Estimate(value, low, high)


def as_mapping(name: str, value: Any) -> dict[str, Any]:
    """A mapping from names."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidArgument(name, value, "is not a mapping of names", 'pass {"name": ...}')
    return dict(value)


def cells_of(kind: Kind) -> Kind:
    """The kind of named cells, at least one of them."""

    def cells(name: str, value: Any) -> dict[str, Any]:
        found = as_mapping(name, value)
        if not found:
            raise InvalidArgument(name, value, "is empty", "pass at least one cell")
        return {key: kind(f"{name}[{key!r}]", entry) for key, entry in found.items()}

    return cells


def as_findings(name: str, value: Any) -> tuple[Finding, ...]:
    """Findings, at least one of them."""
    of_one = instance_of(Finding, "is not a finding", "pass what a judge returned")
    found = sequence_of(of_one, "is not a list of findings", "pass a list of them")(name, value)
    if not found:
        raise InvalidArgument(name, value, "is empty", "pass at least one finding")
    return found


def as_witness(name: str, value: Any) -> Any:
    """A counterexample, or a function that finds it."""
    if value is None:
        return None
    return function_of(0)(name, value) if callable(value) else as_mapping(name, value)


def as_starts(name: str, value: Any) -> Any:
    """Parameters with one leading axis of restarts on every leaf."""
    try:
        leaves = [as_array(name, leaf) for leaf in jax.tree.leaves(value)]
    except ValueError as error:
        raise InvalidArgument(name, value, "is not a pytree of numbers", "pass arrays") from error
    starts = {leaf.shape[:1] for leaf in leaves}
    if len(starts) != 1 or starts & {(), (0,)}:
        raise InvalidArgument(
            name, value, "has no axis of restarts", "give all leaves the same leading axis"
        )
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.result_type(float)), value)


def at_least(least: int) -> Kind:
    """The kind of samples that holds at least so many values."""

    def enough(name: str, value: Any) -> np.ndarray:
        flat = as_samples(name, value)
        if flat.size < least:
            raise InvalidArgument(name, value, f"has {flat.size} values", f"pass at least {least}")
        return flat

    return enough
