from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import stats

import apo_sim as apo
from apo_sim.errors import InvalidArgument
from apo_sim.momentum import Averaging, FromBehaviour
from apo_sim.theory.leading_order import TRUSTED, leading_order


def a_bandit(reward: Any, log_ref: Any, context_probs: Any = None) -> apo.Bandit:
    return apo.Bandit(reward, log_ref, context_probs)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def gammas(follow, betas):
    """Weights of the rewards in pi_hat_1 ... pi_hat_T and pi_0 ... pi_{T-1}, by hand."""
    before, centres = [], [np.zeros(len(betas))]
    memory = {"old": np.zeros(len(betas)), "step": np.zeros(len(betas))}
    for t, beta in enumerate(betas):
        new = centres[-1].copy()
        new[t] += 1 / beta
        before.append(new)
        centres.append(follow(new, centres[-1], memory, t + 1))
        memory["old"] = new
    return np.array(before), np.array(centres[:-1])


def extrapolation(alpha):
    return lambda new, centre, memory, t: new + alpha(t) * (new - memory["old"])


def from_behaviour(alpha):
    return lambda new, centre, memory, t: new + alpha * (new - centre)


def averaging(decay):
    def follow(new, centre, memory, t):
        memory["step"] = decay * memory["step"] + (1 - decay) * (new - centre)
        return centre + memory["step"]

    return follow


def error_of_rewards(reward, policy):
    """G and b of one update, by loops and the pseudo-inverse."""
    arms = len(reward)
    laplacian, push = np.zeros((arms, arms)), np.zeros(arms)
    pairs = [(i, j) for i in range(arms) for j in range(arms) if i != j]
    for i, j in pairs:
        chance = sigmoid(reward[i] - reward[j])
        weight = 2 * policy[i] * policy[j] * chance * (1 - chance)
        laplacian[i, i] += weight
        laplacian[i, j] -= weight
    inverse = np.linalg.pinv(laplacian, rcond=1e-13)
    for i, j in pairs:
        chance = sigmoid(reward[i] - reward[j])
        bend = chance * (1 - chance) * (1 - 2 * chance)
        apart = inverse[i, i] + inverse[j, j] - 2 * inverse[i, j]
        push[i] -= policy[i] * policy[j] * bend * apart
    return inverse, inverse @ push


def derivatives(reward, logits, step=1e-3):
    """Gradient and Hessian of the value, by differences."""
    arms = len(reward)
    value = lambda x: softmax(x) @ reward  # noqa: E731
    unit = step * np.eye(arms)
    gradient = [(value(logits + e) - value(logits - e)) / (2 * step) for e in unit]
    hessian = [
        [
            value(logits + e + f) - value(logits + e - f) - value(logits - e + f)
            + value(logits - e - f)
            for f in unit
        ]
        for e in unit
    ]  # fmt: skip
    return np.array(gradient), np.array(hessian) / (4 * step**2)


def by_hand(reward, log_ref, share, before, centres):
    """The exact gap, c, and N times the variance, of every iteration."""
    iterations = len(before)
    found = np.zeros((3, iterations))
    for rewards, reference, rho in zip(reward, log_ref, share, strict=True):
        noises = [
            error_of_rewards(rewards, softmax(reference + weights.sum() * rewards))
            for weights in centres
        ]
        for last, weights in enumerate(before):
            logits = reference + weights.sum() * rewards
            gradient, hessian = derivatives(rewards, logits)
            covariance = sum(
                w**2 * noise[0] / rho for w, noise in zip(weights, noises, strict=True)
            )
            bias = sum(w * noise[1] / rho for w, noise in zip(weights, noises, strict=True))
            curved = np.trace(hessian @ covariance) / 2
            found[:, last] += [
                rho * (rewards.max() - softmax(logits) @ rewards),
                -rho * (gradient @ bias + curved),
                rho**2 * gradient @ covariance @ gradient,
            ]
    return found


ALPHAS = [0.1, 0.9, 0.3, 0.5]
RULES = {
    "none": (apo.NoMomentum(), extrapolation(lambda t: 0.0)),
    "constant": (apo.Constant(0.8), extrapolation(lambda t: 0.8)),
    "Nesterov": (apo.Nesterov(), extrapolation(lambda t: t / (t + 3))),
    "schedule": (apo.Schedule(jnp.asarray(ALPHAS)), extrapolation(lambda t: ALPHAS[t - 1])),
    "averaging": (Averaging(0.6), averaging(0.6)),
    "from behaviour": (FromBehaviour(0.4), from_behaviour(0.4)),
}


