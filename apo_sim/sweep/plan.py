"""What a sweep computes: settings, which of them are axes, and the units that the work comes in."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.arguments import as_samples
from apo_sim.checks import as_count, as_seed, check_positive, check_room, check_single, one_of
from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.problems import Bandit, Game
from apo_sim.registry import (
    FAMILIES,
    GEOMETRIES,
    LOSSES,
    METHODS,
    MOMENTA,
    RANKERS,
    Choice,
    Family,
    Registry,
    made_of_settings,
    rule_of,
    takes_alpha,
    told_apart,
)
from apo_sim.registry.named_families import parameters_of
from apo_sim.sweep.series import SERIES

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
# Rules whose path beta alone can take.
_MATCHABLE = ("constant", "unrestricted")

# Tables of contexts times arms that the smallest run has alive.
_TABLES = 4
# Bytes that the results of a unit may have.
_UNIT_BYTES = 2**26


@dataclasses.dataclass(frozen=True)
class Shape:
    """What one compiled program is made for: objects of the same content share it."""

    family: Choice
    contexts: int
    arms: int
    method: Choice
    loss: Choice
    momentum: Choice
    ranker: Choice
    geometry: Choice
    draws: str
    iterations: int
    variables: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Unit:
    """A part of the grid that is computed and stored as a whole.

    Attributes:
        place: the slice of every dimension of the grid and of the seeds.
        shape: what to compile.
        numbers: the settings of every lane, each of shape (lanes,).
        replicate: which seed every lane is, shape (lanes,).
    """

    place: tuple[slice, ...]
    shape: Shape
    numbers: dict[str, np.ndarray]
    replicate: np.ndarray

    @property
    def extent(self) -> tuple[int, ...]:
        """Its size along every dimension."""
        return tuple(part.stop - part.start for part in self.place)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A sweep, checked, before anything is computed.

    Attributes:
        family: the problems.
        settings: every setting, in the order given; a tuple of values is an axis of the grid, and
            what may be an object is a `Choice`.
        seeds: number of replicates of every cell of the grid.
        seed: what all randomness is folded from.
        variables: which series of a run are kept.
        chunk: how many runs make a unit, at most.
    """

    family: Choice
    settings: Mapping[str, Any]
    seeds: int
    seed: int
    variables: tuple[str, ...]
    chunk: int

    @property
    def choices(self) -> tuple[Choice, ...]:
        """All objects that the sweep is made of."""
        chosen = (self.values(name) for name in OBJECTS if name in self.settings)
        return (self.family, *itertools.chain(*chosen))

    @property
    def axes(self) -> dict[str, tuple]:
        """Names and values of the grid's dimensions."""
        return {name: value for name, value in self.settings.items() if isinstance(value, tuple)}

    @property
    def longest(self) -> int:
        """Number of iterations of the longest run."""
        return max(self.values("iterations"))

    @property
    def extent(self) -> tuple[int, ...]:
        """Shape of the grid and of the seeds."""
        return (*(len(values) for values in self.axes.values()), self.seeds)

    @property
    def runs(self) -> int:
        """How many runs the sweep consists of."""
        return math.prod(self.extent)

    @property
    def bytes(self) -> int:
        """Size of the results."""
        item = jnp.zeros(()).dtype.itemsize
        return self.runs * self.longest * len(self.variables) * item

    def values(self, name: str) -> tuple:
        """All values of a setting; of one that no method of the sweep looks at, the default."""
        value = self.settings[name] if name in self.settings else _plain(name, DEFAULTS[name])
        return value if isinstance(value, tuple) else (value,)

    def shown(self, name: str) -> Any:
        """A setting as a coordinate has it: objects by their labels."""
        value = self.settings[name]
        return tuple(map(_label, value)) if isinstance(value, tuple) else _label(value)

    def unit_extent(self) -> tuple[int, ...]:
        """Shape of a unit: whole seeds first, then as many cells as go in; one program only."""
        row = self.longest * len(self.variables) * jnp.zeros(()).dtype.itemsize
        left = max(min(self.chunk, _UNIT_BYTES // row), 1)
        sizes = []
        for name, size in reversed([*zip(self.axes, self.extent, strict=False), ("", self.seeds)]):
            part = 1 if name in STATIC else min(size, left)
            sizes.append(part)
            left = max(left // part, 1)
        return tuple(reversed(sizes))

    def units(self) -> Iterator[Unit]:
        """All units, those of one program after another."""
        steps = self.unit_extent()
        parts = [
            [slice(at, min(at + step, size)) for at in range(0, size, step)]
            for size, step in zip(self.extent, steps, strict=True)
        ]
        names = list(self.axes)
        static = [index for index, name in enumerate(names) if name in STATIC]
        order = sorted(
            itertools.product(*(range(len(part)) for part in parts)),
            key=lambda place: tuple(place[index] for index in static),
        )
        for indices in order:
            yield self._unit(tuple(parts[axis][index] for axis, index in enumerate(indices)))

    def _unit(self, place: tuple[slice, ...]) -> Unit:
        chosen = {n: v[part] for (n, v), part in zip(self.axes.items(), place, strict=False)}
        static = {name: chosen.get(name, self.values(name))[0] for name in STATIC}
        sizes = [part.stop - part.start for part in place]
        shape, fixed = self._shape(static)
        numbers = {}
        for name in self._numbers():
            values = np.asarray(chosen.get(name, self.values(name)), float)
            if name in chosen:
                axis = list(self.axes).index(name)
                values = values.reshape([-1 if i == axis else 1 for i in range(len(sizes))])
            numbers[name] = np.broadcast_to(values, sizes).reshape(-1)
        for name, factor in fixed.items():
            numbers[name] = factor * numbers.get(name, np.ones(math.prod(sizes)))
        replicate = np.broadcast_to(np.arange(self.seeds)[place[-1]], sizes).reshape(-1)
        return Unit(place, shape, numbers, replicate)

    def shapes(self) -> Iterator[tuple[Shape, tuple[str, ...]]]:
        """All programs, each with the names of the numbers that are fed into it."""
        for values in itertools.product(*map(self.values, STATIC)):
            shape, fixed = self._shape(dict(zip(STATIC, values, strict=True)))
            yield shape, tuple({*self._numbers(), *fixed})

    def _numbers(self) -> list[str]:
        """Settings that are fed into a program."""
        return [n for n, v in self.settings.items() if n not in STATIC and v is not None]

    def _shape(self, static: Mapping[str, Any]) -> tuple[Shape, dict[str, float]]:
        """The program of a cell, and what numbers of the cell are multiplied by for it."""
        of_program = {name: value for name, value in static.items() if name != "beta_schedule"}
        rule, matched = static["momentum"].identity, static["beta_schedule"] == MATCHED
        fixed = {}
        if "momentum" not in self.settings:
            pass  # the methods have their own
        elif matched or rule in ("none", "constant"):
            # One program for all three: what differs becomes numbers.
            of_program["momentum"] = MOMENTA.chosen("constant")
            fixed = {"matched": float(matched), "alpha": float(rule != "none")}
        return Shape(self.family, variables=self.variables, **of_program), fixed

    def configuration(self) -> dict[str, Any]:
        """All that determines the numbers, as JSON: `sweep(**configuration)` computes them again.

        An object without a name is described, with a hash of its content; pass the object itself.
        """
        settings = {
            name: list(map(_identity, value)) if isinstance(value, tuple) else _identity(value)
            for name, value in self.settings.items()
        }
        return {
            "family": self.family.identity,
            "seeds": self.seeds,
            "seed": self.seed,
            "variables": list(self.variables),
            **settings,
        }


def _label(value: Any) -> Any:
    return value.label if isinstance(value, Choice) else value


def _identity(value: Any) -> Any:
    return value.identity if isinstance(value, Choice) else value


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
            raise InvalidArgument(name, None, "is no value", f"pass one, or leave {name} out")
    given = {name: _values(name, value) for name, value in settings.items()}
    missing = {name: value for name, value in known.items() if name not in given}
    usual = ("suboptimality", "tv") if _check_method(given, missing) else USUAL
    for name in REQUIRED:
        if name in missing or (name in given and given[name] is None):
            raise InvalidArgument(name, None, "is missing", f"pass {name}=, a number or a list")
    _check_alpha(given, missing)
    for name, value in missing.items():
        if name in own and value is None:
            raise InvalidArgument(name, None, "is missing", "the family needs it")
        missing[name] = None if value is None else _plain(name, value)
    plan = Plan(
        chosen,
        {**given, **missing},
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
                f"is not for the method {own[0].label}, which has its own settings",
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
            f"is not for the rule {own[0].label}, which has its own extrapolation",
            "leave alpha out, or pass rules by name",
        )


def _listed(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def _values(name: str, value: Any) -> Any:
    """A single value, or a tuple of distinct ones."""
    if value is None or _is_one(name, value):
        return None if value is None else _plain(name, value)
    if isinstance(value, Mapping | Set):
        raise InvalidArgument(name, value, "has no order", "pass a value, or a list of values")
    values = tuple(_plain(name, one) for one in value)
    if not values:
        raise InvalidArgument(name, value, "is an empty axis", "pass at least one value")
    if len(set(values)) < len(values):
        raise InvalidArgument(name, value, "has a value twice", "pass every value once")
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


def _plain(name: str, value: Any) -> Any:
    if name in OBJECTS:
        if name == "momentum" and isinstance(value, str) and value == "matched_beta":
            raise InvalidArgument(
                name,
                value,
                "is no momentum rule but a schedule of beta",
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


def _check_values(plan: Plan, own: Mapping[str, Any]) -> None:
    for rule in filter(takes_alpha, plan.values("momentum")):
        for alpha in plan.values("alpha"):
            rule_of(rule, alpha)
    for rule in plan.values("momentum") if MATCHED in plan.values("beta_schedule") else ():
        if rule.identity not in _MATCHABLE:
            raise InvalidArgument(
                "beta_schedule",
                MATCHED,
                f"is not known for the rule {rule.label}",
                f"pass momentum={_MATCHABLE[0]!r}, whose path it takes without momentum",
            )
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
    for name in ("beta", "reward_bound"):
        for value in plan.values(name) if plan.settings.get(name) is not None else ():
            check_single(name, value, "pass one number above 0")
            check_positive(name, value)
    for value in plan.values("samples"):
        as_samples(value, None if value is None else jax.random.key(0), plan.longest)
    # The family knows best what its parameters and sizes may be.
    first = {name: plan.values(name)[0] for name in own}
    for contexts, arms in itertools.product(plan.values("contexts"), plan.values("arms")):
        check_room("arms", arms, (contexts, arms), _TABLES)
        problem = plan.family.content(jax.random.key(0), contexts, arms, **first)
        if not isinstance(problem, Bandit | Game):
            raise InvalidArgument(
                "family",
                plan.family.content,
                "returns no problem",
                "return an apo_sim.Bandit or Game",
            )
        for name in plan.variables:
            if SERIES[name].needs_reward and not isinstance(problem, Bandit):
                raise InvalidArgument(
                    "variables", name, "needs a latent reward", "choose a family of bandits"
                )
    for name in own:
        for value in plan.values(name)[1:]:
            contexts, arms = plan.values("contexts")[0], plan.values("arms")[0]
            plan.family.content(jax.random.key(0), contexts, arms, **{**first, name: value})
