"""The loop against recursions and optima written down a second time, in NumPy and SciPy."""

import dataclasses
import inspect
import itertools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

import apo_sim as apo
from apo_sim import families, testing, theory

# They take lists and NumPy arrays too, which their fields' types, of what they hold, do not say.
Bandit: Any = apo.Bandit
Game: Any = apo.Game

CONTEXTS, ARMS, ITERATIONS = 3, 5, 200


def normalise(logits):
    """In the long double of the logits that come in, whatever the platform makes of it."""
    top = logits.max(axis=-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))


def recursion(log_ref, reward_of, alpha, beta, iterations):
    """Algorithm 1, line by line: log pi_hat_0 ... pi_hat_T and log pi_0 ... pi_T."""
    before = [normalise(np.asarray(log_ref, np.longdouble))]
    after = [before[0]]
    for _ in range(iterations):
        before.append(normalise(after[-1] + reward_of(after[-1]) / np.longdouble(beta)))
        after.append(normalise(before[-1] + np.longdouble(alpha) * (before[-1] - before[-2])))
    return np.array(before), np.array(after)


def relative_error(measured, expected):
    return float(np.max(np.abs(np.asarray(measured) - expected) / (1 + np.abs(expected))))


def random_log_ref(rng, spread=3.0):
    return np.asarray(normalise(spread * rng.normal(size=(CONTEXTS, ARMS))), float)


def random_bandit(seed):
    rng = np.random.default_rng(seed)
    reward = rng.uniform(-1, 1, (CONTEXTS, ARMS))
    return Bandit(reward, random_log_ref(rng), rng.dirichlet(np.ones(CONTEXTS)))


def random_game(seed):
    rng = np.random.default_rng(seed)
    skew = np.triu(rng.uniform(-0.5, 0.5, (CONTEXTS, ARMS, ARMS)), 1)
    preference = 0.5 + skew - np.swapaxes(skew, 1, 2)
    return Game(preference, random_log_ref(rng), rng.dirichlet(np.ones(CONTEXTS)))


BANDIT, GAME = random_bandit(0), random_game(0)


# Exact preferences


@pytest.mark.parametrize("beta", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9, 0.999])
def test_exact_run_is_the_recursion_and_the_closed_form(alpha, beta):
    for seed in range(10):
        bandit = random_bandit(seed)
        reward = np.asarray(bandit.reward, np.longdouble)
        path, behaviour = recursion(bandit.log_ref, lambda _, r=reward: r, alpha, beta, ITERATIONS)
        solution = apo.run(
            bandit, momentum=apo.Constant(alpha), beta=beta, iterations=ITERATIONS, save="path"
        )
        assert solution.rewards is not None
        assert relative_error(solution.log_policy, path) < 1e-10
        assert relative_error(solution.behaviour, behaviour) < 1e-10
        closed = theory.closed_form(bandit, solution.rewards, alpha, beta)
        assert relative_error(closed, path[-1]) < 1e-10
        exact = theory.exact_policy(bandit, solution.gamma[-1])
        assert relative_error(exact, path[-1]) < 1e-10
        np.testing.assert_allclose(
            solution.gamma, theory.gamma(alpha, beta, ITERATIONS), rtol=1e-12
        )


@given(
    testing.bandits(CONTEXTS, ARMS),
    testing.schedules(testing.alphas(), 7),
    testing.schedules(testing.betas(), 7),
)
def test_schedules_follow_the_closed_form(bandit, alphas, betas):
    solution = apo.run(bandit, momentum=apo.Schedule(alphas), beta=betas, iterations=7, save="path")
    assert solution.rewards is not None
    closed = theory.closed_form(bandit, solution.rewards, alphas, betas)
    assert relative_error(solution.final_log_policy, closed) < 1e-10
    np.testing.assert_allclose(solution.gamma, theory.gamma(alphas, betas, 7), rtol=1e-12)


