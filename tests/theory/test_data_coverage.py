import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apo_sim import theory
from apo_sim.errors import InvalidArgument

from .dynamics import random_log_policy


def policies(seed):
    rng = np.random.default_rng(seed)
    behaviour = np.stack([random_log_policy(rng, 2, 4) for _ in range(3)])
    return random_log_policy(rng, 2, 4), random_log_policy(rng, 2, 4), behaviour


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_both_definitions_against_loops(seed):
    run, exact, behaviour = policies(seed)
    got = theory.coverage(run, exact, behaviour)
    for t in range(3):
        ratio_run, ratio_exact = np.exp(run - behaviour[t]), np.exp(exact - behaviour[t])
        printed = (ratio_run * ratio_exact).max()
        corrected = max(ratio_run[x].max() * ratio_exact[x].max() for x in range(2))
        assert float(got.printed[t]) == pytest.approx(printed, rel=1e-12)
        assert float(got.corrected[t]) == pytest.approx(corrected, rel=1e-12)
        assert corrected >= printed and corrected >= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_the_corrected_one_changes_measure(seed):
    run, exact, behaviour = policies(seed)
    squared = np.random.default_rng(seed).normal(size=(2, 4, 4)) ** 2
    corrected = np.asarray(theory.coverage(run, exact, behaviour).corrected)
    needed = np.einsum("xi,xj,xij->x", np.exp(exact), np.exp(run), squared)
    for t in range(3):
        policy = np.exp(behaviour[t])
        available = np.einsum("xi,xj,xij->x", policy, policy, squared)
        assert np.all(needed <= corrected[t] * available * (1 + 1e-12))


@pytest.mark.parametrize("epsilon", [0.3, 1e-2, 1e-6])
def test_two_arms_where_the_printed_one_is_too_small(epsilon):
    exact = np.log([[1 - epsilon, epsilon]])
    kappa = theory.coverage(exact[:, ::-1], exact, np.log(np.full((1, 1, 2), 0.5)))
    assert float(kappa.printed[0]) == pytest.approx(4 * epsilon * (1 - epsilon))
    assert float(kappa.corrected[0]) == pytest.approx(4 * (1 - epsilon) ** 2)
    # What changing measure needs: only unequal arms count, half of the uniform pairs.
    needed = ((1 - epsilon) ** 2 + epsilon**2) / 0.5
    assert float(kappa.printed[0]) < needed <= float(kappa.corrected[0])


def test_no_overflow_in_logarithms():
    run = np.array([[-1e5, 0.0]])
    kappa = theory.coverage(run[:, ::-1], run[:, ::-1], run[None])
    assert float(kappa.log_printed[0]) == 2e5 == float(kappa.log_corrected[0])


def test_inside_transformations():
    got = jax.jit(theory.coverage)(*policies(0))
    np.testing.assert_allclose(got.log_corrected, theory.coverage(*policies(0)).log_corrected)


@pytest.mark.parametrize("argument", ["log_policy", "log_exact", "behaviour"])
def test_bad_input(argument):
    given = dict(zip(["log_policy", "log_exact", "behaviour"], policies(0), strict=True))
    with pytest.raises(InvalidArgument, match="shape") as caught:
        theory.coverage(**{**given, argument: given[argument][..., 0]})
    assert caught.value.argument in (argument, "log_policy")
    with pytest.raises(InvalidArgument, match="not finite"):
        theory.coverage(**{**given, argument: np.full_like(given[argument], -np.inf)})
