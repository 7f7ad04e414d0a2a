"""Branches under vmap: what is not wanted is not computed, and what is wanted is right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apo_sim.branches import if_any


def dear(values):
    return jnp.exp(values)


def carried(wanted, values):
    return if_any(wanted, dear, values, values)


def closed_over(wanted, values):
    return if_any(wanted, lambda: dear(values), values)


@pytest.mark.parametrize("one", [carried, closed_over])
def test_every_run_has_its_own_branch(one):
    wanted = jnp.array([[False, False], [True, False]])
    values = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    found = jax.jit(jax.vmap(one))(wanted, values)
    np.testing.assert_array_equal(found[0], values[0])
    np.testing.assert_allclose(found[1], np.exp(values[1]), rtol=1e-15)


@pytest.mark.parametrize(("one", "before_the_loop"), [(carried, False), (closed_over, True)])
def test_what_is_carried_is_not_worked_on_before_it_is_known_to_be_wanted(one, before_the_loop):
    """Control: what is closed over is moved out of the loop, and computed for nothing."""
    shapes = jnp.zeros((8, 3), bool), jnp.zeros((8, 3))
    text = str(jax.jit(jax.vmap(one)).lower(*shapes).compile().as_text())
    entry = text[text.index("\nENTRY ") :]
    assert "exp" in text and "while" in entry
    calls = [line for line in entry.splitlines() if "exponential" in line]
    assert bool(calls) == before_the_loop
