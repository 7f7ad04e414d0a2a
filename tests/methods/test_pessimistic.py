"""Pessimistic maximum likelihood against SciPy, a theorem's four-armed bandit, and rates."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.special import log_expit

import apo_sim as apo
from apo_sim.methods.pessimistic import PessimisticMLE
from apo_sim.pytree import pytree_dataclass

sys.path.insert(0, str(Path(__file__).parent))
from rates_by_hand import check_slopes

Bandit: Any = apo.Bandit
RNG = np.random.default_rng(0)
FEATURES: Any = RNG.normal(size=(2, 4, 3))
PARAMETER: Any = np.array([0.7, -0.4, 0.2])
REFERENCE: Any = RNG.dirichlet(np.full(4, 2.0), size=2)
CONTEXTS: Any = np.array([0.35, 0.65])
BANDIT = Bandit(FEATURES @ PARAMETER, np.log(REFERENCE), CONTEXTS)


def pairs_of(wins):
    """Every pair of different arms with its weight: features of the winner less the loser's."""
    for x in range(2):
        for i in range(4):
            for j in range(4):
                if i != j and wins[x, i, j] > 0:
                    yield wins[x, i, j] / wins.sum(), FEATURES[x, i] - FEATURES[x, j]


def slow_fit(wins, bound):
    """The likeliest parameter in a ball, by SciPy."""

    def loss(theta):
        return -sum(weight * log_expit(theta @ apart) for weight, apart in pairs_of(wins))

    ball = {"type": "ineq", "fun": lambda theta: bound**2 - theta @ theta}
    options = {"ftol": 1e-16, "maxiter": 500}
    found = optimize.minimize(
        loss, np.zeros(3), method="SLSQP", constraints=[ball], options=options
    )
    return found.x


def slow_value(theta, wins, radius, regularization):
    """The paper's pessimistic value, its expectation over contexts inside of the norm."""
    covariance = sum(weight * np.outer(apart, apart) for weight, apart in pairs_of(wins))
    inverse = np.linalg.inv(covariance + regularization * np.eye(3))
    baseline = sum(CONTEXTS[x] * REFERENCE[x] @ FEATURES[x] for x in range(2))

    def value(policy):
        mean = sum(CONTEXTS[x] * policy[x] @ FEATURES[x] for x in range(2))
        apart = mean - baseline
        return apart @ theta - radius * np.sqrt(apart @ inverse @ apart)

    return value


def slow_policy(value):
    """The best of several maximisations by SciPy."""
    rows = np.kron(np.eye(2), np.ones(4))
    whole = {"type": "eq", "fun": lambda p: rows @ p - 1, "jac": lambda p: rows}
    starts = [REFERENCE, *np.random.default_rng(1).dirichlet(np.ones(4), size=(3, 2))]
    found = [
        optimize.minimize(
            lambda p: -value(p.reshape(2, 4)),
            start.ravel(),
            method="SLSQP",
            bounds=[(0, 1)] * 8,
            constraints=[whole],
            options={"ftol": 1e-15, "maxiter": 200},
        )
        for start in starts
    ]
    return min(found, key=lambda one: one.fun).x.reshape(2, 4)


# `solve` compiles each of them once.
def run(bound, radius, key) -> Any:
    method = PessimisticMLE(FEATURES, bound=bound, regularization=0.05, radius=radius)
    return apo.solve(BANDIT, method, iterations=2, samples=100, key=key, save="path")


def run_exactly(bound, radius) -> Any:
    method = PessimisticMLE(FEATURES, bound=bound, regularization=0.05, radius=radius)
    return apo.solve(BANDIT, method, iterations=1, save="path")


@pytest.mark.parametrize("radius", [0.0, 0.05, 0.15, 3.0])
@pytest.mark.parametrize("bound", [0.4, 5.0])
@pytest.mark.parametrize("sampled", [False, True])
def test_fit_and_policy_are_scipys(bound, radius, sampled):
    key = jax.random.key(int(10 * bound))
    found = run(bound, radius, key) if sampled else run_exactly(bound, radius)
    wins = np.asarray(found.state.data.wins)
    theta = slow_fit(wins, bound)
    np.testing.assert_allclose(found.path.rewards[-1], FEATURES @ theta, atol=1e-6)
    value = slow_value(theta, wins, radius, 0.05)
    policy = np.exp(np.asarray(found.final_log_policy))
    best = slow_policy(value)
    np.testing.assert_allclose(policy.sum(axis=1), 1.0, rtol=1e-12)
    assert value(policy) == pytest.approx(value(best), abs=2e-7)
    # Of several policies with the same mean features any will do. SciPy stops where the value is
    # flat to its last digits: the square root of that in policies.
    means = [np.einsum("x,xy,xyd->d", CONTEXTS, one, FEATURES) for one in (policy, best)]
    np.testing.assert_allclose(*means, atol=1e-3)
    assert float(found.residual[-1]) < 1e-8


def test_exact_preferences_give_the_true_parameter_and_no_pessimism_the_best_arms():
    found = run_exactly(5.0, 0.0)
    np.testing.assert_allclose(found.path.rewards[0], BANDIT.reward, atol=1e-8)
    assert float(found.suboptimality[0]) < 1e-8
    apart = CONTEXTS @ np.ptp(np.asarray(BANDIT.reward), axis=1)
    assert 0.02 * apart < float(run_exactly(5.0, 3.0).suboptimality[0])


def test_greedy_takes_the_arm_that_the_fit_likes_best():
    method = PessimisticMLE(FEATURES, bound=5.0, greedy=True)
    found = apo.solve(BANDIT, method, iterations=1)
    best = jnp.argmax(BANDIT.reward, axis=1)
    np.testing.assert_array_equal(jnp.exp(found.final_log_policy), jax.nn.one_hot(best, 4))