def test_metrics_are_those_of_the_policies():
    solution = apo.run(
        BANDIT, momentum=apo.Constant(0.5), beta=5.0, iterations=6, save=("path", "average")
    )
    assert solution.log_policy is not None and solution.behaviour is not None
    assert solution.average_suboptimality is not None
    policy = np.exp(np.asarray(solution.log_policy))[1:]
    reward, probs = np.asarray(BANDIT.reward), np.asarray(BANDIT.context_probs)
    regret = reward.max(axis=1, keepdims=True) - reward
    gap = np.einsum("txk,xk,x->t", policy, regret, probs)
    np.testing.assert_allclose(solution.suboptimality, gap, rtol=1e-12)
    optimal = regret == 0
    tv = 0.5 * np.abs(policy - optimal).sum(axis=2) @ probs
    np.testing.assert_allclose(solution.tv, tv, rtol=1e-12)
    average = np.cumsum(policy, axis=0) / np.arange(1, 7)[:, None, None]
    gap_of_average = np.einsum("txk,xk,x->t", average, regret, probs)
    np.testing.assert_allclose(solution.average_suboptimality, gap_of_average, rtol=1e-12)
    np.testing.assert_array_equal(solution.final_log_policy, solution.log_policy[-1])
    np.testing.assert_allclose(solution.final_behaviour, solution.behaviour[-1], atol=1e-14)
    np.testing.assert_array_equal(solution.residual, 0.0)


@pytest.mark.parametrize("problem", [BANDIT, GAME], ids=["bandit", "game"])
@pytest.mark.parametrize("loss", [apo.SPPO(), apo.IPO(0.5)], ids=["SPPO", "IPO"])
def test_regression_losses_learn_win_rates(problem, loss):
    preference = np.asarray(problem.preference, np.longdouble)
    scale = 2 / loss.tau if isinstance(loss, apo.IPO) else 1.0

    def win_rate(log_policy):
        return scale * np.einsum("xij,xj->xi", preference, np.exp(log_policy))

    path, _ = recursion(problem.log_ref, win_rate, 0.6, 2.0, 40)
    solution = apo.run(problem, loss, apo.Constant(0.6), beta=2.0, iterations=40, save="path")
    assert relative_error(solution.log_policy, path) < 1e-10


def test_ipo_is_sppo_at_another_beta():
    """N12."""
    ipo = apo.run(GAME, apo.IPO(0.5), apo.Constant(0.6), beta=2.0, iterations=40)
    beta = theory.ipo_beta(2.0, 0.5)
    sppo = apo.run(GAME, apo.SPPO(), apo.Constant(0.6), beta=beta, iterations=40)
    assert relative_error(ipo.final_log_policy, sppo.final_log_policy) < 1e-10


def test_dpo_on_a_game_is_the_optimum_that_scipy_finds():
    solution = apo.run(GAME, momentum=apo.Constant(0.5), beta=1.0, iterations=5, save="path")
    assert solution.rewards is not None and solution.behaviour is not None
    assert float(solution.residual.max()) < 1e-7
    for t, x in itertools.product((0, 4), range(CONTEXTS)):
        policy = np.exp(np.asarray(solution.behaviour[t, x]))
        preference = np.asarray(GAME.preference[x])

        def gradient(free, policy=policy, preference=preference):
            h = np.append(free, 0.0)
            won = scipy.special.expit(h[:, None] - h[None, :])
            return ((won - preference) @ policy)[:-1]

        found = scipy.optimize.root(gradient, np.zeros(ARMS - 1), tol=1e-13)
        assert np.abs(found.fun).max() < 1e-12
        rewards = np.asarray(solution.rewards[t, x])
        np.testing.assert_allclose(rewards - rewards[-1], np.append(found.x, 0.0), atol=1e-9)


def test_dpo_on_a_bradley_terry_game_is_dpo_on_its_bandit():
    game = Game(BANDIT.preference, BANDIT.log_ref, BANDIT.context_probs)
    settings: dict[str, Any] = {
        "momentum": apo.Constant(0.5),
        "beta": 1.0,
        "iterations": 5,
        "save": "path",
    }
    on_game, on_bandit = apo.run(game, **settings), apo.run(BANDIT, **settings)
    assert relative_error(on_game.final_log_policy, on_bandit.final_log_policy) < 1e-9


