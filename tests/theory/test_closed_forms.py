import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apo_sim import theory
from apo_sim.errors import InvalidArgument
from apo_sim.problems import Bandit

from .dynamics import log_normalise, random_bandit, random_game, random_log_policy, run

SEEDS = st.integers(0, 2**31)


def relative_error(got, expected):
    return np.max(np.abs(got - expected) / (1 + np.abs(expected)))


def random_rewards(seed):
    rewards = np.random.default_rng(seed + 1).normal(size=(9, 2, 4))
    return rewards, lambda t, _: rewards[t]


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.sampled_from([0.0, 0.3, 0.9, 0.999]), st.sampled_from([1e-3, 1.0, 1e3]))
def test_closed_form_is_where_the_dynamics_arrive(seed, alpha, beta):
    bandit, (rewards, reward_of) = random_bandit(seed), random_rewards(seed)
    path = run(np.asarray(bandit.log_ref), reward_of, alpha, beta, 9)
    got = theory.closed_form(bandit, rewards, alpha, beta)
    assert relative_error(got, path.log_policy[-1]) < 1e-10
    after = theory.closed_form(bandit, rewards, alpha, beta, extrapolated=True)
    assert relative_error(after, path.behaviour[-1]) < 1e-10


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_closed_form_of_schedules(seed):
    rng = np.random.default_rng(seed)
    alpha, beta = rng.uniform(-0.5, 1.2, 9), rng.uniform(0.5, 2.0, 9)
    game, (rewards, reward_of) = random_game(seed), random_rewards(seed)
    path = run(np.asarray(game.log_ref), reward_of, alpha, beta, 9)
    got = theory.closed_form(game, rewards, alpha, beta, unrestricted=True)
    assert relative_error(got, path.log_policy[-1]) < 1e-10
    got = theory.closed_form(game, rewards, alpha, beta, extrapolated=True, unrestricted=True)
    assert relative_error(got, path.behaviour[-1]) < 1e-10


@pytest.mark.parametrize("wrong", ["sign", "momentum", "order"])
def test_a_wrong_dynamics_arrives_elsewhere(wrong):
    bandit, (rewards, reward_of) = random_bandit(0), random_rewards(0)
    alpha = {"sign": -0.5, "momentum": 0.0}.get(wrong, 0.5)
    order = (lambda t, p: reward_of(8 - t, p)) if wrong == "order" else reward_of
    path = run(np.asarray(bandit.log_ref), order, alpha, 1.0, 9)
    assert relative_error(theory.closed_form(bandit, rewards, 0.5, 1.0), path.log_policy[-1]) > 0.01


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_the_exact_policy_is_the_closed_form_of_equal_rewards(seed):
    bandit = random_bandit(seed)
    equal = jnp.broadcast_to(bandit.reward, (9, 2, 4))
    gamma = theory.gamma(0.7, 0.2, 9)[-1]
    got = theory.exact_policy(bandit, gamma)
    assert relative_error(theory.closed_form(bandit, equal, 0.7, 0.2), got) < 1e-12
    expected = log_normalise(np.asarray(bandit.log_ref) + float(gamma) * np.asarray(bandit.reward))
    assert relative_error(got, expected) < 1e-12


def test_constants_in_the_rewards_do_not_matter():
    bandit, (rewards, _) = random_bandit(3), random_rewards(3)
    shifted = rewards + 2.0**20 * np.arange(18).reshape(9, 2, 1)
    np.testing.assert_allclose(
        theory.closed_form(bandit, shifted, 0.5, 1.0),
        theory.closed_form(bandit, rewards, 0.5, 1.0),
        atol=1e-6,
    )


@pytest.mark.parametrize("beta", [1e-6, 1e6])
@pytest.mark.parametrize("alpha", [0.0, 1 - 1e-12])
def test_extremes(alpha, beta):
    log_p = np.log(1e-300)
    bandit = Bandit(jnp.array([[1.0, 0.999, -1.0]]), jnp.array([[log_p, log_p, 0.0]]))
    rewards = jnp.broadcast_to(bandit.reward, (10**6, 1, 3))
    policy = np.asarray(theory.closed_form(bandit, rewards, alpha, beta))
    assert np.all(np.isfinite(policy))
    gamma = float(theory.gamma(alpha, beta, 10**6)[-1])
    assert policy[0, 0] - policy[0, 1] == pytest.approx(gamma * 1e-3, rel=1e-9)
    assert abs(np.logaddexp.reduce(policy[0])) < 1e-12


def test_inside_transformations():
    rewards, _ = random_rewards(5)
    rng = np.random.default_rng(5)
    log_refs = jnp.asarray(np.stack([random_log_policy(rng, 2, 4) for _ in range(3)]))

    @jax.jit
    @jax.vmap
    def solve(log_ref, alpha, beta):
        bandit = Bandit(jnp.asarray(rewards[0]), log_ref)
        return theory.closed_form(bandit, rewards, alpha, beta), theory.exact_policy(bandit, beta)

    alphas, betas = jnp.array([0.0, 0.5, 0.9]), jnp.array([0.1, 1.0, 10.0])
    batched, exact = solve(log_refs, alphas, betas)
    bandit = Bandit(jnp.asarray(rewards[0]), log_refs[1])
    np.testing.assert_allclose(
        batched[1], theory.closed_form(bandit, rewards, 0.5, 1.0), rtol=1e-12
    )
    np.testing.assert_allclose(exact[1], theory.exact_policy(bandit, 1.0), rtol=1e-12)


BANDIT = random_bandit(0)


@pytest.mark.parametrize(
    ("call", "argument", "says"),
    [
        (lambda: theory.closed_form(BANDIT, jnp.ones((2, 4)), 0.5, 1.0), "rewards", "shape"),
        (lambda: theory.closed_form(BANDIT, jnp.ones((3, 2, 5)), 0.5, 1.0), "rewards", "shape"),
        (
            lambda: theory.closed_form(BANDIT, jnp.ones((0, 2, 4)), 0.5, 1.0),
            "rewards",
            "none empty",
        ),
        (
            lambda: theory.closed_form(BANDIT, jnp.full((3, 2, 4), jnp.nan), 0.5, 1.0),
            "rewards",
            "not finite",
        ),
        (lambda: theory.closed_form(BANDIT, jnp.ones((3, 2, 4)), 1.5, 1.0), "alpha", "outside"),
        (lambda: theory.closed_form(BANDIT, jnp.ones((3, 2, 4)), 0.5, 0.0), "beta", "positive"),
        (
            lambda: theory.closed_form(BANDIT, jnp.ones((3, 2, 4)), 0.5, jnp.ones(2)),
            "beta",
            r"shape \(2,\)",
        ),
        (lambda: theory.exact_policy(random_game(0), 1.0), "problem", "no reward"),
        (lambda: theory.exact_policy(BANDIT, jnp.ones(2)), "gamma", "shape"),
        (lambda: theory.exact_policy(BANDIT, float("inf")), "gamma", "not finite"),
    ],
)
def test_bad_input(call, argument, says):
    with pytest.raises(InvalidArgument, match=says) as caught:
        call()
    assert caught.value.argument == argument
