"""What all geometries have in common: the protocol, coordinates, shifts, shapes and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_policies import (
    ARMS,
    EVERY,
    GENERATORS,
    KINDS,
    policies,
    prox,
    rewards,
    scores,
    total_variation,
)

from apo_sim.errors import InvalidArgument
from apo_sim.geometry import (
    NAMED,
    AlphaDivergence,
    Bregman,
    ChiSquareKL,
    Euclidean,
    Geometry,
    Tsallis,
)

EVEN = jnp.log(jnp.full((2, 3), 1 / 3))
REWARD = jnp.zeros((2, 3))


def drawn(seed, **kwargs):
    """A centre, a reward and a reference in a few contexts, for functions that run eagerly."""
    rng = np.random.default_rng(seed)
    centre, reference = (jnp.asarray(policies(rng, (0.1, 1.0), **kwargs)) for _ in range(2))
    return centre, jnp.asarray(rewards(rng, **kwargs)), reference


def test_names_and_protocol():
    assert {type(geometry) for geometry in EVERY.values()} == set(map(type, NAMED.values()))
    for geometry in NAMED.values():
        assert isinstance(geometry, Geometry)
        assert isinstance(geometry, Bregman)
    assert {name for name in NAMED if not NAMED[name].legendre} == {"euclidean", "euclidean_agile"}
    assert {name for name in NAMED if NAMED[name].of_log_ratio} == {
        "kl",
        "forward_kl",
        "jensen_shannon",
        "alpha_divergence",
        "mixed_chi_square",
    }
    assert not isinstance(object(), Geometry)


@pytest.mark.parametrize("name", KINDS)
def test_coordinates_are_normalised(name):
    """Weights, total, coordinates and normaliser tell of one policy."""
    centre, reward, reference = drawn(0, rows=7, arms=4)
    geometry = EVERY[name].at(reference)

    @jax.jit
    def everything(centre, reward):
        stepped = geometry.step(geometry.dual(centre), reward, 0.3) + 5.0
        normalised, weights, total = geometry.normalise(stepped)
        shifted = stepped - geometry.normaliser(stepped)[..., None]
        again = geometry.normalise(normalised)[0]
        policy = geometry.log_policy(normalised)
        return (
            policy,
            weights / total[..., None],
            geometry.policy(stepped),
            normalised,
            shifted,
            again,
        )

    policy, shares, public, normalised, shifted, again = everything(centre, reward)
    np.testing.assert_allclose(np.exp(policy), shares, rtol=0, atol=1e-14)
    np.testing.assert_allclose(public, policy, rtol=0, atol=1e-13)
    np.testing.assert_allclose(np.exp(policy).sum(axis=1), 1.0, rtol=0, atol=1e-14)
    np.testing.assert_allclose(again, normalised, rtol=0, atol=1e-13)
    np.testing.assert_allclose(shifted, normalised, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["kl", "tsallis", "burg", "chi square and kl", "euclidean"])
def test_the_normaliser_makes_any_mass_of_the_arms_that_take_part(name):
    centre, _, reference = drawn(1, rows=6, arms=4)
    geometry = EVERY[name].at(reference)
    there = jnp.array([True, False, True, True])
    mass = jnp.array([1.0, 1e-9, 0.5, 0.1, 2.0, 1e-300])
    dual = jnp.where(there, geometry.dual(centre), -jnp.inf)
    shifted = dual - jax.jit(geometry.normaliser)(dual, mass)[:, None]
    found = np.exp(geometry.log_policy(shifted))
    assert np.all(found[:, 1] == 0.0)
    np.testing.assert_allclose(found.sum(axis=1), mass, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", KINDS)
def test_a_shift_lets_some_arms_keep_their_mass_and_the_others_their_probability(name):
    log_centre, reward, log_ref = drawn(2)
    beta = 10.0 ** jnp.linspace(-1.0, 2.0, len(reward))
    some = jnp.asarray(np.random.default_rng(3).random(reward.shape) < 0.6).at[:, 0].set(True)
    geometry = EVERY[name].at(log_ref)
    shift = jax.jit(geometry.shift)(geometry.dual(log_centre), reward, beta, some)
    kept = jnp.where(some, reward - shift[:, None], 0.0)
    stepped = prox(name)(log_centre, kept, beta, log_ref)
    before, after = (np.where(some, np.exp(log_p), 0.0) for log_p in (log_centre, stepped))
    np.testing.assert_allclose(after.sum(axis=1), before.sum(axis=1), rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.where(some, log_centre, stepped), log_centre, rtol=0, atol=1e-11)
    assert np.abs(before - after).max() > 0.01


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"euclidean"}))
def test_the_shift_of_all_arms_is_what_a_reward_exceeds_its_score_by(name):
    log_centre, reward, log_ref = drawn(4)
    beta = 10.0 ** jnp.linspace(-1.0, 2.0, len(reward))
    geometry = EVERY[name].at(log_ref)
    shift = jax.jit(geometry.shift)(geometry.dual(log_centre), reward, beta)
    score = scores(name)(prox(name)(log_centre, reward, beta, log_ref), log_centre, log_ref)
    expected = np.asarray(reward - shift[:, None])
    np.testing.assert_allclose(np.asarray(beta)[:, None] * score, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["kl", "tsallis", "jensen shannon"])
def test_a_shift_may_have_its_arms_on_another_axis(name):
    log_centre, reward, _ = drawn(5, rows=6, arms=4)
    beta = jnp.linspace(1.0, 2.0, 6)
    geometry = EVERY[name].at(jnp.log(jnp.full(4, 0.25)))
    some = jnp.arange(4) != jnp.arange(6)[:, None] % 4
    dual = geometry.dual(log_centre)
    shift = jax.jit(geometry.shift, static_argnames="axis")
    sideways = shift(dual.T, reward.T, beta, some.T, axis=-2)
    np.testing.assert_allclose(sideways, shift(dual, reward, beta, some), rtol=1e-12)


@pytest.mark.parametrize("name", ["tsallis", "chi square and kl", "euclidean"])
def test_any_number_of_axes_before_the_arms(name):
    log_centre, reward, log_ref = drawn(6)
    rows = prox(name)(log_centre, reward, jnp.full(len(reward), 0.5), log_ref)
    cut = [array.reshape(10, -1, ARMS) for array in (log_centre, reward, log_ref)]
    found = jax.jit(lambda centre, r, ref: EVERY[name].at(ref).prox(centre, r, 0.5))(*cut)
    np.testing.assert_allclose(found.reshape(-1, ARMS), rows, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", KINDS)
def test_single_precision_stays_and_is_right_to_its_own_rounding(name):
    log_centre, reward, log_ref = drawn(7)
    beta = 10.0 ** jnp.linspace(-2.0, 3.0, len(reward))
    given = (log_centre, reward, beta, log_ref)
    short = prox(name)(*(array.astype(jnp.float32) for array in given))
    assert short.dtype == np.float32
    assert total_variation(short, prox(name)(*given)).max() < 2e-5
    dual = EVERY[name].at(log_ref.astype(jnp.float32)).dual(log_centre.astype(jnp.float32))
    assert dual.dtype == jnp.float32


@pytest.mark.parametrize("name", KINDS)
def test_one_arm_has_everything(name):
    alone = jnp.zeros((1, 1))
    step = jax.jit(EVERY[name].at(alone).prox)
    np.testing.assert_allclose(step(alone, jnp.array([[3.0]]), 0.1), alone, rtol=0, atol=1e-15)


def refused(call, argument, problem):
    with pytest.raises(InvalidArgument, match=problem) as caught:
        call()
    assert caught.value.argument == argument


@pytest.mark.parametrize("name", EVERY)
def test_bad_input_is_refused(name):
    geometry = EVERY[name].at(EVEN)
    nan = REWARD.at[0, 1].set(jnp.nan)
    refused(lambda: geometry.prox(EVEN, REWARD, 0.0), "beta", "must be positive")
    refused(lambda: geometry.prox(EVEN, REWARD, jnp.ones(2)), "beta", "single")
    refused(lambda: geometry.prox(EVEN, nan, 1.0), "reward", "not finite")
    refused(lambda: geometry.prox(EVEN, REWARD[:1], 1.0), "reward", "has shape")
    refused(lambda: geometry.prox(EVEN + 1.0, REWARD, 1.0), "centre", "does not normalise")
    refused(lambda: geometry.prox(nan, REWARD, 1.0), "centre", "not log-probabilities")
    refused(lambda: geometry.prox(jnp.zeros(()), REWARD, 1.0), "centre", "has shape")
    refused(lambda: geometry.prox("even", REWARD, 1.0), "centre", "not an array")
    refused(lambda: geometry.divergence(EVEN, EVEN[0]), "log_centre", "has shape")
    refused(lambda: geometry.divergence(EVEN, REWARD), "log_centre", "does not normalise")
    if name != "kl":  # whose score is a difference, and is not looked at
        refused(lambda: geometry.score(EVEN, REWARD), "log_centre", "does not normalise")
        refused(lambda: geometry.score(EVEN, EVEN[0]), "log_centre", "has shape")


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_coordinates_that_are_none_are_refused(name):
    geometry = GENERATORS[name].at(EVEN)
    if name == "kl":  # for which the loop needs a function that looks at nothing
        return
    refused(lambda: geometry.policy(REWARD.at[0, 0].set(jnp.inf)), "dual", "not finite")
    refused(lambda: geometry.policy(jnp.zeros(())), "dual", "no axis for the arms")


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"euclidean"}))
def test_arms_without_mass_are_refused_where_they_have_no_coordinates(name):
    geometry = EVERY[name].at(jnp.log(jnp.array([0.5, 0.5])))
    one = jnp.array([0.0, -jnp.inf])
    refused(lambda: geometry.prox(one, jnp.zeros(2), 1.0), "centre", "gives an arm no mass")


def test_arms_of_too_little_mass_are_refused():
    rare = jnp.array([0.0, -800.0])
    refused(lambda: EVERY["burg"].prox(rare, jnp.zeros(2), 1.0), "centre", "no finite coordinates")
    refused(
        lambda: EVERY["forward kl"].score(rare, jnp.log(jnp.array([0.5, 0.5]))),
        "log_policy",
        "no finite coordinates",
    )


@pytest.mark.parametrize(
    ("call", "argument", "problem"),
    [
        (lambda: Tsallis(0.0), "q", "outside"),
        (lambda: Tsallis(1.0), "q", r"Burg\(\) and KL\(\)"),
        (lambda: Tsallis(float("nan")), "q", "outside"),
        (lambda: Tsallis([0.5]), "q", "single"),  # type: ignore[arg-type]
        (lambda: Tsallis("half"), "q", "not"),  # type: ignore[arg-type]
        (lambda: jax.jit(Tsallis)(0.5), "q", "is traced"),
        (lambda: AlphaDivergence(1.0), "alpha", r"ForwardKL\(\)"),
        (lambda: jax.jit(AlphaDivergence)(0.5), "alpha", "is traced"),
        (lambda: Euclidean(lazy=1), "lazy", "True nor False"),  # type: ignore[arg-type]
        (lambda: ChiSquareKL(EVEN + 1.0), "log_ref", "does not normalise"),
        (lambda: ChiSquareKL().dual(EVEN), "log_ref", "is not known"),
        (lambda: ChiSquareKL().prox(EVEN, REWARD, 1.0), "log_ref", "is not known"),
        (
            lambda: ChiSquareKL(EVEN).prox(jnp.log(jnp.full((2, 2), 0.5)), jnp.zeros((2, 2)), 1.0),
            "centre",
            "log_ref",
        ),
    ],
)
def test_bad_parameters_are_refused(call, argument, problem):
    refused(call, argument, problem)