@given(testing.bandits(CONTEXTS, ARMS), testing.alphas(), testing.betas())
def test_momentum_is_a_smaller_beta(bandit, alpha, beta):
    """N1."""
    fast = apo.run(bandit, momentum=apo.Constant(alpha), beta=beta, iterations=10)
    matched = theory.matched_beta(alpha, beta, 10)
    plain = apo.run(bandit, beta=matched, iterations=10)
    assert relative_error(fast.final_log_policy, plain.final_log_policy) < 1e-10
    np.testing.assert_allclose(fast.gamma, plain.gamma, rtol=1e-12)


# What is kept, and which policy is looked at


def test_output_after_one_iteration_is_expo():
    alpha = 0.7
    before, after = recursion(
        BANDIT.log_ref, lambda _: np.asarray(BANDIT.reward, np.longdouble), alpha, 5.0, 1
    )
    settings: dict[str, Any] = {"momentum": apo.Constant(alpha), "beta": 5.0, "iterations": 1}
    expo = apo.run(BANDIT, **settings, output="after", save="average")
    np.testing.assert_allclose(
        expo.suboptimality[0], BANDIT.suboptimality(jnp.asarray(after[-1], float)), rtol=1e-12
    )
    np.testing.assert_allclose(
        expo.tv[0], BANDIT.total_variation(jnp.asarray(after[-1], float)), rtol=1e-12
    )
    assert expo.average_suboptimality is not None
    np.testing.assert_allclose(expo.average_suboptimality, expo.suboptimality, rtol=1e-12)
    np.testing.assert_allclose(expo.gamma, (1 + alpha) / 5.0, rtol=1e-14)
    assert relative_error(expo.final_log_policy, before[-1]) < 1e-12
    assert relative_error(expo.final_behaviour, after[-1]) < 1e-12


@pytest.mark.parametrize("save", ["metrics", "path", "average", ("path", "average"), ["path"]])
def test_only_what_was_asked_for_is_kept(save):
    solution = apo.run(BANDIT, beta=5.0, iterations=6, save=save)
    asked = {save} if isinstance(save, str) else set(save)
    assert (solution.log_policy is not None) == ("path" in asked)
    assert (solution.behaviour is not None) == ("path" in asked)
    assert (solution.rewards is not None) == ("path" in asked)
    assert (solution.average_suboptimality is not None) == ("average" in asked)
    assert solution.suboptimality.shape == solution.tv.shape == solution.gamma.shape == (6,)
    if solution.log_policy is not None and solution.rewards is not None:
        assert solution.log_policy.shape == (7, CONTEXTS, ARMS)
        assert solution.rewards.shape == (6, CONTEXTS, ARMS)
        np.testing.assert_allclose(solution.log_policy[0], BANDIT.log_ref, atol=1e-14)


# Extremes


