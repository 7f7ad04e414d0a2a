"""Training of parameterised policies against `run`, and where its inner training goes wrong."""

import dataclasses
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

import apo_sim as apo
from apo_sim import families, loop
from apo_sim.methods import TrainingDiverged
from apo_sim.policies import MLP, LogLinear, Policy, Recurrent, Table
from apo_sim.preferences import draw_pairs
from apo_sim.training import SERIES

KEY = jax.random.key(5)
RNG = np.random.default_rng(0)
CONTEXTS, ARMS = 2, 4
# They take NumPy arrays too, which their fields' types, of what they hold, do not say.
Bandit: Any = apo.Bandit
Game: Any = apo.Game
LOG_REF = scipy.special.log_softmax(0.5 * RNG.normal(size=(CONTEXTS, ARMS)), axis=1)
BANDIT = Bandit(RNG.uniform(-1, 1, (CONTEXTS, ARMS)), LOG_REF, [0.4, 0.6])
SKEW = np.triu(RNG.uniform(-0.4, 0.4, (CONTEXTS, ARMS, ARMS)), 1)
GAME = Game(0.5 + SKEW - np.swapaxes(SKEW, 1, 2), LOG_REF, [0.4, 0.6])
TABLE = Table(CONTEXTS, ARMS)
SPACE = apo.InParameters()
ACTIONS = jnp.asarray(RNG.normal(size=(CONTEXTS, ARMS, 3)))


def hinge(h_winner, h_loser, extra):
    return jax.nn.softplus(2.0 * (1.0 - (h_winner - h_loser)))


LOSSES = {"dpo": apo.DPO(), "ipo": apo.IPO(), "sppo": apo.SPPO(), "own": hinge}


