"""Dataclasses as pytrees, and objects that are none carried through jit."""

import dataclasses
from typing import Any

import jax
import pytest
from jax.core import Tracer

import apo_sim as apo
from apo_sim.errors import InvalidArgument
from apo_sim.pytree import hidden, pytree_dataclass, revealed, static

SCALE = 1.0


@pytree_dataclass
class Scaled:
    factor: Any

    def __call__(self, x):
        return SCALE * self.factor * x


@pytree_dataclass
class Checked:
    x: Any
    y: Any = 2.0
    name: str = static(default="a")

    def __post_init__(self):
        if not isinstance(self.x, Tracer) and self.x < 0:
            raise ValueError("negative")


def test_leaves_are_the_fields_that_are_not_static():
    leaves, structure = jax.tree.flatten(Checked(1.0, name="b"))
    assert leaves == [1.0, 2.0]
    assert jax.tree.unflatten(structure, [3.0, 4.0]) == Checked(3.0, 4.0, "b")
    assert structure != jax.tree.structure(Checked(1.0, name="c"))


def test_checks_are_for_the_caller_not_for_jax():
    with pytest.raises(ValueError, match="negative"):
        Checked(-1.0)
    assert jax.tree.map(lambda leaf: -leaf, Checked(1.0)).x == -1.0
    assert jax.tree.map(lambda leaf: None, Checked(1.0)).x is None


def test_instances_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Checked(1.0).x = 2.0  # type: ignore[misc]
    assert dataclasses.replace(Checked(1.0), y=5.0) == Checked(1.0, 5.0)


def test_instances_go_through_transformations():
    doubled = jax.jit(lambda c: jax.tree.map(lambda leaf: 2 * leaf, c))(Checked(1.0, name="b"))
    assert (float(doubled.x), float(doubled.y), doubled.name) == (2.0, 4.0, "b")
    slope = jax.grad(lambda c: c.x**2 + c.y)(Checked(3.0))
    assert (float(slope.x), float(slope.y)) == (6.0, 1.0)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(Checked(1.0))]
    assert paths == [".x", ".y"]


def test_plain_objects_are_part_of_the_program():
    calls = []

    def square(x):
        calls.append(x)
        return x**2

    # What it keeps changes with every call, and is not what it computes.
    square.version = 1  # type: ignore[attr-defined]

    @jax.jit
    def apply(function, x):
        return revealed(function)(x)

    for x in (1.0, 2.0, 3.0):
        assert float(apply(hidden(square), x)) == x**2
    assert len(calls) == 1, "traced once"
    assert float(apply(hidden(lambda x: -x), 2.0)) == -2.0


def test_a_changed_object_is_another_part_of_the_program(monkeypatch):
    class Power:
        def __init__(self, power):
            self.power = power

        def __call__(self, x):
            return x**self.power

    scale = 2.0
    power, line = Power(2), lambda x: scale * x

    @jax.jit
    def apply(function, x):
        return revealed(function)(x)

    assert float(apply(hidden(power), 3.0)) == 9.0
    assert float(apply(hidden(line), 3.0)) == 6.0
    power.power, scale = 3, 4.0
    assert float(apply(hidden(power), 3.0)) == 27.0
    assert float(apply(hidden(line), 3.0)) == 12.0
    # A pytree brings its leaves, and the code of its class with them.
    scaled = Scaled(2.0)
    assert float(apply(hidden(scaled), 3.0)) == 6.0
    monkeypatch.setitem(globals(), "SCALE", 10.0)
    assert float(apply(hidden(scaled), 3.0)) == 60.0
    with pytest.raises(InvalidArgument, match=r"loss = .* cannot be distinguished from another"):
        hidden(object(), "loss")


def test_pytrees_need_no_hiding():
    ours = apo.Constant(0.5)
    assert hidden(ours) is ours
    assert revealed(ours) is ours
    theirs = Checked(1.0)
    assert revealed(hidden(theirs)) is theirs
    assert jax.tree.leaves(hidden(theirs)) == [1.0, 2.0]
    assert jax.tree.leaves(hidden(len)) == []
    assert revealed(hidden(len)) is len
