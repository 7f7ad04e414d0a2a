import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apo_sim import theory
from apo_sim.errors import InvalidArgument
from apo_sim.problems import Game

from .dynamics import random_game, run


def win_rate(game):
    preference = np.asarray(game.preference)
    return lambda _, log_policy: np.einsum("xij,xj->xi", preference, np.exp(log_policy))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 3.0), st.sampled_from([0.0, 0.5]))
def test_ipo_is_sppo_at_another_beta(seed, tau, alpha):
    game = random_game(seed)
    log_ref, rate = np.asarray(game.log_ref), win_rate(game)
    ipo = run(log_ref, lambda t, p: float(theory.ipo_reward_scale(tau)) * rate(t, p), alpha, 2.0, 8)
    sppo = run(log_ref, rate, alpha, float(theory.ipo_beta(2.0, tau)), 8)
    np.testing.assert_allclose(ipo.log_policy, sppo.log_policy, rtol=1e-9)


def test_ipo_reward_is_the_least_squares_solution():
    game, tau = random_game(3, contexts=1), 0.4
    policy = np.exp(np.asarray(game.log_ref))[0]
    preference = np.asarray(game.preference)[0]
    i, j = np.divmod(np.arange(16), 4)
    design = (np.eye(4)[i] - np.eye(4)[j]) * np.sqrt(policy[i] * policy[j])[:, None]
    target = (2 * preference[i, j] - 1) / tau * np.sqrt(policy[i] * policy[j])
    fitted = np.linalg.lstsq(design, target, rcond=None)[0]
    expected = float(theory.ipo_reward_scale(tau)) * preference @ policy
    np.testing.assert_allclose(fitted - fitted[0], expected - expected[0], rtol=1e-9)


def exploitability(game, policy):
    return float(game.suboptimality(jnp.log(jnp.asarray(policy))))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.3, 1.0, 5.0]))
def test_average_policy_of_plain_sppo(seed, beta):
    game = random_game(seed, contexts=1)
    path = run(np.asarray(game.log_ref), win_rate(game), 0.0, beta, 200)
    averages = np.cumsum(np.exp(path.behaviour[:-1]), axis=0)
    for iterations in [1, 20, 200]:
        bound = theory.average_exploitability(
            beta, iterations, None, log_p_min=jnp.min(game.log_ref)
        )
        assert exploitability(game, averages[iterations - 1] / iterations) <= float(bound)


def test_the_last_policy_does_not_keep_to_it():
    cycle = jnp.array([[[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]]])
    game = Game(cycle, jnp.log(jnp.array([[0.5, 0.3, 0.2]])))
    path = run(np.asarray(game.log_ref), win_rate(game), 0.0, 1.0, 2000)
    bound = float(theory.average_exploitability(1.0, 2000, 0.2))
    assert exploitability(game, np.exp(path.behaviour[:-1]).mean(axis=0)) <= bound
    assert exploitability(game, np.exp(path.log_policy[-1])) > bound


def test_inside_transformations():
    betas = jnp.array([0.1, 1.0])
    np.testing.assert_allclose(
        jax.jit(jax.vmap(theory.ipo_beta, (0, None)))(betas, 0.5), betas * 0.25
    )
    got = jax.jit(lambda b: theory.average_exploitability(b, 100, 0.1))(betas)
    np.testing.assert_allclose(got, betas * np.log(10) / 100 + 1 / (8 * betas))


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: theory.ipo_beta(1.0, 0.0), "tau"),
        (lambda: theory.ipo_beta(-1.0, 1.0), "beta"),
        (lambda: theory.average_exploitability(0.0, 10, 0.1), "beta"),
        (lambda: theory.average_exploitability(1.0, 0, 0.1), "iterations"),
        (lambda: theory.average_exploitability(1.0, 10, 2.0), "p_min"),
    ],
)
def test_bad_input(call, argument):
    with pytest.raises(InvalidArgument) as caught:
        call()
    assert caught.value.argument == argument
