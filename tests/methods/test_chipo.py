"""Chi-squared preference optimisation against SciPy, Lambert's function and the proximal step."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.special import lambertw, log_expit

import apo_sim as apo
from apo_sim.geometry import ChiSquareKL
from apo_sim.methods import Proximal
from apo_sim.methods.chipo import ChiPO
from apo_sim.methods.on_table import OnTable

sys.path.insert(0, str(Path(__file__).parent))
from rates_by_hand import check_slopes

Bandit: Any = apo.Bandit
RNG = np.random.default_rng(0)
REWARD: Any = RNG.uniform(-1, 1, size=(2, 4))
REFERENCE: Any = RNG.dirichlet(np.full(4, 2.0), size=2)
CONTEXTS: Any = np.array([0.35, 0.65])
BANDIT = Bandit(REWARD, np.log(REFERENCE), CONTEXTS)
BETA, BOUND = 0.4, 1.5


def link(z):
    return z + np.log(z)


def slow_policy(wins, reference):
    """The minimiser of the paper's clipped loss over policies of one context, by SciPy."""

    def loss(logits):
        policy = np.exp(logits - np.logaddexp.reduce(logits))
        h = BETA * link(policy / reference)
        clipped = np.clip(h[:, None] - h, -2 * BOUND, 2 * BOUND)
        return -np.sum(wins * (1 - np.eye(4)) * log_expit(clipped)) / wins.sum()

    found = optimize.minimize(loss, np.log(reference), method="BFGS", options={"gtol": 1e-10})
    return np.exp(found.x - np.logaddexp.reduce(found.x))


# One program for all that call one of these: `solve` compiles it once.
def run(beta, key):
    method = ChiPO(beta, reward_bound=BOUND)
    return apo.solve(BANDIT, method, iterations=2, samples=500, key=key, save="path")


def run_exactly(beta):
    return apo.solve(BANDIT, ChiPO(beta, reward_bound=BOUND), iterations=2, save="path")


def by_lambert(beta):
    """pi_ref W(exp((r - Z) / beta)) of the true reward, Z by bisection."""
    policy = np.empty((2, 4))
    for x in range(2):

        def mass(z, x=x):
            return REFERENCE[x] * lambertw(np.exp((REWARD[x] - z) / beta)).real

        place: Any = optimize.brentq(lambda z, mass=mass: mass(z).sum() - 1, -9, 9, xtol=1e-14)
        policy[x] = mass(place)
    return policy


@pytest.mark.parametrize("beta", [0.4, 3.0])
def test_exact_preferences_give_the_closed_form(beta):
    found = np.exp(np.asarray(run_exactly(beta).final_log_policy))
    np.testing.assert_allclose(found, by_lambert(beta), atol=1e-9)


def test_a_sample_gives_the_minimiser_that_scipy_finds():
    found = run(BETA, jax.random.key(0))
    wins = np.asarray(found.state.data.wins)
    assert wins.sum() == 1000.0
    for x in range(2):
        best = slow_policy(wins[x], REFERENCE[x])
        np.testing.assert_allclose(np.exp(found.final_log_policy[x]), best, atol=1e-6)


def test_certain_wins_stop_at_the_bound():
    bandit = Bandit(np.array([[60.0, 0.0]]), np.log(np.array([[0.3, 0.7]])))
    found = apo.solve(bandit, ChiPO(BETA, reward_bound=BOUND), iterations=1)
    z = np.exp(np.asarray(found.final_log_policy[0])) / np.array([0.3, 0.7])
    assert BETA * (link(z[0]) - link(z[1])) == pytest.approx(2 * BOUND, abs=1e-9)


@pytest.mark.parametrize("samples", [None, 500])
def test_the_first_iteration_is_the_proximal_step_and_the_second_is_not(samples):
    key = None if samples is None else jax.random.key(3)
    proximal = Proximal(geometry=ChiSquareKL(), beta=BETA, fit=OnTable(reward_bound=BOUND))
    ours = (run_exactly(BETA) if key is None else run(BETA, key)).log_policy
    given = {"iterations": 2, "samples": samples, "key": key, "save": "path"}
    theirs = apo.solve(BANDIT, proximal, **given).log_policy
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-8)
    assert float(jnp.max(jnp.abs(ours[2] - theirs[2]))) > 0.05


def test_the_error_falls_as_one_over_the_root_of_the_labels():
    seeds, numbers = 200, np.array([2e3, 2e4, 2e5])
    wanted = jnp.asarray(by_lambert(BETA))

    @jax.jit
    def squares(number):
        def one(key):
            method = ChiPO(BETA, reward_bound=BOUND)
            found = apo.solve(BANDIT, method, iterations=1, samples=number, key=key)
            return jnp.sum((jnp.exp(found.final_log_policy) - wanted) ** 2)

        return jax.vmap(one)(jax.random.split(jax.random.key(1), seeds))

    drawn = np.array([squares(number) for number in numbers])
    check_slopes(drawn, numbers)


def test_a_run_that_goes_on_is_the_whole_run():
    method, key = ChiPO(BETA, reward_bound=BOUND), jax.random.key(2)
    half = apo.solve(BANDIT, method, iterations=1, samples=500, key=key)
    rest = apo.solve(BANDIT, method, iterations=1, samples=500, state=half.state)
    whole = run(BETA, key)
    np.testing.assert_array_equal(rest.final_log_policy, whole.final_log_policy)


def test_weights_may_be_mapped_over():
    betas = jnp.array([0.4, 3.0])
    found = jax.vmap(lambda beta: run_exactly(beta).final_log_policy)(betas)
    for one, beta in zip(found, betas, strict=True):
        np.testing.assert_allclose(jnp.exp(one), by_lambert(float(beta)), atol=1e-9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beta", 0.0),
        ("beta", [1.0]),
        ("beta", "1"),
        ("reward_bound", -1.0),
        ("reward_bound", np.nan),
        ("ranker", "pairwise"),
    ],
)
def test_what_is_out_of_range_is_refused(name, value):
    with pytest.raises(apo.InvalidArgument, match=name):
        ChiPO(**{name: value})


def test_a_bound_beyond_which_the_loss_is_flat_is_refused():
    with pytest.raises(apo.InvalidArgument, match="reward_bound"):
        apo.solve(BANDIT, ChiPO(reward_bound=1e4), iterations=1)
