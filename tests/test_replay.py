"""Labels drawn once more are those that the run saw."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

import apo_sim as apo
from apo_sim.errors import InvalidArgument
from apo_sim.methods import KTO, SimPO
from apo_sim.replay import replayed_counts

PROBLEM = apo.families.uniform_bandit(jax.random.key(0), 2, 3)
METHOD = SimPO(beta=1.0)
N = 50


@pytest.fixture(scope="module")
def parts():
    """Two iterations, one by one: the method sees all counts added up, and its state has them."""
    given = {"iterations": 1, "samples": N, "save": "path"}
    first = apo.solve(PROBLEM, METHOD, key=jax.random.key(1), **given)
    return first, apo.solve(PROBLEM, METHOD, state=first.state, **given)


def test_they_are_what_the_method_saw(parts):
    first, _ = parts
    wins = replayed_counts(PROBLEM, first, samples=N, method=METHOD)
    assert wins.shape == (1, 2, 3, 3)
    np.testing.assert_array_equal(wins[0], first.state.data.wins)


def test_a_run_that_was_continued_has_its_last_iterations(parts):
    first, rest = parts
    wins = replayed_counts(PROBLEM, rest, samples=N, method=METHOD)
    np.testing.assert_array_equal(wins[0], rest.state.data.wins - first.state.data.wins)


def test_the_key_of_an_iteration_may_be_given(parts):
    _, rest = parts
    keys = jax.vmap(lambda t: jax.random.fold_in(rest.state.key, t))(np.arange(2))
    state = dataclasses.replace(rest.state, key=keys)
    wins = replayed_counts(PROBLEM, dataclasses.replace(rest, state=state), samples=N)
    np.testing.assert_array_equal(wins, replayed_counts(PROBLEM, rest, samples=N))


def test_bad_input_is_named(parts):
    run = parts[0]

    def refused(
        argument: str,
        problem: Any = PROBLEM,
        solution: Any = run,
        samples: Any = N,
        method: Any = None,
    ):
        with pytest.raises(InvalidArgument) as error:
            replayed_counts(problem, solution, samples=samples, method=method)
        assert error.value.argument == argument

    refused("problem", problem="bandit")
    refused("problem", problem=apo.families.uniform_bandit(jax.random.key(0), 1, 3))
    refused("solution", solution=run.state)
    refused("path", solution=dataclasses.replace(run, kept=None))
    exact = dataclasses.replace(run.state, key=None)
    refused("solution", solution=dataclasses.replace(run, state=exact))
    refused("samples", samples=None)
    refused("samples", samples=0)
    refused("method", method="SimPO")
    refused("method", method=KTO(beta=1.0))