@pytest.mark.parametrize("loss", [apo.DPO(), apo.SPPO()], ids=["DPO", "SPPO"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_extremes_stay_finite(loss, dtype):
    p = 1e-300 if dtype is np.float64 else 1e-30
    log_ref = jax.nn.log_softmax(jnp.array([[np.log(p), -1.0, -2.0, -3.0, -4.0]], dtype))
    bandit = Bandit(np.array([[1.0, 0.5, 0.0, -0.5, -1.0]], dtype), log_ref)
    nearly_one = 1 - 1e-12 if dtype is np.float64 else 1 - 1e-6
    for beta, alpha in itertools.product([1e-6, 1.0, 1e6], [0.0, 0.9, nearly_one]):
        solution = apo.run(bandit, loss, apo.Constant(alpha), beta=beta, iterations=50, save="path")
        for leaf in jax.tree.leaves(dataclasses.replace(solution, state=solution.state.method)):
            assert leaf.dtype == dtype
            assert np.all(np.isfinite(leaf))
        assert np.all(np.asarray(solution.tv) >= 0) and np.all(np.asarray(solution.tv) <= 1.0001)
        if beta == 1e-6:  # then even 1e-300 is forgotten at once
            assert float(solution.tv[-1]) == 0.0
        if isinstance(loss, apo.DPO) and dtype is np.float64:
            bound = theory.sharp_gap(None, solution.gamma, log_p_star=bandit.log_best_ref)
            assert np.all(solution.suboptimality <= bound * (1 + 1e-9))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sampled_extremes_stay_finite(dtype):
    log_ref = jax.nn.log_softmax(jnp.array([[-60.0, -1.0, -2.0, -30.0]] * 2, dtype))
    bandit = Bandit(np.array([[1.0, 0.5, 0.0, -0.5]] * 2, dtype), log_ref)
    for beta, samples in itertools.product([1e-6, 1.0, 1e6], [1, 10**12]):
        solution = apo.run(
            bandit,
            momentum=apo.Constant(0.99),
            beta=beta,
            iterations=SAMPLED_ITERATIONS,
            samples=samples,
            key=jax.random.key(0),
        )
        for leaf in jax.tree.leaves(dataclasses.replace(solution, state=solution.state.method)):
            assert leaf.dtype == dtype
            assert np.all(np.isfinite(leaf))


def test_million_updates_in_the_closed_form():
    alpha, beta, iterations = 1 - 1e-12, 1e-6, 10**6
    gamma = float(theory.gamma(alpha, beta, iterations)[-1])
    k = np.arange(1, iterations + 1, dtype=np.longdouble)
    exact = float(np.sum(-np.expm1(k * np.log1p(-np.longdouble(1) + alpha)) / (1 - alpha)) / beta)
    assert abs(gamma / exact - 1) < 1e-9
    policy = theory.exact_policy(BANDIT, gamma)
    assert np.all(np.isfinite(policy))


def test_certain_wins_are_bounded():
    """Without a bound the minimiser of the logistic loss would be infinite."""
    game = Game([[[0.5, 1.0], [0.0, 0.5]]], np.log([[0.5, 0.5]]))
    solution = apo.run(game, beta=1.0, iterations=2, save="path")
    assert solution.rewards is not None
    spread = np.ptp(np.asarray(solution.rewards), axis=2)
    assert np.all(spread <= 80.0 + 1e-9) and np.all(spread > 30.0)


OTHER_PRECISION = [
    apo.Nesterov(),
    apo.Schedule(jnp.full(4, 0.5)),
    apo.Averaging(jnp.asarray(0.5)),
    apo.FunctionSchedule(lambda t: t / (t + 1)),
]


@pytest.mark.parametrize("rule", OTHER_PRECISION, ids=lambda rule: type(rule).__name__)
def test_a_run_keeps_the_precision_of_its_problem(rule):
    """Though rules bring double-precision numbers."""
    log_ref = jax.nn.log_softmax(jnp.zeros((1, 2), np.float32))
    single = Bandit(np.array([[1.0, 0.0]], np.float32), log_ref)
    solution = apo.run(single, momentum=rule, beta=1.0, iterations=4, save=("path", "average"))
    leaves = jax.tree.leaves(dataclasses.replace(solution, state=solution.state.method))
    assert {leaf.dtype for leaf in leaves} == {np.dtype(np.float32)}


# Inside transformations

SAMPLED_CONTEXTS, SAMPLED_ARMS, SAMPLED_ITERATIONS = 2, 4, 5


def sampled_bandit(key):
    first, second = jax.random.split(key)
    log_ref = families.dirichlet_reference(second, SAMPLED_CONTEXTS, SAMPLED_ARMS, 5.0)
    return families.uniform_bandit(first, log_ref=log_ref)


def sampled_run(problem, key, alpha, beta, samples):
    return apo.run(
        problem,
        momentum=apo.Constant(alpha),
        beta=beta,
        iterations=SAMPLED_ITERATIONS,
        samples=samples,
        key=key,
    )


def test_batched_runs_are_the_single_ones():
    keys = jax.random.split(jax.random.key(3), 6)
    problems = jax.vmap(sampled_bandit)(keys)
    alphas = jnp.array([0.0, 0.3, 0.6, 0.9, 0.99, 0.5])
    betas = jnp.array([0.1, 1.0, 5.0, 5.0, 5.0, 100.0])
    samples = jnp.array([1.0, 10.0, 100.0, 1e4, 1e9, 1e12])
    batched = jax.jit(jax.vmap(sampled_run))(problems, keys, alphas, betas, samples)
    for i in range(6):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], problems)
        expected = sampled_run(one, keys[i], float(alphas[i]), betas[i], samples[i])
        found = jax.tree.map(lambda leaf, i=i: leaf[i], batched)
        assert relative_error(found.final_log_policy, expected.final_log_policy) < 1e-8
        np.testing.assert_allclose(found.suboptimality, expected.suboptimality, atol=1e-8)