@pytest.mark.parametrize("name", RULES)
def test_the_law_is_that_of_loops_and_differences(name):
    rule, follow = RULES[name]
    rng = np.random.default_rng(len(name))
    reward = rng.uniform(-1, 1, (2, 4))
    log_ref = np.log(rng.dirichlet(np.full(4, 3.0), 2))
    share, betas = np.array([0.3, 0.7]), np.array([1.0, 3.0, 0.7, 2.0])
    law = leading_order(a_bandit(reward, log_ref, share), rule, betas, 4)
    gap, coefficient, variance = by_hand(reward, log_ref, share, *gammas(follow, betas))
    np.testing.assert_allclose(law.exact_gap, gap, rtol=1e-12)
    np.testing.assert_allclose(law.coefficient, coefficient, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(law.variance, variance, rtol=1e-5)


def expectations(lead, mass, beta, samples, bound=2.0):
    """Mean and mean gap of one step on two arms, summed over all data sets."""
    informative: Any = stats.binom(samples, 2 * mass * (1 - mass))
    counts = np.arange(int(informative.ppf(1e-15)), int(informative.ppf(1 - 1e-15)) + 1)
    mean = gap = 0.0
    for count in counts:
        wins = np.arange(count + 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            fitted = np.clip(np.log(wins) - np.log(count - wins), -2 * bound, 2 * bound)
        fitted = np.nan_to_num(fitted)  # without a comparison the policy stays
        weights = informative.pmf(count) * stats.binom.pmf(wins, count, sigmoid(lead))
        logit = np.log(mass / (1 - mass)) + fitted / beta
        mean += weights @ (fitted - lead)
        gap += weights @ (lead * sigmoid(-logit))
    return mean, gap


def test_two_arms_come_out_as_in_the_sum_over_all_data():
    lead, mass, beta = 0.8, 0.3, 1.4
    bandit = a_bandit([[lead, 0.0]], np.log([[mass, 1 - mass]]))
    law = leading_order(bandit, apo.NoMomentum(), beta, 1)
    gradient = lead * (s := sigmoid(np.log(mass / (1 - mass)) + lead / beta)) * (1 - s)
    errors = []
    for samples in (500, 1000, 2000):
        mean, gap = expectations(lead, mass, beta, samples)
        bias = float(law.bias[0]) * -beta / gradient
        assert samples * mean == pytest.approx(bias, rel=20 / samples)
        errors.append(gap - float(law.expected_gap(samples)[0]))
    # What is left falls like 1/N^2.
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.03)
    assert abs(errors[1] * 1000 / float(law.coefficient[0])) < 0.03


@pytest.mark.parametrize("lead", [0.1, 0.7, 2.0])
def test_on_two_arms_one_noisy_step_helps_until_gamma_is_one(lead):
    bandit = a_bandit([[lead, 0.0]], np.log([[0.5, 0.5]]))

    def of(gamma):
        return leading_order(bandit, apo.NoMomentum(), 1 / gamma, 1).coefficient[0]

    found = jax.vmap(of)(jnp.array([0.5, 1.0, 2.0]))
    assert found[0] < 0 < found[2] and abs(found[1]) < 1e-13 * found[2]


def test_a_simulation_by_hand_agrees():
    """Newton's method on counts drawn by NumPy, two contexts, momentum; error bars of the mean."""
    rng = np.random.default_rng(0)
    reward = np.array([[0.6, 0.0, -0.5], [-0.3, 0.4, 0.2]])
    share, beta, alpha, iterations, runs, samples = np.array([0.4, 0.6]), 4.0, 0.7, 3, 4000, 1500
    log_ref = np.log(np.array([[0.3, 0.4, 0.3], [0.5, 0.2, 0.3]]))
    before, centres = gammas(extrapolation(lambda t: alpha), np.full(iterations, beta))
    law = leading_order(a_bandit(reward, log_ref, share), apo.Constant(alpha), beta, iterations)
    pairs = np.array([(0, 1), (0, 2), (1, 2)])
    signs = np.zeros((3, 3))
    signs[np.arange(3), pairs[:, 0]], signs[np.arange(3), pairs[:, 1]] = 1, -1
    held = rng.binomial(samples, share[0], (iterations, runs))
    gap, linear = np.zeros(runs), np.zeros(runs)
    for x in range(2):
        logits = np.tile(log_ref[x], (runs, 1))
        behaviour = old = logits
        lead = signs @ reward[x]
        gradient, _ = derivatives(reward[x], log_ref[x] + before[-1].sum() * reward[x])
        for t in range(iterations):
            count = held[t] if x == 0 else samples - held[t]
            policy = np.exp(behaviour)
            policy /= policy.sum(axis=1, keepdims=True)
            chances = 2 * policy[:, pairs[:, 0]] * policy[:, pairs[:, 1]]
            rest = 1 - chances.sum(axis=1, keepdims=True)
            met = rng.multinomial(count, np.hstack([chances, rest]))[:, :3]
            wins = rng.binomial(met, sigmoid(lead))
            fitted = np.zeros((runs, 3))
            for _ in range(12):
                chance = sigmoid(fitted @ signs.T)
                score = (wins - met * chance) @ signs
                bend = met * chance * (1 - chance)
                matrix = np.einsum("rp,pi,pj->rij", bend, signs, signs) + np.ones((3, 3))
                fitted = fitted + np.linalg.solve(matrix, score[..., None])[..., 0]
            new = behaviour + fitted / beta
            behaviour, old = new + alpha * (new - old), new
            inverse, _ = error_of_rewards(
                reward[x], softmax(log_ref[x] + centres[t].sum() * reward[x])
            )
            # Of mean zero, whatever the policy: it takes off most of the noise.
            score = (wins - met * sigmoid(lead)) @ signs
            linear -= before[-1, t] * (score @ inverse @ gradient) / samples
        policy = np.exp(old - old.max(axis=1, keepdims=True))
        gap += share[x] * (reward[x].max() - policy @ reward[x] / policy.sum(axis=1))
    effect = samples * (gap - linear - float(law.exact_gap[-1]))
    error = effect.std() / np.sqrt(runs)
    coefficient = float(law.coefficient[-1])
    assert bool(law.valid(samples)[-1])
    assert error < 0.1 * abs(coefficient)
    assert abs(effect.mean() - coefficient) < 4 * error
    assert samples * gap.var() == pytest.approx(float(law.variance[-1]), rel=0.1)


def test_rare_arms_keep_their_digits():
    reward, log_ref = [0.3, 0.9, -0.4], np.array([0.0, -60.0, -45.0])
    bandit = a_bandit([reward], jax.nn.log_softmax(log_ref)[None])
    law = leading_order(bandit, apo.NoMomentum(), 0.1, 1)
    with mpmath.workdps(120):
        weights = [mpmath.e ** mpmath.mpf(x) for x in log_ref]
        first = [w / sum(weights) for w in weights]
        moved = [p * mpmath.e ** (10 * mpmath.mpf(r)) for p, r in zip(first, reward, strict=True)]
        last = [w / sum(moved) for w in moved]
        apart = lambda i, j: mpmath.mpf(reward[i]) - mpmath.mpf(reward[j])  # noqa: E731
        slope = lambda d: 1 / (2 + mpmath.e**d + mpmath.e ** (-d))  # noqa: E731
        laplacian = mpmath.matrix(3)
        for i in range(3):
            for j in range(3):
                if i != j:
                    weight = 2 * first[i] * first[j] * slope(apart(i, j))
                    laplacian[i, i] += weight
                    laplacian[i, j] -= weight
        # With the first arm at rest, any generalised inverse will do.
        inverse = mpmath.matrix(3)
        inverse[1:, 1:] = mpmath.inverse(laplacian[1:, 1:])
        push = mpmath.matrix(3, 1)
        for i in range(3):
            for j in range(3):
                d = apart(i, j)
                bend = -slope(d) * mpmath.tanh(d / 2)
                variance = inverse[i, i] + inverse[j, j] - 2 * inverse[i, j]
                push[i] -= first[i] * first[j] * bend * variance
        bias = 10 * inverse * push
        value = sum(p * mpmath.mpf(r) for p, r in zip(last, reward, strict=True))
        gradient = [p * (mpmath.mpf(r) - value) for p, r in zip(last, reward, strict=True)]
        curved = sum(gradient[i] * inverse[i, i] for i in range(3))
        curved -= 2 * sum(last[i] * inverse[i, j] * gradient[j] for i in range(3) for j in range(3))
        exact = -(sum(gradient[i] * bias[i] for i in range(3)) + 50 * curved)
    assert float(law.coefficient[0]) == pytest.approx(float(exact), rel=1e-10)
    assert not law.valid(1e12)[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_number_is_lost_where_the_policy_has_converged(dtype):
    log_ref = jax.nn.log_softmax(np.array([[0.0, -3.0, -60.0, -900.0]], dtype))
    bandit = a_bandit(np.array([[0.3, 0.1, 0.9, -1.0]], dtype), log_ref)
    law = leading_order(bandit, apo.Constant(0.9), 0.02, 30)
    for name in ("exact_gap", "coefficient", "variance", "spread", "reward_variance"):
        assert not np.isnan(getattr(law, name)).any(), name
    assert not law.valid(1e9).any()


def test_jit_and_vmap_change_nothing():
    rng = np.random.default_rng(1)
    rewards = rng.uniform(-1, 1, (3, 1, 4))
    log_ref = jnp.full((1, 4), -jnp.log(4.0))

    @jax.jit
    def of(reward, alpha, beta):
        return leading_order(a_bandit(reward, log_ref), apo.Constant(alpha), beta, 5)

    together = jax.vmap(of)(rewards, jnp.array([0.0, 0.5, 0.9]), jnp.array([1.0, 2.0, 5.0]))
    alone = leading_order(a_bandit(rewards[1], log_ref), apo.Constant(0.5), 2.0, 5)
    for name in ("exact_gap", "coefficient", "variance", "spread", "reward_variance"):
        np.testing.assert_allclose(getattr(together, name)[1], getattr(alone, name), rtol=1e-9)


def test_shorter_runs_are_the_beginning_of_longer_ones_and_idle_contexts_do_not_count():
    reward, log_ref = np.array([[0.5, -0.5, 0.1], [0.2, 0.9, -0.9]]), np.full((2, 3), -np.log(3))
    long = leading_order(a_bandit(reward, log_ref, [1.0, 0.0]), apo.Constant(0.5), 2.0, 6)
    short = leading_order(a_bandit(reward[:1], log_ref[:1]), apo.Constant(0.5), 2.0, 4)
    for name in ("coefficient", "variance", "exact_gap", "bias", "spread"):
        np.testing.assert_allclose(getattr(long, name)[:4], getattr(short, name), rtol=1e-12)


def test_the_index_falls_with_samples_and_the_bound_has_to_leave_room():
    bandit = a_bandit([[0.5, -0.5, 0.1]], np.full((1, 3), -np.log(3)))
    law = leading_order(bandit, apo.Constant(0.5), 5.0, 4)
    enough = float(law.spread.max()) / TRUSTED
    assert law.valid(1.01 * enough).all() and not law.valid(0.99 * enough).all()
    deviation = np.sqrt(float(law.reward_variance.max()) / (1.01 * enough))
    for deviations, free in ((3.9, False), (4.1, True)):
        bound = 0.5 * (1.0 + deviations * deviation)
        assert bool(law.valid(1.01 * enough, reward_bound=bound).all()) == free
    np.testing.assert_allclose(
        law.expected_gap(100.0), np.asarray(law.exact_gap) + np.asarray(law.coefficient) / 100
    )
    np.testing.assert_allclose(law.deviation(100.0), np.sqrt(np.asarray(law.variance)) / 10)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (
            {
                "problem": apo.Game(
                    jnp.array([[[0.5, 0.9], [0.1, 0.5]]]), jnp.log(jnp.array([[0.5, 0.5]]))
                )
            },
            "problem",
        ),
        ({"momentum": apo.Constant}, "momentum"),
        ({"momentum": 0.3}, "momentum"),
        ({"momentum": apo.Schedule(jnp.array([0.1, 0.2]))}, "momentum"),
        ({"beta": 0.0}, "beta"),
        ({"beta": [1.0, 2.0]}, "beta"),
        ({"iterations": 0}, "iterations"),
        ({"iterations": 10**9}, "iterations"),
    ],
)
def test_refusals(changed, named):
    good = {
        "problem": a_bandit([[0.5, 0.0]], np.log([[0.5, 0.5]])),
        "momentum": apo.Constant(0.3),
        "beta": 1.0,
        "iterations": 3,
    }
    with pytest.raises(InvalidArgument, match=f"^{named} = "):
        leading_order(**{**good, **changed})


def test_samples_and_bounds_that_are_none_are_refused():
    law = leading_order(a_bandit([[0.5, 0.0]], np.log([[0.5, 0.5]])), apo.NoMomentum(), 1.0, 1)
    for call in (law.expected_gap, law.deviation, law.index, law.valid):
        with pytest.raises(InvalidArgument, match=r"^samples = "):
            call(0)
    with pytest.raises(InvalidArgument, match=r"^reward_bound = "):
        law.valid(100, reward_bound=-1.0)
