"""Problems of many arms, whose steps are found by products: SciPy, elimination, weak links."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit

from apo_sim.losses import DPO
from apo_sim.losses.loss import between_by_differences, from_derivatives_between
from apo_sim.proximal import from_counts, rewards_from_counts
from apo_sim.proximal._conjugate_gradients import error_bound, solve_by_products
from apo_sim.proximal._flows import Flows
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


# One program for each size.
step = jax.jit(functools.partial(rewards_from_counts, DPO()))
by_products, bound_on_error = jax.jit(solve_by_products), jax.jit(error_bound)


@jax.jit
def eliminated(wins, bounds):
    lost = jnp.moveaxis(wins, 0, -1)
    won = jnp.swapaxes(lost, 0, 1)
    data = Comparisons(won, lost, jnp.ones((1, 1, 1)))
    groups = groups_of(won + lost > 0)
    return minimise(DPO(), data, groups, bounds)[0].T, groups.linked


def by_elimination(wins, bound):
    rewards, linked = eliminated(jnp.asarray(wins), jnp.full(len(wins), bound))
    return np.asarray(rewards), np.asarray(linked)


def solved(wins, bound=2.0):
    uniform = jnp.full(wins.shape[:2], -jnp.log(wins.shape[1]))
    rewards, residual = step(jnp.asarray(wins), uniform, jnp.array(1.0), jnp.array(bound))
    assert float(residual) < 1e-5
    return np.asarray(rewards)


# Side by side, and each by itself.
@pytest.mark.parametrize("arms", [ARMS, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_products_and_elimination_agree(kind, arms):
    wins = drawn(kind, 12, arms)
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


def two_crowds(half):
    """They met often within, and four times across."""
    wins = np.kron(np.eye(2), np.full((half, half), 1e9)) * (1.0 - np.eye(2 * half))
    wins[0, half], wins[half, 0] = 3.0, 1.0
    return wins[None]


@pytest.mark.parametrize("half", [ARMS // 2, 20])
def test_a_link_too_weak_for_products_is_found_by_elimination(half):
    found = solved(two_crowds(half))[0]
    assert found[0] - found[half] == pytest.approx(np.log(3.0), abs=1e-6)
    np.testing.assert_allclose(found[:half], found[0], atol=1e-6)


def system(ties, force, free, fixed=0.0):
    """A system of flows of one problem, in units that differ between the arms."""
    unit = np.exp2(np.arange(len(ties)) % 3)
    parts = ties * unit, ties.sum(0) * unit, force * unit, np.where(free, 0.0, fixed), free, unit
    return Flows(*(jnp.asarray(part)[..., None] for part in parts))


@pytest.mark.parametrize("kind", ["dense", "sparse", "chain", "weak"])
def test_no_error_exceeds_its_bound(kind):
    rng = np.random.default_rng(0)
    mean = {"dense": 6.0, "sparse": 0.1, "chain": 0.0, "weak": 6.0}[kind]
    ties = np.triu(rng.poisson(mean, (ARMS, ARMS)), 1) + np.eye(ARMS, k=1)
    if kind == "weak":
        ties[:, -1] *= 1e-5
    ties = ties + ties.T
    matrix = np.diag(ties.sum(0)) - ties
    force = rng.normal(size=ARMS)
    force -= force.mean()
    for free in (np.arange(ARMS) > 0, np.arange(ARMS) % 7 > 0):
        fixed = rng.normal(size=ARMS) * (free.sum() < ARMS - 1)
        expected = np.where(free, 0.0, fixed)
        push = force - matrix @ expected
        expected[free] = np.linalg.solve(matrix[np.ix_(free, free)], push[free])
        flows = system(ties, force, free, fixed)
        nothing = jnp.zeros((ARMS, 1))
        found = by_products(flows, jnp.full(1, 1e-12))
        bound = float(bound_on_error(flows, found, nothing)[0])
        assert np.abs(np.asarray(found)[:, 0] - expected).max() <= bound < 1e-5
        wrong = expected + rng.normal(size=ARMS) * free
        bound = float(bound_on_error(flows, jnp.asarray(wrong)[:, None], nothing)[0])
        assert np.abs(wrong - expected).max() <= bound < np.inf


def test_nothing_is_vouched_for_where_a_group_is_held_by_nothing():
    ties = np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3))
    force = np.repeat([0.0, 1.0], 3)
    flows = system(ties, force, np.arange(6) > 0)
    nothing = jnp.zeros((6, 1))
    assert float(bound_on_error(flows, nothing, nothing)[0]) == np.inf


def test_steps_that_walk_in_a_circle_give_way_to_elimination():
    bands = {
        -2: "0 6 6 7 2 12 4 1 12 2 2 5 0 15 9 3 4 7 9 9 5 4",
        -1: "0 5 3 9 5 6 4 1 9 11 1 1 5 11 14 1 5 4 14 5 9 9 11",
        1: "6 4 3 0 9 7 2 10 6 3 12 2 2 18 0 12 4 17 5 9 4 18 3",
        2: "2 5 0 2 8 3 6 7 3 2 5 4 2 5 2 8 11 8 12 7 10 5",
    }
    tables = [np.diag(np.array(band.split(), float), k) for k, band in bands.items()]
    wins = np.sum(tables, axis=0)[None]
    apart = solved(wins, 8.0)[0] - by_elimination(wins, 8.0)[0][0]
    assert np.abs(apart - apart[0]).max() < 1e-8


def test_a_crowd_leaves_the_wall_when_its_first_arm_would():
    # Eight arms that met often, tied to three arms at the walls by a comparison each. The last
    # step, of 1e-6, turns the force on the crowd's arm at the wall from outward to inward.
    table = """
        0 0 0 0 0 0 0 0 0 0 0 0
        0 0 0 0 52 7275 978 0 0 21348 17400 0
        0 0 0 0 0 0 0 0 0 0 1 0
        0 0 0 0 0 841 22 0 0 1344 1875 0
        0 39 0 10 0 24867 3969 0 0 183815 587364 40
        0 762 0 228 227926 0 5771123 7 0 34380293 3459651 2484
        0 1316 0 312 67447 663860 0 2 0 13740632 5280653 1231
        0 0 0 0 0 18 7 0 0 49 6 0
        0 0 0 0 0 0 0 0 0 0 1 0
        0 11968 0 3191 850515 58517495 12611303 40 0 0 2771693 7592
        1 3646 0 966 66323 55132924 11342950 62 0 237126616 0 748
        0 0 0 1 10 2145 64 0 0 10943 10942 0
    """
    few = np.array([line.split() for line in table.strip().splitlines()], float)
    wins = np.zeros((1, from_counts._MANY_ARMS, from_counts._MANY_ARMS))
    wins[0, : len(few), : len(few)] = few
    apart = solved(wins)[0, : len(few)] - by_elimination(wins, 2.0)[0][0, : len(few)]
    assert np.abs(apart - apart[0]).max() < 1e-8


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
    """To the last bit, also where some of them need elimination and more steps than others."""
    assert from_counts._block(ARMS) > 1
    wins = np.concatenate([two_crowds(ARMS // 2), *(drawn(kind, 3) for kind in KINDS)])
    together = solved(wins)
    for first, last in ((0, 1), (1, 2), (3, 5), (7, 8), (2, 19)):
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
    def between(scores):
        return from_derivatives_between(
            DPO(), scores, lambda between, arms: between(arms[None], arms[:, None])
        )

    scores = jnp.array([[0.0], [1.0], [900.0]])
    expected = jax.vmap(jax.vmap(jax.grad(lambda d: jax.nn.softplus(-d))))(
        scores[:, 0][None] - scores[:, 0][:, None]
    )
    np.testing.assert_allclose(between(scores).slope[..., 0], expected, rtol=1e-12)
    near = jnp.array([[0.0], [1.0], [30.0]])
    np.testing.assert_allclose(
        between(near).slope,
        between_by_differences(DPO(), near[None], near[:, None]).slope,
        rtol=1e-13,
    )