def test_batched_exact_runs_are_the_single_ones():
    problems = jax.tree.map(lambda *leaves: jnp.stack(leaves), random_bandit(1), random_bandit(2))
    alphas = jnp.array([0.2, 0.95])

    def final(problem, alpha):
        return apo.run(
            problem, momentum=apo.Constant(alpha), beta=2.0, iterations=6
        ).final_log_policy

    batched = jax.vmap(jax.vmap(final, (None, 0)), (0, None))(problems, alphas)
    for (i, seed), (j, alpha) in itertools.product(enumerate((1, 2)), enumerate((0.2, 0.95))):
        assert relative_error(batched[i, j], final(random_bandit(seed), alpha)) < 1e-12


def test_runs_differentiate():
    """So that a search may climb the gradient of a gap."""

    def gap(beta):
        return apo.run(BANDIT, beta=beta, iterations=6).suboptimality[-1]

    slope = (gap(2.0 + 1e-5) - gap(2.0 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(gap)(2.0), slope, rtol=1e-6)


# Sampled preferences


def test_sampled_runs_approach_the_exact_one():
    keys = jax.random.split(jax.random.key(0), 128)
    problem = sampled_bandit(jax.random.key(7))
    counts = 10.0 ** jnp.arange(3.0, 12.0, 2.0)

    def final(key, samples):
        return sampled_run(problem, key, 0.5, 5.0, samples).final_log_policy

    exact = apo.run(
        problem, momentum=apo.Constant(0.5), beta=5.0, iterations=SAMPLED_ITERATIONS
    ).final_log_policy
    sampled = jax.jit(jax.vmap(jax.vmap(final, (0, None)), (None, 0)))(keys, counts)
    error = np.sqrt(np.mean((np.asarray(sampled) - np.asarray(exact)) ** 2, axis=(1, 2, 3)))
    slope = np.polyfit(np.log(counts), np.log(error), 1)[0]
    assert abs(slope + 0.5) < 0.05
    assert error[-1] < 1e-4


def test_a_key_gives_one_run_and_another_key_another():
    problem = sampled_bandit(jax.random.key(7))
    first, again, other = (
        sampled_run(problem, jax.random.key(seed), 0.5, 5.0, 100).final_log_policy
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-6


def test_a_key_for_each_iteration():
    problem = sampled_bandit(jax.random.key(7))
    steps = np.arange(SAMPLED_ITERATIONS)
    folded = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), steps)
    one, many, other = (
        sampled_run(problem, key, 0.5, 5.0, 100).final_log_policy
        for key in (jax.random.key(0), folded, folded[::-1])
    )
    np.testing.assert_allclose(one, many, rtol=0, atol=1e-12)
    assert np.abs(one - other).max() > 1e-6


