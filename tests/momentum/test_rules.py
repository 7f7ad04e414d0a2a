"""Momentum rules: known paths, arbitrary trees, and how they relate to each other."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import apo_sim as apo
from apo_sim import theory
from apo_sim.momentum import Extrapolation, Momentum

# They take lists and NumPy arrays too, which their fields' types, of what they hold, do not say.
Bandit: Any = apo.Bandit

RULES = {
    "none": apo.NoMomentum(),
    "constant": apo.Constant(0.5),
    "negative": apo.Constant(-0.5, unrestricted=True),
    "nesterov": apo.Nesterov(),
    "schedule": apo.Schedule(jnp.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])),
    "function": apo.FunctionSchedule(lambda t: t / (t + 1)),
    "averaging": apo.Averaging(0.75),
    "from behaviour": apo.FromBehaviour(0.5),
}
UPDATES = 6
NUMBERS = st.lists(st.floats(-10.0, 10.0), min_size=UPDATES, max_size=UPDATES)


def centres(rule, start, moves):
    """pi_1, pi_2, ...: every update moves by what is given, from the proximal centre."""
    state, centre, found = rule.init(start), start, []
    for t, move in enumerate(moves, start=1):
        new = jax.tree.map(jnp.add, centre, move)
        centre, state = rule.extrapolate(new, state, t)
        found.append(centre)
    return found


def by_definition(alpha_at, start, moves):
    """pi_t = pi_hat_t + alpha_t (pi_hat_t - pi_hat_{t-1})."""
    last, centre, found = start, start, []
    for t, move in enumerate(moves, start=1):
        new = centre + move
        centre, last = new + alpha_at(t) * (new - last), new
        found.append(centre)
    return found


@pytest.mark.parametrize("name", RULES)
def test_rules_are_rules(name):
    assert isinstance(RULES[name], Momentum)


@given(NUMBERS)
def test_extrapolations_follow_their_definition(moves):
    for name, alpha_at in {
        "none": lambda t: 0.0,
        "constant": lambda t: 0.5,
        "negative": lambda t: -0.5,
        "nesterov": lambda t: t / (t + 3),
        "schedule": lambda t: t / 10,
        "function": lambda t: t / (t + 1),
    }.items():
        expected = by_definition(alpha_at, 1.0, moves)
        np.testing.assert_allclose(centres(RULES[name], 1.0, moves), expected, atol=1e-9)


def test_averaging_gives_every_update_its_share_over_time():
    moves = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    # h_t = 0.75^(t-1) / 4, summed up: of the first move 1 - 0.75^t has arrived after t updates.
    expected = 1 - 0.75 ** np.arange(1, UPDATES + 1)
    np.testing.assert_allclose(centres(apo.Averaging(0.75), 0.0, moves), expected, atol=1e-15)
    np.testing.assert_allclose(centres(apo.Averaging(0.0), 0.0, moves), 1.0)


@given(NUMBERS)
def test_from_behaviour_is_a_longer_step(moves):
    longer = [1.5 * move for move in moves]
    found = centres(apo.FromBehaviour(0.5), 0.0, moves)
    np.testing.assert_allclose(found, centres(apo.NoMomentum(), 0.0, longer), atol=1e-9)


@pytest.mark.parametrize("name", RULES)
def test_any_tree_is_treated_leaf_by_leaf(name):
    """Parameters of a network are no different from a table, under jit as well."""
    rule, rng = RULES[name], np.random.default_rng(0)
    shapes = {"layer": {"kernel": (3, 2), "bias": (2,)}, "scale": (), "blocks": [(4,), (1, 1)]}

    def random_tree():
        return jax.tree.map(
            lambda shape: jnp.asarray(rng.normal(size=shape)),
            shapes,
            is_leaf=lambda shape: isinstance(shape, tuple),
        )

    start, moves = random_tree(), [random_tree() for _ in range(UPDATES)]
    whole = centres(rule, start, moves)
    assert jax.tree.structure(whole[0]) == jax.tree.structure(start)
    treedef = jax.tree.structure(start)
    for i in range(treedef.num_leaves):
        leaf = centres(rule, jax.tree.leaves(start)[i], [jax.tree.leaves(m)[i] for m in moves])
        np.testing.assert_allclose(jax.tree.leaves(whole[-1])[i], leaf[-1], atol=1e-12)
    state = rule.init(start)
    moved = jax.tree.map(jnp.add, start, moves[0])
    eager = rule.extrapolate(moved, state, 1)
    compiled = jax.jit(rule.extrapolate)(moved, state, jnp.asarray(1))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-14), eager, compiled)
    assert jax.tree.structure(eager[1]) == jax.tree.structure(state), "a state keeps its shape"


def test_precision_of_parameters_is_kept():
    parameters = {"kernel": jnp.ones((2, 2), jnp.bfloat16)}
    for rule in (apo.Constant(0.5), apo.FromBehaviour(0.5), apo.Averaging(0.5), apo.NoMomentum()):
        centre, state = rule.extrapolate(parameters, rule.init(parameters), 1)
        assert {leaf.dtype for leaf in jax.tree.leaves((centre, state))} == {jnp.dtype("bfloat16")}


def test_rules_are_data():
    batched = jax.vmap(apo.Constant)(jnp.array([0.1, 0.9]))
    stepped = jax.vmap(lambda rule: rule.extrapolate(2.0, rule.init(1.0), 1)[0])(batched)
    np.testing.assert_allclose(stepped, [2.1, 2.9])
    assert isinstance(apo.Constant(0.5), Extrapolation)


# In a run

BANDIT = Bandit(np.array([[0.9, 0.1, -0.4], [0.2, 0.3, -1.0]]), np.log(np.full((2, 3), 1 / 3)))


def final(rule, beta=2.0):
    return apo.run(BANDIT, momentum=rule, beta=beta, iterations=UPDATES)


def test_from_behaviour_is_plain_at_a_smaller_beta():
    solution, plain = final(apo.FromBehaviour(0.5)), final(apo.NoMomentum(), 2.0 / 1.5)
    np.testing.assert_allclose(solution.final_behaviour, plain.final_behaviour, atol=1e-13)
    # What is put out is the policy before the last extrapolation.
    np.testing.assert_allclose(
        np.asarray(solution.gamma), np.asarray(plain.gamma) - 0.5 / 2.0, rtol=1e-13
    )


def test_nesterov_is_its_schedule():
    schedules = (
        apo.Schedule(theory.nesterov_schedule(UPDATES)),
        apo.FunctionSchedule(lambda t: t / (t + 3)),
    )
    for rule in schedules:
        np.testing.assert_allclose(
            final(rule).final_log_policy, final(apo.Nesterov()).final_log_policy, atol=1e-13
        )


@pytest.mark.parametrize(
    ("name", "alpha"),
    [
        ("none", 0.0),
        ("constant", 0.5),
        ("negative", -0.5),
        ("nesterov", np.arange(1, 7) / np.arange(4, 10)),
        ("schedule", np.arange(1, 7) / 10),
        ("function", np.arange(1, 7) / np.arange(2, 8)),
    ],
)
def test_gamma_of_a_run_is_that_of_the_theory(name, alpha):
    expected = theory.gamma(jnp.asarray(alpha), 2.0, UPDATES, unrestricted=True)
    np.testing.assert_allclose(final(RULES[name]).gamma, expected, rtol=1e-13)


def test_averaging_puts_weight_one_on_every_update_in_the_end():
    solution = final(apo.Averaging(0.75))
    # pi_{T-1} has absorbed 1 - 0.75^k of the update made k steps before; the last one is whole.
    absorbed = 1 - 0.75 ** np.arange(1, UPDATES)
    np.testing.assert_allclose(solution.gamma[-1], (1 + absorbed.sum()) / 2.0, rtol=1e-13)