@pytest.mark.parametrize("labels", [100.0, np.inf])
def test_the_radius_is_that_of_the_theorem(labels):
    method = PessimisticMLE(FEATURES, bound=0.9, regularization=0.02, constant=1.5, delta=0.05)
    longest = max(
        np.linalg.norm(FEATURES[x, i] - FEATURES[x, j])
        for x in range(2)
        for i in range(4)
        for j in range(4)
    )
    zeta = 1 / (2 + np.exp(longest * 0.9) + np.exp(-longest * 0.9))
    wanted = 1.5 * np.sqrt((3 + np.log(20)) / (zeta**2 * labels) + 0.02 * 0.81)
    assert float(method._radius(jnp.array(labels))) == pytest.approx(wanted, rel=1e-12)


@pytree_dataclass
class OneRarePair:
    """Arms 3 and 1 are compared, but in a share of the pairs it is arms 1 and 2."""

    rare: Any

    def cells(self, problem, log_policy):
        weight = jnp.zeros((4, 4)).at[3, 1].set(1.0 - self.rare).at[1, 2].set(self.rare)
        return (weight + weight.T) * problem.preference


# The best arm is the first: where the fit finds arms alike, greed is right.
FOUR: Any = np.array([[[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]])
FOUR_ARMED = Bandit(FOUR @ np.array([-1.0, 0.1]), np.log(np.full((1, 4), 0.25)))


def test_the_greedy_policy_stays_bad_where_pessimism_gets_better():
    """Theorem 3.9: one comparison of a rare pair decides what greed does, however large n is."""
    # About one label in n is of that pair: greed errs by 1 in some 12 runs of 100.
    seeds = 4000

    @jax.jit
    def mean_gaps(number):
        def one(key):
            def gap(greedy):
                method = PessimisticMLE(
                    FOUR,
                    bound=1.1,
                    regularization=1.0 / number,
                    baseline=jnp.zeros(2),
                    ranker=OneRarePair(1.0 / number),
                    greedy=greedy,
                )
                found = apo.solve(FOUR_ARMED, method, iterations=1, samples=number, key=key)
                return found.suboptimality[0]

            return jnp.stack([gap(True), gap(False)])

        gaps = jax.vmap(one)(jax.random.split(jax.random.key(0), seeds))
        return jnp.mean(gaps, axis=0), jnp.std(gaps, axis=0) / np.sqrt(seeds)

    numbers = [1e3, 1e5, 1e7]
    (means, errors) = zip(*(mean_gaps(n) for n in numbers), strict=True)
    greedy, careful = np.array(means).T
    greedy_error, careful_error = np.array(errors).T
    assert np.all(greedy - 3 * greedy_error > 0.1)
    assert careful[-1] + 3 * careful_error[-1] < 0.005
    assert np.all(np.diff(careful) <= 3 * careful_error[1:])
    assert np.all(careful + 3 * careful_error < greedy)


def test_the_fit_comes_to_the_truth_as_one_over_the_root_of_the_labels():
    seeds, numbers = 200, np.array([1e3, 1e4, 1e5])

    @jax.jit
    def squares(number):
        def one(key):
            method = PessimisticMLE(FEATURES, bound=5.0, greedy=True)
            found = apo.solve(BANDIT, method, iterations=1, samples=number, key=key, save="path")
            assert found.path.rewards is not None
            return jnp.sum((found.path.rewards[0] - BANDIT.reward) ** 2)

        return jax.vmap(one)(jax.random.split(jax.random.key(1), seeds))

    drawn = np.array([squares(number) for number in numbers])
    check_slopes(drawn, numbers)


def test_a_run_that_goes_on_is_the_whole_run():
    method = PessimisticMLE(FEATURES, bound=1.0, regularization=0.05, radius=0.05)
    settings: Any = {"samples": 50, "save": "path"}
    whole = apo.solve(BANDIT, method, iterations=2, key=jax.random.key(2), **settings)
    half = apo.solve(BANDIT, method, iterations=1, key=jax.random.key(2), **settings)
    rest = apo.solve(BANDIT, method, iterations=1, state=half.state, **settings)
    np.testing.assert_array_equal(rest.final_log_policy, whole.final_log_policy)
    assert float(whole.state.data.labels) == 100.0 == float(whole.state.data.wins.sum())


def test_radii_may_be_mapped_over():
    radii = jnp.array([0.0, 0.15])
    found = jax.vmap(lambda radius: run_exactly(5.0, radius).final_log_policy)(radii)
    for one, radius in zip(found, radii, strict=True):
        np.testing.assert_allclose(
            jnp.exp(one), jnp.exp(run_exactly(5.0, radius).final_log_policy), atol=1e-7
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bound", 0.0),
        ("bound", [1.0, 2.0]),
        ("regularization", -1.0),
        ("radius", -0.1),
        ("radius", np.nan),
        ("constant", 0.0),
        ("delta", 1.0),
        ("baseline", np.zeros(2)),
        ("ranker", "pairwise"),
        ("greedy", 1),
    ],
)
def test_what_is_out_of_range_is_refused(name, value):
    with pytest.raises(apo.InvalidArgument, match=name):
        PessimisticMLE(FEATURES, **{name: value})


@pytest.mark.parametrize("features", [FEATURES[:, :3], FEATURES[0], np.full((2, 4, 3), np.inf)])
def test_features_of_another_problem_are_refused(features):
    with pytest.raises(apo.InvalidArgument, match="features"):
        apo.solve(BANDIT, PessimisticMLE(features), iterations=1)
