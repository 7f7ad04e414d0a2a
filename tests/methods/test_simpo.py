"""Simple preference optimisation against SciPy, two arms' closed form, and rates."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit, log_expit

import apo_sim as apo
from apo_sim.methods.simpo import SimPO

sys.path.insert(0, str(Path(__file__).parent))
from rates_by_hand import check_slopes

Bandit: Any = apo.Bandit
RNG = np.random.default_rng(0)
REWARD: Any = RNG.uniform(-1, 1, size=(2, 4))
REFERENCE: Any = RNG.dirichlet(np.full(4, 2.0), size=2)
CONTEXTS: Any = np.array([0.35, 0.65])
LENGTHS: Any = np.array([[1.0, 3.0, 2.0, 5.0], [4.0, 1.0, 1.0, 2.0]])
BANDIT = Bandit(REWARD, np.log(REFERENCE), CONTEXTS)
BETA, MARGIN = 1.4, 0.6


def slow_policy(wins, lengths, margin):
    """The minimiser of the paper's loss over the policies of one context, by SciPy."""

    def loss(logits):
        log_policy = logits - np.logaddexp.reduce(logits)
        total = 0.0
        for i in range(4):
            for j in range(4):
                lead = BETA * (log_policy[i] / lengths[i] - log_policy[j] / lengths[j])
                total -= wins[i, j] * log_expit(lead - margin) if i != j else 0.0
        return total / wins.sum()

    found = optimize.minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-9})
    return np.exp(found.x - np.logaddexp.reduce(found.x))


# One program for all that call one of these: `solve` compiles it once.
def run(margin, lengths, key, number):
    method = SimPO(BETA, margin, lengths)
    return apo.solve(BANDIT, method, iterations=2, samples=number, key=key)


def run_exactly(margin, lengths):
    return apo.solve(BANDIT, SimPO(BETA, margin, lengths), iterations=1)


@pytest.mark.parametrize("lengths", [np.ones((2, 4)), LENGTHS])
@pytest.mark.parametrize("margin", [0.0, 0.6])
def test_exact_preferences_give_the_minimiser_that_scipy_finds(margin, lengths):
    found = run_exactly(margin, lengths)
    chance = expit(REWARD[:, :, None] - REWARD[:, None, :])
    for x in range(2):
        wins = np.outer(REFERENCE[x], REFERENCE[x]) * chance[x]
        best = slow_policy(wins, lengths[x], margin)
        np.testing.assert_allclose(np.exp(found.final_log_policy[x]), best, atol=1e-6)


def test_a_sample_gives_the_minimiser_that_scipy_finds():
    found = run(MARGIN, LENGTHS, jax.random.key(0), 800)
    wins = np.asarray(found.state.data.wins)
    assert wins.sum() == 1600
    for x in range(2):
        best = slow_policy(wins[x], LENGTHS[x], MARGIN)
        np.testing.assert_allclose(np.exp(found.final_log_policy[x]), best, atol=1e-6)


