"""One of several: the one that was picked, bit for bit, whatever the others do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim.errors import InvalidArgument
from apo_sim.momentum import Momentum
from apo_sim.one_of import OneOf
from apo_sim.optimizers import Optimizer
from apo_sim.spaces import Space

RULES = (apo.Constant(0.5), apo.Averaging(0.5), apo.NoMomentum(), apo.Nesterov())
BANDIT = apo.families.uniform_bandit(jax.random.key(0), 2, 4)
SAMPLED = {"beta": 2.0, "iterations": 5, "samples": 200, "key": jax.random.key(1)}


def test_it_stands_where_its_alternatives_do():
    one = OneOf(0, RULES)
    assert all(isinstance(one, kind) for kind in (Momentum, Optimizer, Space))


@pytest.mark.parametrize("which", range(len(RULES)))
def test_a_rule_is_the_one_that_was_picked(which):
    found = apo.run(BANDIT, momentum=OneOf(which, RULES), **SAMPLED)
    own = apo.run(BANDIT, momentum=RULES[which], **SAMPLED)
    np.testing.assert_allclose(found.suboptimality, own.suboptimality, rtol=0, atol=1e-14)
    other = apo.run(BANDIT, momentum=RULES[which - 1], **SAMPLED)
    assert np.abs(found.suboptimality - other.suboptimality).max() > 1e-3


def test_one_program_runs_all_of_them():
    def final(which):
        return apo.run(BANDIT, momentum=OneOf(which, RULES), **SAMPLED).suboptimality[-1]

    found = jax.jit(jax.vmap(final))(jnp.arange(len(RULES)))
    own = [apo.run(BANDIT, momentum=rule, **SAMPLED).suboptimality[-1] for rule in RULES]
    np.testing.assert_allclose(found, own, rtol=0, atol=1e-14)


def test_a_loss_is_solved_for():
    found = apo.run(BANDIT, OneOf(1, (apo.DPO(), apo.IPO(0.5))), **SAMPLED)
    own = apo.run(BANDIT, apo.IPO(0.5), **SAMPLED)
    np.testing.assert_allclose(found.suboptimality, own.suboptimality, rtol=0, atol=1e-8)


def test_alternatives_of_alternatives():
    inner = OneOf(1, RULES[:2])
    nested = OneOf(jnp.array(1), (apo.NoMomentum(), inner))
    found = apo.run(BANDIT, momentum=nested, **SAMPLED)
    own = apo.run(BANDIT, momentum=RULES[1], **SAMPLED)
    np.testing.assert_allclose(found.suboptimality, own.suboptimality, rtol=0, atol=1e-14)


def test_a_state_of_one_alternative_sees_nothing_of_the_others():
    one = OneOf(0, (apo.NoMomentum(), apo.Constant(0.9)))
    state = one.init(jnp.zeros(2))
    _, state = one.extrapolate(jnp.ones(2), state, 1)
    # Constant's state is the last policy, as if it had run by itself.
    assert state.each[0] == () and state.each[1].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("which", "among", "argument"),
    [
        (0, (), "among"),
        (0, apo.NoMomentum(), "among"),
        (2, RULES[:2], "which"),
        (-1, RULES, "which"),
        (2**70, RULES, "which"),
        (1.0, RULES, "which"),
        (True, RULES, "which"),
        ("1", RULES, "which"),
        (None, RULES, "which"),
        (jnp.array([0, 1]), RULES, "which"),
        (jnp.array(0.0), RULES, "which"),
        (np.int64(4), RULES, "which"),
    ],
    ids=str,
)
def test_what_cannot_be_picked_is_named(which, among, argument):
    with pytest.raises(InvalidArgument) as found:
        OneOf(which, among)
    assert found.value.argument == argument