def test_rankings_without_noise_learn_as_well():
    problem = sampled_bandit(jax.random.key(7))
    solution = apo.run(
        problem,
        beta=5.0,
        iterations=SAMPLED_ITERATIONS,
        samples=1000,
        key=jax.random.key(0),
        ranker=apo.BestAgainstWorst(5),
    )
    assert float(solution.suboptimality[-1]) < float(problem.suboptimality(problem.log_ref))
    assert float(solution.residual.max()) < 1e-6


# A user's own parts


@dataclass(frozen=True)
class Hinged:
    """A smooth hinge: (softplus of 1 - (h_winner - h_loser))."""

    margin: float = 1.0

    def __call__(self, h_winner, h_loser, extra):
        return jax.nn.softplus(self.margin - (h_winner - h_loser))


def logistic(h_winner, h_loser, extra):
    return jax.nn.softplus(h_loser - h_winner)


@dataclass(frozen=True)
class HeavyBall:
    """pi_t = pi_hat_t + alpha (pi_hat_t - pi_hat_{t-1}), the user's way."""

    alpha: float

    def init(self, tree):
        return tree

    def extrapolate(self, new, state, t):
        return jax.tree.map(lambda n, o: n + self.alpha * (n - o), new, state), new


class EverySecond:
    """A rule that is no dataclass, with a state of its own."""

    def init(self, tree):
        return tree

    def extrapolate(self, new, state, t):
        return jax.tree.map(lambda n, o: n + 0.5 * (t % 2) * (n - o), new, state), new


def test_own_parts_are_short():
    for part in (Hinged, logistic, HeavyBall, EverySecond):
        assert len(inspect.getsource(part).splitlines()) <= 15


@pytest.mark.parametrize("samples", [None, 1000], ids=["exact", "sampled"])
def test_own_loss_is_the_one_of_the_package(samples):
    key = None if samples is None else jax.random.key(0)
    problem = sampled_bandit(jax.random.key(7))
    settings: dict[str, Any] = {
        "beta": 5.0,
        "iterations": SAMPLED_ITERATIONS,
        "samples": samples,
        "key": key,
        "momentum": apo.Constant(0.5),
    }
    own = apo.run(problem, logistic, **settings)
    packaged = apo.run(problem, apo.DPO(), **settings)
    assert relative_error(own.final_log_policy, packaged.final_log_policy) < 1e-8


def test_own_dataclass_loss_finds_its_stationary_point():
    solution = apo.run(GAME, Hinged(0.5), beta=1.0, iterations=1, save="path")
    assert solution.rewards is not None
    for x in range(CONTEXTS):
        h, policy = np.asarray(solution.rewards[0, x]), np.exp(np.asarray(GAME.log_ref[x]))
        slope = -scipy.special.expit(0.5 - (h[:, None] - h[None, :]))
        preference = np.asarray(GAME.preference[x])
        pull = preference * slope
        np.testing.assert_allclose((pull - pull.T) @ policy, 0, atol=1e-9)


def test_own_rules_are_the_ones_of_the_package():
    settings: dict[str, Any] = {"beta": 5.0, "iterations": 6}
    own = apo.run(BANDIT, momentum=HeavyBall(0.5), **settings)
    packaged = apo.run(BANDIT, momentum=apo.Constant(0.5), **settings)
    np.testing.assert_allclose(own.final_log_policy, packaged.final_log_policy, atol=1e-13)
    np.testing.assert_allclose(own.gamma, packaged.gamma, rtol=1e-14)
    own = apo.run(BANDIT, momentum=EverySecond(), **settings)
    packaged = apo.run(BANDIT, momentum=apo.Schedule(jnp.array([0.5, 0.0] * 3)), **settings)
    np.testing.assert_allclose(own.final_log_policy, packaged.final_log_policy, atol=1e-13)


@given(st.integers(0, 3))
def test_problems_may_be_replaced_in_part(seed):
    moved = dataclasses.replace(BANDIT, log_ref=random_bandit(seed).log_ref)
    solution = apo.run(moved, beta=5.0, iterations=6)
    assert (
        relative_error(solution.final_log_policy, theory.exact_policy(moved, solution.gamma[-1]))
        < 1e-11
    )
