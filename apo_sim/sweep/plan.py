"""What a sweep computes: settings, which of them are axes, and the units that the work comes in."""

import dataclasses
import functools
import itertools
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.arguments import as_samples
from apo_sim.checks import as_count, as_seed, check_positive, check_room, check_single
from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.losses import DPO, IPO, SPPO, Loss
from apo_sim.momentum import Averaging, Constant, FromBehaviour, Momentum, Nesterov, NoMomentum
from apo_sim.problems import Bandit, Game
from apo_sim.sweep.named import Family, as_family, identity_of, name_of, parameters_of
from apo_sim.sweep.series import SERIES

LOSSES: dict[str, Loss] = {"dpo": DPO(), "ipo": IPO(), "sppo": SPPO()}
MOMENTA: dict[str, Callable[[Any], Momentum]] = {
    "constant": Constant,
    "unrestricted": lambda alpha: Constant(alpha, unrestricted=True),
    "none": lambda alpha: NoMomentum(),
    "nesterov": lambda alpha: Nesterov(),
    "averaging": Averaging,
    "from_behaviour": FromBehaviour,
    "matched_beta": lambda alpha: NoMomentum(),
}
# Not a rule but its rival (N1): no momentum, and the proximal weights that take the same path
# with exact preferences.
MATCHED = "matched_beta"
# Whether every iteration draws its own labels, or all share their random numbers: a control, in
# which errors do not average.
DRAWS = ("fresh", "shared")
DEFAULTS: dict[str, Any] = {
    "contexts": 1,
    "arms": 10,
    "loss": "dpo",
    "momentum": "constant",
    "alpha": 0.0,
    "samples": None,
    "draws": "fresh",
    "reward_bound": None,
}
REQUIRED = ("beta", "iterations")
# A value of these needs a program of its own; all other settings are numbers fed into one.
STATIC = ("contexts", "arms", "loss", "momentum", "draws", "iterations")
COUNTS = ("contexts", "arms", "iterations")

# Settings that are names.
TEXTS = ("loss", "momentum", "draws")

# Tables of contexts times arms that the smallest run has alive.
_TABLES = 4
# Bytes that the results of a unit may have.
_UNIT_BYTES = 2**26