def params_of(policy, scale=0.5):
    """Parameters drawn by NumPy, which has nothing to compile."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(policy.init, KEY)
    return jax.tree.map(lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape)), shapes)


def trained(problem=BANDIT, policy: Policy = TABLE, key=KEY, **settings) -> Any:
    """`train` as one program, in which every operation is not compiled by itself."""
    settings = {"beta": 1.0, "save": "path", "params": params_of(policy), **settings}
    return jax.jit(lambda key: apo.train(problem, policy, key=key, **settings))(key)


def tv(one, other):
    """Total variation at every point of two paths, in the context where it is largest."""
    return 0.5 * np.abs(np.exp(one) - np.exp(other)).sum(axis=2).max(axis=1)


# Spaces: parameters of log-linear policies


@pytest.mark.parametrize("name", LOSSES)
def test_log_linear_policies_extrapolate_alike_in_both_spaces(name):
    bandit = families.uniform_bandit(jax.random.key(1), contexts=3, arms=6)
    features = jnp.asarray(RNG.normal(size=(3, 6, 4)))

    def paths(policy):
        settings = {
            "iterations": 50,
            "loss": LOSSES[name],
            "momentum": apo.Constant(0.5),
            "step": apo.ByGradient(apo.SGD(0.1), steps=10),
        }
        return [
            np.asarray(trained(bandit, policy, space=space, **settings).log_policy)
            for space in (apo.InParameters(), apo.InLogProbabilities())
        ]

    one, other = paths(LogLinear(features))
    assert tv(one, one[:1])[-1] > 0.1  # it went somewhere
    assert np.abs(one - other).max() < 1e-8
    if name == "dpo":  # the control: a network with one hidden layer
        one, other = paths(MLP(features, width=4))
        assert np.abs(one - other).max() > 1e-3


# Networks and tables that are trained to tolerance


def test_a_large_network_follows_the_table():
    """With and without momentum; the control is not trained to the end."""
    actions = families.lattice(5)
    policy = MLP(actions, width=64)
    params = policy.init(jax.random.key(1))
    ring = dataclasses.replace(
        families.ring_bandit(actions, 0.6, 0.3), log_ref=policy.log_prob(params)
    )
    settings = {"beta": 1.0, "iterations": 20, "save": "path"}

    @jax.jit
    @jax.vmap
    def found(alpha, tolerance):
        return apo.train(
            ring,
            policy,
            momentum=apo.Constant(alpha),
            space=apo.InLogProbabilities(),
            step=apo.ByGradient(apo.AdamW(0.01), steps=5000, tolerance=tolerance),
            key=KEY,
            params=params,
            **settings,
        )

    alphas, tolerances = jnp.array([0.0, 0.3, 0.3]), jnp.array([3e-4, 3e-4, 3e-2])
    lanes = found(alphas, tolerances)
    exact: list[Any] = [
        apo.run(ring, momentum=apo.Constant(alpha), **settings).log_policy
        for alpha in alphas.tolist()
    ]
    apart = np.array([tv(*paths) for paths in zip(lanes.log_policy, exact, strict=True)])
    assert apart.shape == (3, 21) and apart[:, 0].max() < 1e-12
    assert apart[:2].max() < 0.02 < apart[2].max()
    assert np.asarray(lanes.gradient)[:2].max() <= 3e-4
    assert np.asarray(lanes.kl_to_exact).max() < 1e-12
    # They went far, and not the same way.
    assert tv(exact[0], exact[0][:1])[-1] > 0.5 and tv(exact[0], exact[1]).max() > 0.05


TO_THE_END = apo.ByGradient(apo.SGD(0.5, 0.9), steps=20_000, tolerance=1e-9)
RULES = [apo.Nesterov(), apo.Averaging(0.5), apo.FromBehaviour(0.4), apo.NoMomentum()]


@pytest.mark.parametrize(
    ("loss", "rule", "problem"),
    [
        *((loss, apo.Schedule(jnp.array([0.1, 0.5, 0.7])), GAME) for loss in LOSSES.values()),
        *zip([apo.SPPO(), apo.DPO(), apo.IPO(), apo.DPO()], RULES, [BANDIT] * 4, strict=True),
    ],
    ids=[*LOSSES, *(type(rule).__name__ for rule in RULES)],
)
def test_a_table_is_the_tabular_run(loss, rule, problem):
    settings = {"loss": loss, "momentum": rule, "beta": jnp.array([0.7, 2.0, 1.0])}
    exact = apo.run(problem, iterations=3, save="path", **settings)
    found = trained(problem, iterations=3, step=TO_THE_END, **settings)
    for name in ("log_policy", "behaviour", "suboptimality", "tv"):
        np.testing.assert_allclose(getattr(found, name), getattr(exact, name), atol=1e-5)
    assert np.asarray(found.gradient).max() <= 1e-9


def test_win_counts_are_those_of_run():
    bandit = Bandit([[0.5, 0.0, -0.5]], np.log([[0.2, 0.3, 0.5]]))
    settings = {"momentum": apo.Constant(0.5), "iterations": 2, "samples": 10_000}
    to_data = jax.random.split(KEY)[1]
    paths: list[Any] = [
        apo.run(bandit, beta=1.0, key=key, reward_bound=20.0, save="path", **settings).log_policy
        for key in (to_data, KEY)
    ]
    found = trained(bandit, Table(1, 3), step=TO_THE_END, **settings)
    np.testing.assert_allclose(found.log_policy, paths[0], atol=1e-5)
    assert np.abs(np.asarray(found.log_policy) - paths[1]).max() > 1e-3  # the control: other labels


@pytest.mark.parametrize("batch", [None, 3])
def test_few_pairs_are_drawn_one_by_one(batch):
    """The gradient of the first step, from the pairs themselves: -beta/2 (winner - loser)."""
    step = apo.ByGradient(apo.SGD(0.1), steps=1, batch=batch)
    found = trained(step=step, samples=ARMS**2, iterations=1, beta=3.0)
    key = jax.random.fold_in(jax.random.split(KEY)[1], 0)
    pairs = draw_pairs(key, apo.Pairwise(), BANDIT, BANDIT.log_ref, ARMS**2)
    context, winner, loser = (np.asarray(row)[:batch] for row in pairs)
    gradient = np.zeros((CONTEXTS, ARMS))
    np.add.at(gradient, (context, winner), -1.5 / len(winner))
    np.add.at(gradient, (context, loser), 1.5 / len(winner))
    assert float(found.gradient[0]) == pytest.approx(np.linalg.norm(gradient), rel=1e-10)
    expected = scipy.special.log_softmax(LOG_REF - 0.1 * gradient, axis=1)
    np.testing.assert_allclose(found.log_policy[1], expected, atol=1e-10)


# What a run measures


@pytest.fixture(scope="module")
def network_run():
    rule, step = apo.Constant(0.8), apo.ByGradient(apo.AdamW(0.05), steps=20)
    return trained(BANDIT, MLP(ACTIONS, width=8), momentum=rule, step=step, iterations=5)


def test_series_are_those_of_the_path(network_run):
    before, after = np.asarray(network_run.log_policy), np.asarray(network_run.behaviour)
    probs, reward = np.asarray(BANDIT.context_probs), np.asarray(BANDIT.reward)

    def mean(values):
        return values.sum(axis=2) @ probs

    def kl(log_p, log_q):
        return mean(scipy.special.rel_entr(np.exp(log_p), np.exp(log_q)))

    regret = reward.max(axis=1, keepdims=True) - reward
    exact = scipy.special.log_softmax(before[1:] + 0.8 * (before[1:] - before[:-1]), axis=2)
    expected = {
        "suboptimality": mean(np.exp(before[1:]) * regret),
        "behaviour_suboptimality": mean(np.exp(after[1:]) * regret),
        "tv": mean(np.exp(before[1:]) * (regret > 0)),
        "moved": kl(before[1:], after[:-1]),
        "kl_to_exact": kl(exact, after[1:]),
        "tv_to_exact": mean(0.5 * np.abs(np.exp(exact) - np.exp(after[1:]))),
        "loss_before": np.full(5, np.log(2)),  # of DPO, where all scores are 0
        "steps": np.full(5, 20),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(network_run, name), values, rtol=1e-8, err_msg=name)
    assert np.all(np.asarray(network_run.loss_after) < np.log(2))
    assert np.asarray(network_run.kl_to_exact).min() > 1e-5
    assert {"suboptimality", "tv", *network_run.series} == {*SERIES}


def test_a_run_starts_at_the_reference_wherever_the_network_is(network_run):
    np.testing.assert_allclose(network_run.log_policy[0], LOG_REF, atol=1e-12)
    np.testing.assert_allclose(network_run.behaviour[0], LOG_REF, atol=1e-12)
    assert float(np.ptp(network_run.state.offset)) > 0.1
    policy = MLP(ACTIONS, width=8)
    params = params_of(policy)
    own = dataclasses.replace(BANDIT, log_ref=policy.log_prob(params))
    method = apo.methods.Proximal(fit=apo.methods.OnNetwork(policy, space=SPACE, params=params))
    state = loop.begin(own, method, KEY)
    np.testing.assert_allclose(state.offset, 0.0, atol=1e-12)


def test_divergence_of_policies_far_apart():
    """Where the exponential of the difference overflows and the probability is 0."""
    log_p = np.array([[0.0, -2000.0, -50.0], [-1e-9, np.log(1e-9), -900.0]])
    log_q = np.array([[-700.0, -30.0, 0.0], [-1e-9, np.log(1e-9), -20.0]])
    found = np.asarray(apo.KL().divergence(jnp.asarray(log_p), jnp.asarray(log_q)))
    p, q = np.exp(log_p), np.exp(log_q)
    np.testing.assert_allclose(found, (p * (log_p - log_q) + q - p).sum(axis=1), rtol=1e-12)
    # Near each other, nothing cancels: p (e^-a - 1 + a) is p a^2 / 2.
    near = apo.KL().divergence(
        jnp.log(jnp.full((1, 4), 0.25)), jnp.log(jnp.full((1, 4), 0.25)) + 1e-7
    )
    assert float(near[0]) == pytest.approx(0.5e-14, rel=1e-5)


def test_sequences_in_the_space_of_their_tokens():
    policy = Recurrent(2, 2, width=3)
    bandit = families.uniform_bandit(jax.random.key(2), 1, 4)
    step = apo.ByGradient(apo.AdamW(0.05), steps=20)
    settings = {"space": apo.InTokens(), "momentum": apo.Constant(0.9), "step": step}
    found = trained(bandit, policy, iterations=3, **settings)
    assert np.all(np.diff(found.suboptimality) < 0)
    assert float(found.kl_to_exact.min()) > 1e-8
    np.testing.assert_allclose(np.exp(found.behaviour).sum(axis=2), 1.0, rtol=1e-12)


# Bits


INTERRUPTED: dict[str, Any] = {
    "beta": jnp.linspace(1.0, 2.0, 6),
    "samples": 30,
    "momentum": apo.Schedule(jnp.linspace(0.2, 0.7, 6)),
    "step": apo.ByGradient(apo.SGD(0.2, 0.9), steps=5, batch=7, keep_state=True),
    "save": "path",
}


def test_a_continued_run_is_the_same_to_the_last_bit():
    whole: Any = apo.train(BANDIT, TABLE, key=KEY, iterations=6, **INTERRUPTED)
    halves: list[Any] = []
    for half in (slice(0, 3), slice(3, 6)):
        settings = {**INTERRUPTED, "beta": INTERRUPTED["beta"][half], "iterations": 3}
        begin: dict[str, Any] = {"state": halves[0].state} if halves else {"key": KEY}
        halves.append(apo.train(BANDIT, TABLE, **settings, **begin))
    for name in SERIES:
        joined = np.concatenate([getattr(part, name) for part in halves])
        np.testing.assert_array_equal(joined, getattr(whole, name), err_msg=name)
    np.testing.assert_array_equal(halves[1].log_policy, whole.log_policy[3:])
    last = [dataclasses.replace(run.state, key=0) for run in (halves[1], whole)]
    assert int(last[0].t) == 6
    jax.tree.map(np.testing.assert_array_equal, *last)


def test_lanes_of_vmap_are_single_runs():
    """Over a problem, a rule, beta, an optimiser and a tolerance."""

    def one(reward, alpha, beta, rate, tolerance):
        return apo.train(
            dataclasses.replace(BANDIT, reward=reward),
            TABLE,
            momentum=apo.Constant(alpha),
            beta=beta,
            iterations=3,
            step=apo.ByGradient(apo.SGD(rate), steps=30, tolerance=tolerance),
            key=KEY,
        )

    settings = (
        jnp.stack([BANDIT.reward, -BANDIT.reward]),
        *jnp.array([[0.0, 0.7], [1.0, 2.0], [0.5, 0.2], [1e-2, 1e-4]]),
    )
    lanes = jax.jit(jax.vmap(one))(*settings)
    single = jax.jit(one)
    for lane in range(2):
        found = single(*(values[lane] for values in settings))
        for name in SERIES:
            expected = getattr(found, name)
            np.testing.assert_allclose(getattr(lanes, name)[lane], expected, rtol=1e-9, atol=1e-14)
    assert float(abs(lanes.suboptimality[0] - lanes.suboptimality[1]).max()) > 1e-4


# Divergence


def test_divergence_is_reported_with_its_iteration_and_the_remedy():
    step = apo.ByGradient(apo.SGD(0.1), steps=20)
    beta = [1.0, 1.0, 200.0, 1.0]  # at which the curvature of IPO is 40,000 times as large
    settings: dict[str, Any] = {"loss": apo.IPO(), "iterations": 4, "key": KEY}
    assert np.isfinite(
        apo.train(BANDIT, TABLE, step=step, beta=1.0, **settings).suboptimality
    ).all()
    with pytest.raises(
        TrainingDiverged, match=r"SGD.* diverges in iteration 3; lower the learn"
    ) as e:
        apo.train(BANDIT, TABLE, step=step, beta=beta, **settings)
    assert e.value.iteration == 3 and e.value.argument == "step"
    again = pickle.loads(pickle.dumps(e.value))
    assert (again.iteration, str(again)) == (3, str(e.value))
    # The remedy is one.
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1e-3))
    remedied = apo.train(BANDIT, TABLE, step=apo.ByGradient(clipped, 20), beta=beta, **settings)
    assert np.isfinite(remedied.suboptimality).all()


def test_a_lane_that_diverges_stops_and_says_so():
    @jax.jit
    @jax.vmap
    def lanes(rate):
        return apo.train(
            BANDIT,
            TABLE,
            loss=apo.IPO(),
            momentum=apo.Constant(0.5),
            beta=jnp.array([1.0, 1.0, 1.0, 50.0, 1.0]),
            iterations=5,
            step=apo.ByGradient(apo.SGD(rate), 30, tolerance=1e-6),
            key=KEY,
            save="path",
        )

    found = lanes(jnp.array([1e-5, 1e-2, 1e6]))
    assert found.state.diverged.tolist() == [0, 4, 1]
    for leaf in jax.tree.leaves(dataclasses.replace(found, state=found.state.params)):
        assert np.isfinite(leaf).all()
    # From there on the policy stays what it was.
    paths = np.asarray(found.log_policy)
    assert np.all(np.diff(paths[0], axis=0).any(axis=(1, 2)))
    assert np.diff(paths[1], axis=0).any(axis=(1, 2)).tolist() == [True] * 3 + [False] * 2
    assert not np.diff(paths[2], axis=0).any()
    for name in ("moved", "loss_after", "kl_to_exact", "steps"):
        assert np.asarray(getattr(found, name))[1, 3:].tolist() == [0, 0]


def test_a_loss_that_is_no_number_reaches_no_series():
    def broken(h_winner, h_loser, extra):
        return jnp.where(h_winner - h_loser > 0.3, jnp.nan, apo.DPO()(h_winner, h_loser, extra))

    found = trained(step=apo.ByGradient(apo.SGD(1.0), steps=5), loss=broken, iterations=3)
    assert int(found.state.diverged) == 1
    for leaf in jax.tree.leaves(dataclasses.replace(found, state=found.state.params)):
        assert np.isfinite(leaf).all()
