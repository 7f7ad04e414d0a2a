"""The hinge loss: its definition, what gradients make of it, and that no table is solved for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

import apo_sim as apo
from apo_sim.losses import Extra
from apo_sim.losses.slic import SLiC
from apo_sim.policies import Table
from apo_sim.proximal import rewards_from_counts

SCORES = st.floats(-30.0, 30.0)


@given(st.floats(0.01, 10.0), SCORES, SCORES)
def test_values_are_those_of_the_definition(margin, winner, loser):
    found = SLiC(margin)(jnp.asarray(winner), jnp.asarray(loser), Extra())
    lead = winner - loser
    expected = margin - lead if lead < margin else 0.0
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def trained(bandit, margin, beta):
    """Scores beta log(policy / reference) after one long training, up to a constant."""
    found = apo.train(
        bandit,
        Table(*bandit.reward.shape),
        SLiC(margin),
        beta=beta,
        iterations=1,
        step=apo.ByGradient(apo.SGD(0.1), steps=2000),
        key=jax.random.key(0),
    )
    return np.asarray(beta * (found.final_log_policy - bandit.log_ref))


@pytest.mark.parametrize("lead", [0.4, -1.0])
def test_two_arms_part_by_the_margin_whatever_the_win_rate(lead):
    bandit = apo.Bandit(jnp.array([[lead, 0.0]]), jnp.log(jnp.array([[0.3, 0.7]])))
    margin, beta = 0.7, 0.5
    scores = trained(bandit, margin, beta)
    # Around the kink a step is at most 2 beta rate = 0.1 times a slope, here below 0.1.
    assert scores[0, 0] - scores[0, 1] == pytest.approx(margin * np.sign(lead), abs=0.01)


def test_training_comes_down_to_the_optimum_of_the_linear_program():
    bandit = apo.families.uniform_bandit(jax.random.key(3), contexts=1, arms=3)
    policy, preference = np.exp(np.asarray(bandit.log_ref))[0], np.asarray(bandit.preference)[0]
    weight = 2 * np.outer(policy, policy) * preference
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    # Minimise sum_ij weight c_ij over (r, c): c_ij >= margin - r_i + r_j and c_ij >= 0.
    rows = np.zeros((6, 9))
    for row, (i, j) in enumerate(pairs):
        rows[row, [i, j, 3 + row]] = -1.0, 1.0, -1.0
    costs = np.concatenate([np.zeros(3), [weight[pair] for pair in pairs]])
    bounds = [(None, None)] * 3 + [(0, None)] * 6
    best = optimize.linprog(costs, rows, np.full(6, -1.0), bounds=bounds).fun
    scores = trained(bandit, 1.0, 1.0)[0]
    lead = scores[:, None] - scores
    found = sum(weight[pair] * max(0.0, 1.0 - lead[pair]) for pair in pairs)
    assert best <= found + 1e-12
    assert found < best + 0.01
    start = sum(weight[pair] for pair in pairs)
    assert start > best + 0.05


@pytest.mark.parametrize("samples", [None, 50])
def test_a_table_is_refused_by_name(samples):
    bandit = apo.families.uniform_bandit(jax.random.key(0), contexts=1, arms=3)
    key = None if samples is None else jax.random.key(0)
    with pytest.raises(apo.InvalidArgument, match=r"SLiC.*no curvature.*apo_sim\.train"):
        apo.run(bandit, SLiC(), beta=1.0, iterations=2, samples=samples, key=key)
    even = jnp.log(jnp.full((1, 3), 1 / 3))
    with pytest.raises(apo.InvalidArgument, match="SLiC"):
        rewards_from_counts(SLiC(), jnp.ones((1, 3, 3)), even, jnp.array(1.0), jnp.array(2.0))


def test_so_is_the_hinge_of_a_user():
    bandit = apo.families.uniform_bandit(jax.random.key(0), contexts=1, arms=3)
    with pytest.raises(apo.InvalidArgument, match=r"no curvature.*apo_sim\.train"):
        apo.run(bandit, lambda won, lost, extra: jnp.abs(lost - won), beta=1.0, iterations=2)


def test_margins_may_be_mapped_over():
    losses = jax.vmap(lambda margin: SLiC(margin)(jnp.zeros(()), jnp.zeros(()), Extra()))
    np.testing.assert_allclose(losses(jnp.array([0.5, 2.0])), [0.5, 2.0])


@pytest.mark.parametrize("margin", [0.0, -1.0, np.nan, np.inf, "1", [1.0, 2.0]])
def test_what_is_no_margin_is_refused(margin):
    with pytest.raises(apo.InvalidArgument, match="margin"):
        SLiC(margin)
