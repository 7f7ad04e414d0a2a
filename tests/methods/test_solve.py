"""One loop for every method: resumption, accumulated data, methods of a user, what is kept."""

import copy
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim import families
from apo_sim.methods import CountedPairs, OnNetwork, OnTable, Proximal, Report, SingleLabels

BANDIT = families.uniform_bandit(jax.random.key(0), contexts=2, arms=3)
KEY = jax.random.key(1)
ANY: Any = Proximal
# For arguments that no type checker lets through.
UNTYPED_SOLVE: Any = apo.solve
UNTYPED_RUN: Any = apo.run
CONTINUED = [
    (apo.KL(), None),
    (apo.KL(), 40),
    (apo.Tsallis(), None),
    (apo.Euclidean(), None),
    (apo.Euclidean(lazy=False), 40),
]


def equal(first: Any, second: Any) -> None:
    """Two trees, to the last bit; keys by their numbers."""

    def plain(leaf):
        is_key = jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if is_key else leaf

    jax.tree.map(np.testing.assert_array_equal, *(jax.tree.map(plain, t) for t in (first, second)))


class Hedge:
    """Weights that grow with net wins: no loss, no rule, no geometry."""

    def __init__(self, accumulated: bool = False):
        self.request = CountedPairs(accumulated=accumulated)

    def init(self, problem, key):
        assert key is None
        return problem.log_ref

    def step(self, problem, log_policy, data, t):
        net = (data.wins.sum(axis=2) - data.wins.sum(axis=1)) / data.wins.sum()
        series = {"pairs": data.wins.sum(), "number": t}
        return jax.nn.log_softmax(log_policy + net, axis=1), Report(series=series)

    def policy(self, log_policy):
        return log_policy

    behaviour = policy


def test_run_and_train_are_facades():
    """The same method, called by its name, gives the same numbers to the last bit."""
    settings = {"iterations": 4, "samples": 50, "key": KEY, "save": ("path", "average")}
    rule, bound = apo.Constant(0.3), 1.5
    beta = jnp.linspace(1.0, 2.0, 4)
    method = Proximal(apo.IPO(0.5), rule, beta=beta, fit=OnTable(bound))
    solved = apo.solve(BANDIT, method, **settings)
    ran = apo.run(BANDIT, apo.IPO(0.5), rule, beta=beta, reward_bound=bound, **settings)
    equal(solved, ran)
    table = apo.policies.Table(2, 3)
    step = apo.ByGradient(apo.SGD(0.5), steps=5)
    method = Proximal(momentum=rule, beta=2.0, fit=OnNetwork(table, step))
    settings |= {"save": "path"}
    solved = apo.solve(BANDIT, method, **settings)
    equal(solved, apo.train(BANDIT, table, momentum=rule, beta=2.0, step=step, **settings))


@pytest.mark.parametrize(("geometry", "samples"), CONTINUED)
def test_a_continued_run_is_the_same_to_the_last_bit(geometry, samples):
    settings: dict[str, Any] = {"save": ("path", "average"), "samples": samples}
    alphas, betas = jnp.linspace(0.1, 0.5, 6), jnp.linspace(1.0, 3.0, 6)
    method = Proximal(momentum=apo.Schedule(alphas), geometry=geometry, beta=betas)
    whole = apo.solve(BANDIT, method, iterations=6, key=KEY, **settings)
    half = apo.solve(BANDIT, dataclasses.replace(method), iterations=6, key=KEY, **settings)
    equal(whole, half)
    first = apo.solve(
        BANDIT,
        Proximal(momentum=apo.Schedule(alphas[:2]), geometry=geometry, beta=betas[:2]),
        iterations=2,
        key=KEY,
        **settings,
    )
    rest = apo.solve(
        BANDIT,
        dataclasses.replace(method, beta=betas[2:], first=2),
        iterations=4,
        state=first.state,
        **settings,
    )
    for name in ("suboptimality", "tv", "gamma", "residual", "average_suboptimality"):
        joined = np.concatenate([getattr(first, name), getattr(rest, name)])
        np.testing.assert_array_equal(joined, getattr(whole, name), err_msg=name)
    np.testing.assert_array_equal(rest.path.log_policy, whole.path.log_policy[2:])
    equal(rest.state.method, whole.state.method)
    assert int(rest.state.t) == 6


def test_a_method_of_a_user():
    found = apo.solve(BANDIT, Hedge(), iterations=30, samples=2_000, key=KEY, save="path")
    assert found.suboptimality.shape == (30,)
    assert float(found.suboptimality[-1]) < 0.5 * float(found.suboptimality[0])
    assert found.pairs.tolist() == [2_000.0] * 30
    assert found.number.tolist() == list(range(30))
    assert found.path.log_policy.shape == (31, 2, 3) and found.path.rewards is None
    with pytest.raises(AttributeError, match="does not record gamma; it records"):
        _ = found.gamma


