"""Settings of a sweep: their names and defaults, and what each may be given as."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Set
from typing import Any

import jax
import numpy as np

from apo_sim.checks import as_count, one_of
from apo_sim.errors import InvalidArgument
from apo_sim.registry import GEOMETRIES, LOSSES, METHODS, MOMENTA, RANKERS, Registry, told_apart

# Settings that are objects, by name or as they are.
OBJECTS: dict[str, Registry] = {
    registry.argument: registry for registry in (METHODS, LOSSES, MOMENTA, RANKERS, GEOMETRIES)
}
# Whether every iteration draws its own labels, or all share their random numbers: a control, in
# which errors do not average.
DRAWS = ("fresh", "shared")
# Whether beta is the same in every iteration, or such that plain iteration takes momentum's path
# with exact preferences (N1): momentum's rival, run in its place.
BETA_SCHEDULES = ("constant", MATCHED := "matched")
# Settings that are words.
WORDS = {"draws": DRAWS, "beta_schedule": BETA_SCHEDULES}
DEFAULTS: dict[str, Any] = {
    "contexts": 1,
    "arms": 10,
    "method": "proximal",
    "loss": "dpo",
    "momentum": "constant",
    "ranker": "pairwise",
    "geometry": "kl",
    "alpha": 0.0,
    "beta_schedule": "constant",
    "samples": None,
    "draws": "fresh",
    "reward_bound": None,
}
USUAL = ("suboptimality", "tv", "residual")
REQUIRED = ("beta", "iterations")
# What the proximal method is made of; a method that is passed as an object has its own.
OF_PROXIMAL = (
    "loss",
    "momentum",
    "ranker",
    "geometry",
    "alpha",
    "beta",
    "beta_schedule",
    "reward_bound",
)
# A value of these needs a program of its own; all other settings are numbers fed into one.
STATIC = ("contexts", "arms", *OBJECTS, *WORDS, "iterations")
COUNTS = ("contexts", "arms", "iterations")


def values_of(name: str, value: Any) -> Any:
    """What a setting is given as: a single value, or a tuple of distinct ones, an axis."""
    if value is None or _is_one(name, value):
        return None if value is None else plain_value(name, value)
    if isinstance(value, Mapping | Set):
        raise InvalidArgument(name, value, "has no order", "pass a value, or a list of values")
    values = tuple(plain_value(name, one) for one in value)
    if not values:
        raise InvalidArgument(name, value, "is an empty axis", "pass at least one value")
    if len(set(values)) < len(values):
        raise InvalidArgument(name, value, "contains a value twice", "pass each value once")
    if name in OBJECTS:
        labels = told_apart([choice.label for choice in values])
        pairs = zip(values, labels, strict=True)
        values = tuple(dataclasses.replace(choice, label=label) for choice, label in pairs)
    return values


def _is_one(name: str, value: Any) -> bool:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return True
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 0:
        return True
    return name in OBJECTS and OBJECTS[name].is_one(value)


def plain_value(name: str, value: Any) -> Any:
    """One value of a setting: a `Choice` of an object, a word, a count or a finite number."""
    if name in OBJECTS:
        if name == "momentum" and isinstance(value, str) and value == "matched_beta":
            raise InvalidArgument(
                name,
                value,
                "is a schedule of beta, not a momentum rule",
                'pass momentum="constant", beta_schedule="matched"',
            )
        return OBJECTS[name].chosen(value)
    if name in WORDS:
        return one_of(WORDS[name])(name, value)
    if name in COUNTS:
        return as_count(name, value)
    remedy = "pass numbers, one or a flat list"
    if _is_no_number(value):
        raise InvalidArgument(name, value, "is not a number", remedy)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgument(name, value, "is not a number", remedy) from error
    if not math.isfinite(number):
        raise InvalidArgument(name, value, "is not finite", "pass a finite number")
    return number


def _is_no_number(value: Any) -> bool:
    """Whether it is something that a float could be made of all the same."""
    if isinstance(value, np.ndarray | jax.Array):
        return value.ndim > 0 or value.dtype == bool
    return isinstance(value, bool | np.bool_ | str | bytes | Iterable)
