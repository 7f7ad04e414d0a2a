"""Games by hand for the tests of methods: rules in NumPy, equilibria from SciPy, rates of errors.

Policies are probabilities here, and contexts and arms are gone through one by one.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import root

import apo_sim as apo
from apo_sim import families
from apo_sim.loop import begin
from apo_sim.methods import CountedPairs

KEY = jax.random.key(11)
GAME = families.random_game(
    jax.random.key(3), log_ref=families.dirichlet_reference(jax.random.key(4), 2, 4, 2.0)
)
CYCLE = families.rock_paper_scissors(
    1.0, log_ref=jnp.log(jnp.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]]))
)
SIZES = np.array([1_000, 8_000, 64_000])
SEEDS = 400
FEW = 6.0


def normalised(weights):
    return weights / weights.sum(axis=1, keepdims=True)


def reference(game):
    return np.exp(np.asarray(game.log_ref))


def rates_by_hand(game, policy):
    """P(y > policy), one comparison at a time."""
    preference = np.asarray(game.preference)
    rates = np.zeros(policy.shape)
    for x, y, other in np.ndindex(preference.shape):
        rates[x, y] += preference[x, y, other] * policy[x, other]
    return rates


def shares_by_hand(wins):
    """The share of its comparisons that each arm won."""
    shares = np.full(wins.shape[:2], 0.5)
    for x, y in np.ndindex(shares.shape):
        won, lost = wins[x, y].sum(), wins[x, :, y].sum()
        if won + lost:
            shares[x, y] = won / (won + lost)
    return shares


def play(rule, game, iterations, samples=None):
    """The policies that a rule goes through, and where its data come from; both from the start.

    A rule has `policy`, `asked` and `learn(rates, t)`.
    """
    policies, asked = [rule.policy], [rule.asked]
    for t in range(iterations):
        if samples is None:
            rates = rates_by_hand(game, rule.asked)
        else:
            data = _draw(jax.random.fold_in(KEY, t), game, jnp.log(rule.asked), samples)
            rates = shares_by_hand(np.asarray(data.wins))
        rule.learn(rates, t)
        policies.append(rule.policy)
        asked.append(rule.asked)
    return np.stack(policies), np.stack(asked)


_draw = jax.jit(CountedPairs().draw)


NO_STEP = [0.0, -1.0, float("nan"), float("inf"), [0.5, 0.0], [[0.5]], "fast", None]
NO_SHARE = [*NO_STEP, 1.5]
NO_RANKER = [apo.Pairwise, "pairs", None]


def check_by_hand(rule, method, game=GAME, iterations=4):
    """A run goes through the policies of the rule; returns the run."""
    run = apo.solve(game, method, iterations=iterations, save="path")
    policies, asked = play(rule, game, iterations)
    np.testing.assert_allclose(jnp.exp(run.path.log_policy), policies, rtol=1e-9)
    np.testing.assert_allclose(jnp.exp(run.path.behaviour), asked, rtol=1e-9)
    return run


def check_samples_by_hand(rule, method, game=GAME, iterations=4):
    """So do the method's steps on a few pairs, with arms among them that were never drawn."""
    policies, asked = play(rule, game, iterations, FEW)
    state = method.init(game, None)
    for t in range(iterations):
        data = _draw(jax.random.fold_in(KEY, t), game, method.behaviour(state), FEW)
        state, _ = method.step(game, state, data, jnp.asarray(t))
        np.testing.assert_allclose(jnp.exp(method.policy(state)), policies[t + 1], rtol=1e-9)
        np.testing.assert_allclose(jnp.exp(method.behaviour(state)), asked[t + 1], rtol=1e-9)


def check_continued(method, half=2):
    """A run in two parts is the whole run, to the last bit."""
    whole = apo.solve(GAME, method, iterations=2 * half, save="path")
    start = apo.solve(GAME, method, iterations=half, save="path")
    rest = apo.solve(GAME, method, iterations=half, state=start.state, save="path")
    for name in ("log_policy", "behaviour"):
        parts = getattr(start.path, name)[:-1], getattr(rest.path, name)
        np.testing.assert_array_equal(np.concatenate(parts), getattr(whole.path, name))
    jax.tree.map(np.testing.assert_array_equal, rest.state.method, whole.state.method)


def check_rate(method, iterations=3):
    """The squared error to the exact run falls as 1 / n, within four standard errors."""
    exact = jnp.exp(apo.solve(GAME, method, iterations=iterations).final_log_policy)

    def squared_error(key, samples):
        run = apo.solve(GAME, method, iterations=iterations, samples=samples, key=key)
        return jnp.sum((jnp.exp(run.final_log_policy) - exact) ** 2)

    # One row of all runs: a second jax.vmap would trace everything once more.
    keys = jax.random.split(KEY, (len(SIZES), SEEDS)).reshape(-1)
    errors = jax.jit(jax.vmap(squared_error))(keys, np.repeat(SIZES.astype(float), SEEDS))
    errors = np.asarray(errors).reshape(len(SIZES), SEEDS)
    mean = errors.mean(axis=1)
    deviation = errors.std(axis=1) / mean / np.sqrt(SEEDS)  # of the logarithm of the mean
    x = np.log(SIZES) - np.log(SIZES).mean()
    slope = x @ np.log(mean) / (x @ x)
    slack = 4.0 * np.sqrt(np.sum((x * deviation) ** 2)) / (x @ x)
    assert slack < 0.1
    assert abs(slope + 1.0) < slack


def equilibrium(game, price):
    """The policy of the game in which either player pays price * KL(policy, reference)."""
    found = []
    for preference, log_ref in zip(*map(np.asarray, (game.preference, game.log_ref)), strict=True):

        def residual(logits, preference=preference, log_ref=log_ref):
            policy = np.exp(logits - np.logaddexp.reduce(logits))
            reply = log_ref + preference @ policy / price
            return logits - reply + np.mean(reply - log_ref)

        solved = root(residual, log_ref, tol=1e-14)
        assert np.abs(residual(solved.x)).max() < 1e-10
        found.append(np.exp(solved.x - np.logaddexp.reduce(solved.x)))
    return np.stack(found)


def divergences(policy, others):
    """KL(policy, other) in each context, of every policy of a path."""
    return np.sum(policy * (np.log(policy) - np.asarray(others)), axis=-1)


def check_refused(cls: Any, name, value):
    """What is out of range is refused by name, before anything is compiled."""
    with pytest.raises(apo.InvalidArgument, match=f"^{name} = "):
        cls(**{name: value})


def check_short(cls: Any, name):
    """A schedule that ends before the run does is refused, also where the run is continued."""
    method = cls(**{name: np.full(3, 0.5)})
    with pytest.raises(apo.InvalidArgument, match=rf"^{name} = .* ends before iteration 4"):
        apo.solve(GAME, method, iterations=4)
    begun = dataclasses.replace(begin(GAME, method, None), t=jnp.array(3))
    with pytest.raises(apo.InvalidArgument, match=rf"^{name} = .* ends before iteration 4"):
        apo.solve(GAME, method, iterations=1, state=begun)
