"""From the arguments of a sweep to its plan: every one checked, before anything is computed."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import jax

from apo_sim.arguments import as_samples
from apo_sim.checks import (
    as_count,
    as_seed,
    check_positive,
    check_room,
    check_single,
    written_in_jax,
)
from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.problems import Bandit, Game
from apo_sim.registry import (
    FAMILIES,
    METHODS,
    MOMENTA,
    Choice,
    Family,
    made_of_settings,
    rule_of,
    takes_alpha,
)
from apo_sim.registry.named_families import parameters_of
from apo_sim.sweep._plan import Plan
from apo_sim.sweep._settings import (
    DEFAULTS,
    MATCHED,
    OF_PROXIMAL,
    REQUIRED,
    USUAL,
    plain_value,
    values_of,
)
from apo_sim.sweep.series import SERIES

# Rules whose path beta alone can take.
_MATCHABLE = ("constant", "unrestricted")
# Tables of contexts times arms that the smallest run has alive.
_TABLES = 4


def make_plan(
    family: str | Family,
    settings: Mapping[str, Any],
    seeds: Any,
    seed: Any,
    variables: Any,
    chunk: Any = 4096,
) -> Plan:
    """Check every argument of a sweep.

    Raises:
        UnknownName: for a name that nothing answers to: of a setting, a variable, an object.
        InvalidArgument: for any value that a run would refuse, and for an empty axis.

    Example:
        >>> settings = {"alpha": [0, 0.5], "beta": 5, "iterations": 3}
        >>> plan = make_plan("uniform", settings, seeds=4, seed=0, variables=["tv"])
        >>> plan.extent, plan.runs
        ((2, 4), 8)
    """
    chosen = FAMILIES.chosen(family)
    own = parameters_of(chosen.content)
    known = {**DEFAULTS, **dict.fromkeys(REQUIRED), **own}
    for name in settings:
        if name not in known:
            raise UnknownName("setting", name, known)
        if settings[name] is None and known[name] is not None:
            raise InvalidArgument(
                name, None, "is not a value", f"pass a value, or leave {name} out"
            )
    given = {name: values_of(name, value) for name, value in settings.items()}
    missing = {name: value for name, value in known.items() if name not in given}
    usual = ("suboptimality", "tv") if _check_method(given, missing) else USUAL
    for name in REQUIRED:
        if name in missing or (name in given and given[name] is None):
            raise InvalidArgument(name, None, "is missing", f"pass {name}=, a number or a list")
    _check_alpha(given, missing)
    for name, value in missing.items():
        if name in own and value is None:
            raise InvalidArgument(name, None, "is missing", f"pass {name}=, which the family needs")
        missing[name] = None if value is None else plain_value(name, value)
    # The order of the axes is the caller's, that of all else the same however they were passed: a
    # store is found again by it.
    both = given | missing
    axes = [name for name in given if isinstance(given[name], tuple)]
    plan = Plan(
        chosen,
        {name: both[name] for name in dict.fromkeys((*axes, *known)) if name in both},
        as_count("seeds", seeds),
        as_seed("seed", seed),
        _variables(usual if variables is None else variables),
        as_count("chunk", chunk),
    )
    _check_values(plan, own)
    return plan


def _variables(names: Any) -> tuple[str, ...]:
    # An array of no dimension says that it can be iterated, and cannot.
    one = isinstance(names, str) or not isinstance(names, Iterable) or hasattr(names, "ndim")
    names = (names,) if one else tuple(names)
    for name in names or (None,):
        if not isinstance(name, str) or name not in SERIES:
            raise UnknownName("variables", name, SERIES)
    return tuple(dict.fromkeys(names))


def _check_method(given: Mapping[str, Any], missing: dict[str, Any]) -> list[Choice]:
    """Refuse what no method would look at, and set nothing in its place.

    Returns the methods that have their own settings.
    """
    methods = _listed(given.get("method", METHODS.chosen(DEFAULTS["method"])))
    own = [method for method in methods if not made_of_settings(method)]
    for name in OF_PROXIMAL if own else ():
        if len(own) == len(methods):
            missing.pop(name, None)
        elif not isinstance(given.get(name), tuple):
            continue
        if name in given:
            raise InvalidArgument(
                name,
                given[name],
                f"does not apply to the method {own[0].label}, which has its own settings",
                f'leave {name} out, or pass method="{DEFAULTS["method"]}"',
            )
    return own


def _check_alpha(given: Mapping[str, Any], missing: dict[str, Any]) -> None:
    """Refuse an extrapolation that a rule would not look at, and set none where none would."""
    if "alpha" not in given and "alpha" not in missing:
        return
    rules = _listed(given.get("momentum", MOMENTA.chosen(DEFAULTS["momentum"])))
    own = [rule for rule in rules if rule.identity not in MOMENTA]
    if len(own) == len(rules):
        missing.pop("alpha", None)
    if own and "alpha" in given and (isinstance(given["alpha"], tuple) or len(own) == len(rules)):
        raise InvalidArgument(
            "alpha",
            given["alpha"],
            f"does not apply to the rule {own[0].label}, which has its own extrapolation",
            "leave alpha out, or pass rules by name",
        )


def _listed(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def _check_values(plan: Plan, own: Mapping[str, Any]) -> None:
    _check_rules(plan)
    _check_variables(plan)
    _check_numbers(plan)
    _check_problems(plan, own)


def _check_rules(plan: Plan) -> None:
    """Refuse an extrapolation that a rule cannot have, and a schedule that no rule's path has."""
    for rule in filter(takes_alpha, plan.values("momentum")):
        for alpha in plan.values("alpha"):
            rule_of(rule, alpha)
    for rule in plan.values("momentum") if MATCHED in plan.values("beta_schedule") else ():
        if rule.identity not in _MATCHABLE:
            raise InvalidArgument(
                "beta_schedule",
                MATCHED,
                f"is not known for the rule {rule.label}",
                f"pass momentum={_MATCHABLE[0]!r}, the rule whose path the matched beta follows",
            )