@pytest.mark.parametrize("lead", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("margin", [0.0, 0.5, 3.0])
def test_two_arms_part_as_the_closed_form_says(lead, margin):
    """p sigmoid(margin - d) = (1 - p) sigmoid(margin + d), whatever the reference is."""
    p = expit(lead)
    bandit = Bandit([[lead, 0.0]], np.log([[0.1, 0.9]]))
    found = apo.solve(bandit, SimPO(BETA, margin, reward_bound=5.0), iterations=1)
    d = BETA * float(found.final_log_policy[0, 0] - found.final_log_policy[0, 1])
    assert p * expit(margin - d) == pytest.approx((1 - p) * expit(margin + d), abs=1e-9)
    assert d >= lead - 1e-9
    assert (d > lead + 0.02) == (margin > 0 and lead > 0)


def test_answers_that_win_as_often_are_as_likely_per_token():
    bandit = Bandit([[0.0, 0.0, 0.0]], np.log([[0.2, 0.5, 0.3]]))
    lengths = jnp.array([[1.0, 2.0, 3.0]])
    found = apo.solve(bandit, SimPO(lengths=lengths), iterations=1)
    root = np.real(np.roots([1.0, 1.0, 1.0, -1.0])).max()  # u^3 + u^2 + u = 1
    np.testing.assert_allclose(
        np.exp(found.final_log_policy[0]), [root, root**2, root**3], atol=1e-9
    )


def test_arms_that_were_never_compared_keep_their_probability():
    bandit = Bandit([[0.5, 0.0, 0.2, 1.0]], np.log([[0.5, 0.5 - 2e-9, 1e-9, 1e-9]]))
    lengths = jnp.array([[1.0, 3.0, 2.0, 5.0]])
    found = apo.solve(
        bandit, SimPO(lengths=lengths), iterations=1, samples=100, key=jax.random.key(0)
    )
    np.testing.assert_allclose(found.final_log_policy[0, 2:], np.log(1e-9), rtol=1e-9)


def test_certain_wins_stop_at_the_bound():
    bandit = Bandit([[60.0, 0.0]], np.log([[0.3, 0.7]]))
    found = apo.solve(bandit, SimPO(BETA, reward_bound=2.5), iterations=1)
    lead = BETA * float(found.final_log_policy[0, 0] - found.final_log_policy[0, 1])
    assert lead == pytest.approx(5.0, abs=1e-9)


def test_the_error_falls_as_one_over_the_root_of_the_labels():
    seeds, numbers = 200, np.array([1e4, 1e5, 1e6])
    wanted = run_exactly(MARGIN, LENGTHS).final_log_policy

    @jax.jit
    def squares(number):
        def one(key):
            method = SimPO(BETA, MARGIN, LENGTHS)
            found = apo.solve(BANDIT, method, iterations=1, samples=number, key=key)
            return jnp.sum((jnp.exp(found.final_log_policy) - jnp.exp(wanted)) ** 2)

        return jax.vmap(one)(jax.random.split(jax.random.key(1), seeds))

    drawn = np.array([squares(number) for number in numbers])
    check_slopes(drawn, numbers)


def test_a_run_that_goes_on_is_the_whole_run():
    method, key = SimPO(BETA, MARGIN, LENGTHS), jax.random.key(7)
    half = apo.solve(BANDIT, method, iterations=1, samples=50, key=key)
    rest = apo.solve(BANDIT, method, iterations=1, samples=50, state=half.state)
    whole = run(MARGIN, LENGTHS, key, 50)
    np.testing.assert_array_equal(rest.final_log_policy, whole.final_log_policy)


def test_margins_may_be_mapped_over():
    margins = jnp.array([0.0, 0.6])
    found = jax.vmap(lambda margin: run_exactly(margin, LENGTHS).final_log_policy)(margins)
    for one, margin in zip(found, margins, strict=True):
        np.testing.assert_allclose(one, run_exactly(margin, LENGTHS).final_log_policy, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beta", 0.0),
        ("beta", [1.0]),
        ("margin", -0.1),
        ("margin", np.nan),
        ("lengths", np.zeros((2, 4))),
        ("lengths", np.ones(4)),
        ("reward_bound", -1.0),
        ("ranker", "pairwise"),
    ],
)
def test_what_is_out_of_range_is_refused(name, value):
    with pytest.raises(apo.InvalidArgument, match=name):
        SimPO(**{name: value})


def test_lengths_of_another_problem_are_refused():
    with pytest.raises(apo.InvalidArgument, match="lengths"):
        apo.solve(BANDIT, SimPO(lengths=jnp.ones((2, 3))), iterations=1)


def test_a_bound_beyond_which_the_loss_is_flat_is_refused():
    with pytest.raises(apo.InvalidArgument, match="reward_bound"):
        apo.solve(BANDIT, SimPO(reward_bound=1e4), iterations=1)
