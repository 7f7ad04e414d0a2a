"""Problems of many arms, whose steps are found by products: SciPy, elimination, weak links."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit

from apo_sim.losses import DPO
from apo_sim.losses.loss import between_by_differences
from apo_sim.proximal import from_counts, rewards_from_counts
from apo_sim.proximal.conjugate_gradients import Flows, error_bound, solve_by_products
from apo_sim.proximal.forces import Comparisons, over_rivals
from apo_sim.proximal.groups import groups_of
from apo_sim.proximal.newton import minimise

ARMS = 30
KINDS = ("easy", "walls", "rare", "groups", "one", "huge")


def drawn(kind, problems, arms=ARMS):
    """Win counts of one kind: how skewed the policy, how far the rewards, how many pairs."""
    rng = np.random.default_rng([KINDS.index(kind), arms])
    policy = np.exp(rng.normal(size=(problems, arms)) * 0.3)
    if kind == "rare":
        policy[:, ::2] *= 10.0 ** rng.uniform(-12, 0, (problems, (arms + 1) // 2))
    reward = rng.uniform(-1, 1, (problems, arms)) * (8.0 if kind == "walls" else 1.0)
    cells = policy[:, :, None] * policy[:, None] * expit(reward[:, :, None] - reward[:, None])
    if kind == "groups":
        group = rng.integers(0, 3, (problems, arms))
        cells *= group[:, :, None] == group[:, None]
    cells /= cells.sum((1, 2), keepdims=True)
    pairs = {"one": 1, "rare": 10**6, "huge": 10**9}.get(kind, 30 * arms)
    counts = [rng.multinomial(pairs, one.ravel()).reshape(arms, arms) for one in cells]
    return np.stack(counts) * (1.0 - np.eye(arms))


def by_elimination(wins, bound):
    lost = jnp.moveaxis(jnp.asarray(wins), 0, -1)
    won = jnp.swapaxes(lost, 0, 1)
    data = Comparisons(won, lost, jnp.ones((1, 1, 1)))
    bounds = jnp.full(len(wins), bound)
    groups = groups_of(won + lost > 0)
    return np.asarray(minimise(DPO(), data, groups, bounds)[0].T), np.asarray(groups.linked)


def solved(wins, bound=2.0):
    uniform = jnp.full(wins.shape[:2], -jnp.log(wins.shape[1]))
    numbers = jnp.array(1.0), jnp.array(bound)
    rewards, residual = rewards_from_counts(DPO(), jnp.asarray(wins), uniform, *numbers)
    assert float(residual) < 1e-5
    return np.asarray(rewards)


@pytest.mark.parametrize("kind", KINDS)
def test_products_and_elimination_agree(kind):
    wins = drawn(kind, 12)
    found, (expected, linked) = solved(wins), by_elimination(wins, 2.0)
    for place in range(len(wins)):
        apart = found[place] - expected[place]
        differences = (apart[:, None] - apart) * linked[..., place]
        assert np.abs(differences).max() < 1e-8


@pytest.mark.parametrize("kind", ["easy", "walls", "rare"])
def test_scipy_finds_no_less(kind):
    wins = drawn(kind, 3)
    for one, found in zip(wins, solved(wins), strict=True):
        total = one.sum()

        def objective(r, one=one, total=total):
            d = r[:, None] - r
            push = one * expit(-d) / total
            return np.sum(one * np.logaddexp(0, -d)) / total, push.sum(0) - push.sum(1)

        centred = found - 0.5 * (found.max() + found.min())
        best = optimize.minimize(
            objective, centred, jac=True, method="L-BFGS-B", bounds=[(-2, 2)] * ARMS,
            options={"ftol": 0, "gtol": 1e-13},
        )  # fmt: skip
        assert objective(centred)[0] - best.fun < 1e-12
        gradient = objective(centred)[1]
        at_wall = np.abs(centred) > 2.0 - 1e-9
        assert np.all(np.where(at_wall, gradient * centred <= 1e-12, np.abs(gradient) < 1e-9))


def test_a_link_too_weak_for_products_is_found_by_elimination():
    # Two crowds that met often within, and once each way across.
    arms, half = 40, 20
    wins = np.kron(np.eye(2), np.full((half, half), 1e9)) * (1.0 - np.eye(arms))
    wins[0, half], wins[half, 0] = 3.0, 1.0
    found = solved(wins[None])[0]
    assert found[0] - found[half] == pytest.approx(np.log(3.0), abs=1e-6)
    np.testing.assert_allclose(found[:half], found[0], atol=1e-6)


def test_an_error_is_bounded_and_a_weak_link_is_not_vouched_for():
    rng = np.random.default_rng(0)
    linked = jnp.ones((ARMS, ARMS, 1), bool)
    nothing = jnp.zeros((ARMS, 1))
    for anchored in (False, True):
        ties = np.triu(rng.poisson(6.0, (ARMS, ARMS)), 1) * 1.0
        anchor = rng.uniform(0, 2, ARMS) * anchored
        force = rng.normal(size=ARMS)
        force -= 0.0 if anchored else force.mean()
        flows = Flows(*(jnp.asarray(part)[..., None] for part in (ties + ties.T, anchor, force)))
        matrix = np.diag((ties + ties.T).sum(0) + anchor) - ties - ties.T
        expected = np.linalg.lstsq(matrix, force, rcond=None)[0]
        found = np.asarray(solve_by_products(flows))[:, 0]
        off = found - expected
        off -= 0.0 if anchored else off.mean()
        bound = float(error_bound(flows, jnp.asarray(found)[:, None], nothing, linked)[0])
        assert np.linalg.norm(off) <= bound + 1e-15 and bound < 1e-4
        wrong = jnp.asarray(expected + 0.1 * rng.normal(size=ARMS))[:, None]
        off = np.asarray(wrong)[:, 0] - expected
        off -= 0.0 if anchored else off.mean()
        assert np.linalg.norm(off) <= float(error_bound(flows, wrong, nothing, linked)[0])
    # Nobody is tied to all others: each one misses its neighbours in a ring.
    near = sum(np.roll(np.eye(ARMS), shift, axis=1) for shift in (-1, 0, 1))
    ties = (1.0 - near) * rng.uniform(1, 3, (ARMS, 1)) * np.ones(ARMS)
    ties = 0.5 * (ties + ties.T)
    flows = Flows(jnp.asarray(ties)[..., None], nothing, nothing)
    off = rng.normal(size=ARMS)
    bound = float(error_bound(flows, jnp.asarray(off)[:, None], nothing, linked)[0])
    assert np.linalg.norm(off - off.mean()) <= bound < np.inf
    chain = np.eye(ARMS, k=1) + np.eye(ARMS, k=-1)
    flows = Flows(jnp.asarray(chain)[..., None], nothing, nothing + 1e-3)
    assert float(error_bound(flows, nothing, nothing, linked)[0]) == np.inf


def test_sums_of_one_problem_are_those_of_many():
    pairs = jnp.asarray(np.random.default_rng(1).normal(size=(5, 5, 3)))
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(5, 3)))
    for lane in range(3):
        for given in (None, weights):
            own = None if given is None else given[:, lane : lane + 1]
            np.testing.assert_allclose(
                over_rivals(pairs[..., lane : lane + 1], own)[:, 0],
                over_rivals(pairs, given)[:, lane],
                rtol=1e-13,
            )


def test_a_problem_does_not_depend_on_its_neighbours():
    """To the last bit, also where fewer than eight stand side by side."""
    wins = np.concatenate([drawn(kind, 2) for kind in KINDS])
    together = solved(wins)
    for first, last in ((0, 1), (3, 5), (7, 8)):
        np.testing.assert_array_equal(solved(wins[first:last]), together[first:last])


def test_both_ways_meet_where_one_begins():
    # The same law on either side of the number of arms from which products are used.
    few, many = from_counts._MANY_ARMS - 1, from_counts._MANY_ARMS
    wins = drawn("easy", 4, few)
    padded = np.zeros((4, many, many))
    padded[:, :few, :few] = wins
    apart = solved(padded)[:, :few] - solved(wins)
    assert np.abs(apart - apart[:, :1]).max() < 1e-8


def test_scores_too_far_apart_for_exponentials_of_arms():
    scores = jnp.array([[0.0], [1.0], [900.0]])
    slope = DPO().derivatives_between(scores).slope[..., 0]
    expected = jax.vmap(jax.vmap(jax.grad(lambda d: jax.nn.softplus(-d))))(
        scores[:, 0][None] - scores[:, 0][:, None]
    )
    np.testing.assert_allclose(slope, expected, rtol=1e-12)
    near = jnp.array([[0.0], [1.0], [30.0]])
    np.testing.assert_allclose(
        DPO().derivatives_between(near).slope,
        between_by_differences(DPO(), near).slope,
        rtol=1e-13,
    )
