"""What somebody meant by beta, tau or label_smoothing, against what was found."""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from apo_sim.conformance._calling import Call, Observed, observe
from apo_sim.conformance.naming import Difference, parameters_of
from apo_sim.conformance.recipe import Recipe
from apo_sim.errors import InvalidArgument
from apo_sim.geometry.links import AlphaDivergence
from apo_sim.losses import IPO

# The library's names of parameters that tools call otherwise.
ALIASES = {
    "label_smoothing": "noise",
    "epsilon": "noise",
    "gamma": "margin",
    "simpo_gamma": "margin",
    "desirable_weight": "desirable",
    "undesirable_weight": "undesirable",
}
# What a parameter is where a loss has none of that name.
_ABSENT = {"noise": 0.0, "margin": 0.0, "alpha": 0.0}


def readings(recipe: Recipe, setting: str, meant: Mapping[str, Any]) -> list[float]:
    """The numbers that a setting of that name may stand for in a loss; empty if unknown.

    Example:
        >>> readings(Recipe(IPO(tau=0.2), beta=1.0), "beta", {"beta": 0.1})
        [0.1]
    """
    found = parameters_of(recipe)
    if isinstance(recipe.loss, IPO):
        azar = recipe.beta * float(recipe.loss.tau) / 2.0
        if setting == "tau":
            return [found["tau"], azar]
        if setting == "beta" and "tau" not in meant:  # TRL's name of Azar et al.'s tau
            return [azar]
    if setting == "eta":
        return [1.0 / recipe.beta]
    if setting == "gamma_beta_ratio":
        return [recipe.margin / recipe.beta]
    if setting == "f_alpha_divergence_coef" and isinstance(recipe.link, AlphaDivergence):
        return [1.0 - found["alpha"]]
    name = ALIASES.get(setting, setting)
    if name in found:
        return [found[name]]
    return [_ABSENT[name]] if name in _ABSENT else []


def judge_settings(
    recipe: Recipe | None, call: Call, meant: Mapping[str, Any], observed: Observed
) -> list[Difference]:
    """Settings that the loss ignores, applies twice, or takes for something else.

    Args:
        recipe: what the loss was found to be; None: it is not known.
        call: the loss; arguments that have numbers as defaults are settings, too.
        meant: what the settings are meant to be.
        observed: what the loss answered.
    """
    numbers = {n: float(v) for n, v in meant.items() if isinstance(v, int | float | np.floating)}
    found = []
    for name in {**_defaults(call), **numbers}:
        if _is_ignored(call, name, observed):
            found.append(Difference("ignored", f"{name} is ignored: it changes nothing"))
        elif recipe is not None and name in numbers:
            found += _mistaken(recipe, name, numbers, 1e3 * observed.tolerance)
    return found


def _mistaken(
    recipe: Recipe, name: str, meant: Mapping[str, float], tolerance: float
) -> Iterator[Difference]:
    number, read = meant[name], readings(recipe, name, meant)

    def like(other: float) -> bool:
        return any(abs(value - other) <= tolerance * (1e-3 + abs(other)) for value in read)

    if not read or like(number):
        return
    if like(number**2):
        yield Difference("applied twice", f"{name} is applied twice: found is {number:g}^2")
    elif like(_ABSENT.get(ALIASES.get(name, name), 1.0)):
        yield Difference("ignored", f"{name} is ignored: it was meant to be {number:g}")
    else:
        values = " or ".join(f"{value:.6g}" for value in read)
        yield Difference("parameter", f"{name} is {values} where {number:g} was meant")


def _defaults(call: Call) -> dict[str, float]:
    """Arguments of the loss that have a number as default and no known other meaning."""
    try:
        parameters = inspect.signature(call.loss).parameters
    except (TypeError, ValueError):
        return {}
    return {
        p.name: float(p.default)
        for p in parameters.values()
        if isinstance(p.default, int | float)
        and not isinstance(p.default, bool)
        and p.name not in call.by_name
    }


def _is_ignored(call: Call, name: str, observed: Observed) -> bool:
    """Whether another value changes nothing, in a loss that takes it."""
    defaults = _defaults(call)
    if name not in call.settings and name not in defaults:
        return False
    now = call.settings.get(name, defaults.get(name))
    if not isinstance(now, int | float):
        return False
    changed = {**call.settings, name: 1.5 * now + 0.05}
    few = observed.inputs.rows(slice(0, 8))
    try:
        one = observe(call, few)
        other = observe(dataclasses.replace(call, settings=changed), few)
    except InvalidArgument:
        return False
    same = one.values.shape == other.values.shape
    return same and bool(np.array_equal(one.gradient, other.gradient))
