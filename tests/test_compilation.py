"""What runs by itself is compiled in haste; what is part of something else is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim.compilation import jit_quickly


@jit_quickly(static_argnames=["times"])
def scaled(number, times):
    return number * times


def with_options(function, static_argnames, compiler_options=None):
    """In the place of `jax.jit`: tells with which options it would compile."""
    return lambda *arguments: compiler_options


def test_it_is_a_function_like_others_within_transformations():
    assert float(scaled(2.0, times=3)) == 6.0
    assert float(jax.jit(lambda number: scaled(number, times=3))(2.0)) == 6.0
    assert float(jax.jit(lambda: scaled(2.0, times=3))()) == 6.0
    assert jax.vmap(lambda number: scaled(number, times=3))(jnp.arange(2.0)).tolist() == [0.0, 3.0]
    assert float(jax.grad(scaled)(2.0, times=3)) == 3.0
    assert jax.eval_shape(lambda: scaled(2.0, times=3)).shape == ()


def test_without_looking_where_it_is_called_it_would_be_refused():
    """Control."""
    hasty = jax.jit(lambda number: number, compiler_options={"xla_backend_optimization_level": 1})
    with pytest.raises(ValueError, match="top-level"):
        jax.jit(hasty)(2.0)


def test_where_it_is_compiled_in_haste(monkeypatch):
    monkeypatch.setattr(jax, "jit", with_options)
    options_of = jit_quickly(static_argnames=())(abs)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert options_of(1.0)["xla_backend_optimization_level"] == 1
    within = []
    jax.eval_shape(lambda: within.append(options_of(1.0)))
    assert within == [None]
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=3")
    assert options_of(1.0) is None


def test_haste_draws_the_same_labels(monkeypatch):
    bandit = apo.families.uniform_bandit(jax.random.key(0), contexts=2, arms=5)
    settings = {"beta": 1.0, "iterations": 3, "samples": 50, "key": jax.random.key(1)}
    solve = lambda: apo.run(bandit, apo.DPO(), apo.Constant(0.3), save="path", **settings)  # noqa: E731
    thorough = jax.jit(solve)()
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    hasty = solve()
    np.testing.assert_allclose(hasty.final_log_policy, thorough.final_log_policy, rtol=1e-12)
    wins = [apo.replayed_counts(bandit, one, samples=50) for one in (hasty, thorough)]
    np.testing.assert_array_equal(wins[0], wins[1])
