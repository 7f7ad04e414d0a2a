"""What a sweep computes: settings, which of them are axes, and the units that the work comes in."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from apo_sim.registry import MOMENTA, Choice
from apo_sim.sweep._settings import DEFAULTS, MATCHED, OBJECTS, STATIC, plain_value

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
    def axes(self) -> dict[str, tuple[Any, ...]]:
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

    def values(self, name: str) -> tuple[Any, ...]:
        """All values of a setting; of one that no method of the sweep looks at, the default."""
        value = self.settings[name] if name in self.settings else plain_value(name, DEFAULTS[name])
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