def test_accumulated_data_are_added_up():
    found = apo.solve(BANDIT, Hedge(accumulated=True), iterations=5, samples=10, key=KEY)
    assert found.pairs.tolist() == [10.0, 20.0, 30.0, 40.0, 50.0]
    fresh = apo.solve(BANDIT, Hedge(), iterations=5, samples=10, key=KEY)
    # The first data are the same, and the sum is that of the counts drawn on the way.
    np.testing.assert_array_equal(found.suboptimality[0], fresh.suboptimality[0])
    half = apo.solve(BANDIT, Hedge(accumulated=True), iterations=2, samples=10, key=KEY)
    rest = apo.solve(
        BANDIT, Hedge(accumulated=True), iterations=3, samples=10, key=KEY, state=half.state
    )
    np.testing.assert_array_equal(rest.pairs, found.pairs[2:])
    np.testing.assert_array_equal(rest.final_log_policy, found.final_log_policy)


def test_exact_laws_are_added_up_too():
    found = apo.solve(BANDIT, Hedge(accumulated=True), iterations=3)
    np.testing.assert_allclose(found.pairs, [1.0, 2.0, 3.0], rtol=1e-12)


def test_single_labels_are_those_of_pairs():
    law = SingleLabels().exact(BANDIT, BANDIT.log_ref)
    cells = apo.Pairwise().cells(BANDIT, BANDIT.log_ref) * BANDIT.context_probs[:, None, None]
    np.testing.assert_allclose(law.desirable, 0.5 * cells.sum(axis=2), rtol=1e-14)
    np.testing.assert_allclose(law.undesirable, 0.5 * cells.sum(axis=1), rtol=1e-14)


class Blowing(Hedge):
    """Reports after the third iteration that it went wrong."""

    def step(self, problem, log_policy, data, t):
        new, report = super().step(problem, log_policy, data, t)
        return new, dataclasses.replace(report, sane=t < 3)


def test_a_run_that_goes_wrong_stays_where_it_was():
    with pytest.raises(apo.Diverged, match="iteration 4"):
        apo.solve(BANDIT, Blowing(), iterations=6, samples=50, key=KEY)
    settings: dict[str, Any] = {"iterations": 6, "samples": 50, "key": KEY, "save": "path"}
    found = jax.jit(lambda: apo.solve(BANDIT, Blowing(), **settings))()
    assert int(found.state.diverged) == 4 and int(found.state.t) == 6
    path = np.asarray(found.path.log_policy)
    assert np.diff(path, axis=0).any(axis=(1, 2)).tolist() == [True] * 3 + [False] * 3
    assert found.pairs.tolist()[3:] == [0.0, 0.0, 0.0]
    np.testing.assert_array_equal(found.suboptimality[3:], found.suboptimality[2])


def test_what_was_not_kept_is_named():
    found = apo.solve(BANDIT, Proximal(), iterations=2)
    assert found.log_policy is None and found.average_suboptimality is None
    with pytest.raises(apo.InvalidArgument, match=r"path = None was not kept; .*save=\"path\""):
        _ = found.path
    again = copy.deepcopy(found)
    np.testing.assert_array_equal(again.gamma, found.gamma)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: UNTYPED_SOLVE(BANDIT, Proximal, iterations=2), "method"),
        (lambda: apo.solve(BANDIT, Hedge(), iterations=2, samples=5), "key"),
        (lambda: UNTYPED_SOLVE(BANDIT, Proximal(), iterations=2, state=3), "state"),
        (lambda: apo.solve(BANDIT, Proximal(beta=jnp.ones(3)), iterations=2), "beta"),
        (lambda: apo.solve(BANDIT, ANY(apo.KTO()), iterations=2), "loss"),
        (lambda: ANY(geometry="kl"), "geometry"),
        (lambda: ANY(geometry=apo.KL), "geometry"),
        (lambda: UNTYPED_RUN(BANDIT, beta=1.0, iterations=2, geometry=3), "geometry"),
        (
            lambda: apo.train(
                BANDIT,
                apo.policies.Table(2, 3),
                beta=1.0,
                iterations=1,
                key=KEY,
                geometry=apo.Euclidean(),
            ),
            "geometry",
        ),
        (
            lambda: apo.run(
                apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.array([[-800.0, 0.0]])),
                beta=1.0,
                iterations=1,
                geometry=apo.Burg(),
            ),
            "log_ref",
        ),
    ],
)
def test_bad_input_is_named(call, argument):
    with pytest.raises(apo.InvalidArgument) as caught:
        call()
    assert caught.value.argument == argument


def test_a_state_that_kept_other_things_is_refused():
    half = apo.solve(BANDIT, Proximal(), iterations=2, save="average")
    with pytest.raises(apo.InvalidArgument, match="save"):
        apo.solve(BANDIT, Proximal(), iterations=2, state=half.state)