@dataclasses.dataclass(frozen=True)
class Shape:
    """What one compiled program is made for: families of the same content share it."""

    family: Family = dataclasses.field(compare=False)
    identity: str
    contexts: int
    arms: int
    loss: str
    momentum: str
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
        settings: every setting, in the order given; a tuple of values is an axis of the grid.
        seeds: number of replicates of every cell of the grid.
        seed: what all randomness is folded from.
        variables: which series of a run are kept.
        chunk: how many runs make a unit, at most.
    """

    family: Family
    settings: Mapping[str, Any]
    seeds: int
    seed: int
    variables: tuple[str, ...]
    chunk: int

    @functools.cached_property
    def identity(self) -> str:
        """What tells the family from every other; this sweep's own if its content cannot be."""
        try:
            return identity_of(self.family)
        except InvalidArgument:
            return f"{name_of(self.family)} [{uuid.uuid4().hex}]"

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
        """All values of a setting."""
        value = self.settings[name]
        return value if isinstance(value, tuple) else (value,)

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
        numbers = {}
        for name in self.settings:
            if name in STATIC or self.settings[name] is None:
                continue
            values = np.asarray(chosen.get(name, self.values(name)), float)
            if name in chosen:
                axis = list(self.axes).index(name)
                values = values.reshape([-1 if i == axis else 1 for i in range(len(sizes))])
            numbers[name] = np.broadcast_to(values, sizes).reshape(-1)
        if static["momentum"] in ("none", "constant", MATCHED):
            # One program for all three: what differs becomes numbers.
            rule, static["momentum"] = static["momentum"], "constant"
            numbers["matched"] = np.full(math.prod(sizes), float(rule == MATCHED))
            numbers["alpha"] = numbers["alpha"] * (rule != "none")
        replicate = np.broadcast_to(np.arange(self.seeds)[place[-1]], sizes).reshape(-1)
        shape = Shape(self.family, self.identity, variables=self.variables, **static)
        return Unit(place, shape, numbers, replicate)

    def configuration(self) -> dict[str, Any]:
        """All that determines the numbers, as JSON: `sweep(**configuration)` computes them again.

        A user's own family is named, with a hash of its content; pass the function itself.
        """
        settings = {n: list(v) if isinstance(v, tuple) else v for n, v in self.settings.items()}
        return {
            "family": self.identity,
            "seeds": self.seeds,
            "seed": self.seed,
            "variables": list(self.variables),
            **settings,
        }


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
        UnknownName: for an unknown family, setting, variable, loss or momentum rule.
        InvalidArgument: for any value that a run would refuse, and for an empty axis.

    Example:
        >>> settings = {"alpha": [0, 0.5], "beta": 5, "iterations": 3}
        >>> plan = make_plan("uniform", settings, seeds=4, seed=0, variables=["tv"])
        >>> plan.extent, plan.runs
        ((2, 4), 8)
    """
    function = as_family(family)
    own = parameters_of(function)
    known = {**DEFAULTS, **dict.fromkeys(REQUIRED), **own}
    for name in settings:
        if name not in known:
            raise UnknownName("setting", name, known)
        if settings[name] is None and known[name] is not None:
            raise InvalidArgument(name, None, "is no value", f"pass one, or leave {name} out")
    for name in REQUIRED:
        if settings.get(name) is None:
            raise InvalidArgument(name, None, "is missing", f"pass {name}=, a number or a list")
    given = {name: _values(name, value) for name, value in settings.items()}
    missing = {name: value for name, value in known.items() if name not in given}
    for name, value in missing.items():
        if name in own and value is None:
            raise InvalidArgument(name, None, "is missing", "the family needs it")
        missing[name] = None if value is None else _plain(name, value)
    plan = Plan(
        function,
        {**given, **missing},
        as_count("seeds", seeds),
        as_seed("seed", seed),
        _variables(variables),
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


def _values(name: str, value: Any) -> Any:
    """A single value, or a tuple of distinct ones."""
    if value is None or isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return None if value is None else _plain(name, value)
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 0:
        return _plain(name, value)
    if isinstance(value, Mapping | Set):
        raise InvalidArgument(name, value, "has no order", "pass a value, or a list of values")
    values = tuple(_plain(name, one) for one in value)
    if not values:
        raise InvalidArgument(name, value, "is an empty axis", "pass at least one value")
    if len(set(values)) < len(values):
        raise InvalidArgument(name, value, "has a value twice", "pass every value once")
    return values


def _plain(name: str, value: Any) -> Any:
    if name in TEXTS:
        if not isinstance(value, str):
            raise InvalidArgument(name, value, "is not a name", "pass names, one or a flat list")
        return str(value)
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
    for name, table in (("loss", LOSSES), ("momentum", MOMENTA), ("draws", DRAWS)):
        for value in plan.values(name):
            if value not in table:
                raise UnknownName(name, value, table)
    for rule, alpha in itertools.product(plan.values("momentum"), plan.values("alpha")):
        MOMENTA[rule](alpha)
    for name in ("beta", "reward_bound"):
        for value in plan.values(name):
            if value is not None:
                check_single(name, value, "pass one number above 0")
                check_positive(name, value)
    for value in plan.values("samples"):
        as_samples(value, None if value is None else jax.random.key(0), plan.longest)
    # The family knows best what its parameters and sizes may be.
    first = {name: plan.values(name)[0] for name in own}
    for contexts, arms in itertools.product(plan.values("contexts"), plan.values("arms")):
        check_room("arms", arms, (contexts, arms), _TABLES)
        problem = plan.family(jax.random.key(0), contexts, arms, **first)
        if not isinstance(problem, Bandit | Game):
            raise InvalidArgument(
                "family", plan.family, "returns no problem", "return an apo_sim.Bandit or Game"
            )
        for name in plan.variables:
            if SERIES[name].needs_reward and not isinstance(problem, Bandit):
                raise InvalidArgument(
                    "variables", name, "needs a latent reward", "choose a family of bandits"
                )
    for name in own:
        for value in plan.values(name)[1:]:
            contexts, arms = plan.values("contexts")[0], plan.values("arms")[0]
            plan.family(jax.random.key(0), contexts, arms, **{**first, name: value})