def _check_variables(plan: Plan) -> None:
    """Refuse a series that a geometry or a method has no meaning for."""
    of_kl = next((name for name in plan.variables if SERIES[name].needs_kl), None)
    for name, words in (("geometry", "in the geometry"), ("method", "for the method")):
        for choice in plan.values(name) if of_kl else ():
            if choice.identity != DEFAULTS[name]:
                raise InvalidArgument(
                    "variables",
                    of_kl,
                    f"is not defined {words} {choice.label}",
                    f"leave it out, or pass {name}={DEFAULTS[name]!r}",
                )


def _check_numbers(plan: Plan) -> None:
    for name in ("beta", "reward_bound"):
        for value in plan.values(name) if plan.settings.get(name) is not None else ():
            check_single(name, value, "pass one number above 0")
            check_positive(name, value)
    for value in plan.values("samples"):
        as_samples(value, None if value is None else jax.random.key(0), plan.longest)


def _check_traced(draw: Any, key: Any, contexts: int, arms: int, own: Mapping[str, Any]) -> None:
    """Refuse a family that cannot be drawn for many seeds at once, as sweeps do."""
    with written_in_jax("family", draw, "cannot be compiled", "write it in JAX: jnp for np"):
        jax.eval_shape(lambda seed: draw(seed, contexts, arms, **own), key)


def _check_problems(plan: Plan, own: Mapping[str, Any]) -> None:
    """Draw a problem of every size and parameter: the family knows best what those may be."""
    first = {name: plan.values(name)[0] for name in own}
    for contexts, arms in itertools.product(plan.values("contexts"), plan.values("arms")):
        check_room("arms", arms, (contexts, arms), _TABLES)
        draw, key = plan.family.content, jax.random.key(0)
        problem = draw(key, contexts, arms, **first)
        if not isinstance(problem, Bandit | Game):
            raise InvalidArgument(
                "family",
                plan.family.content,
                "does not return a problem",
                "let it return an apo_sim.Bandit or Game",
            )
        _check_traced(draw, key, contexts, arms, first)
        for name in plan.variables:
            if SERIES[name].needs_reward and not isinstance(problem, Bandit):
                raise InvalidArgument(
                    "variables",
                    name,
                    "needs a reward, which games do not have",
                    "choose a family of bandits",
                )
    for name in own:
        for value in plan.values(name)[1:]:
            contexts, arms = plan.values("contexts")[0], plan.values("arms")[0]
            plan.family.content(jax.random.key(0), contexts, arms, **{**first, name: value})
