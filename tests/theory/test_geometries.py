"""The gap and its rates in every geometry, against policies found without the library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from apo_sim import theory
from apo_sim.errors import InvalidArgument
from apo_sim.geometry import KL, Burg, ChiSquareKL, Euclidean, ForwardKL, Tsallis
from apo_sim.problems import Bandit

from .dynamics import random_bandit, random_game

KINDS = {
    "kl": KL(),
    "tsallis 1/10": Tsallis(0.1),
    "tsallis 1/2": Tsallis(0.5),
    "tsallis 9/10": Tsallis(0.9),
    "burg": Burg(),
    "chi": ChiSquareKL(),
    "euclidean": Euclidean(),
}
SEEDS = st.integers(0, 2**31)
everyone = pytest.mark.parametrize("kind", KINDS)


def power_of(kind):
    return {"kl": 1.0, "tsallis 1/10": 0.1, "tsallis 1/2": 0.5, "tsallis 9/10": 0.9, "burg": 0.0}[
        kind
    ]


def generator(kind, p, ref):
    """phi, by its definition."""
    if kind == "euclidean":
        return p**2 / 2
    if kind == "chi":
        return ref * ((p / ref) ** 2 / 2 + special.xlogy(p / ref, p / ref) - p / ref)
    q = power_of(kind)
    if q == 1:
        return special.xlogy(p, p)
    return -np.log(p) if q == 0 else (p - p**q / q) / (1 - q)


def slope(kind, p, ref):
    """phi'."""
    if kind == "euclidean":
        return p
    if kind == "chi":
        return p / ref + np.log(p / ref)
    q = power_of(kind)
    return np.log(p) if q == 1 else (1 - p ** (q - 1)) / (1 - q)


def inverse(kind, z, ref):
    """(phi')^-1."""
    if kind == "euclidean":
        return np.maximum(z, 0.0)
    if kind == "chi":
        return ref * np.real(special.wrightomega(z))
    q = power_of(kind)
    if q == 1:
        return np.exp(z)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(1 - (1 - q) * z > 0, (1 - (1 - q) * z) ** (-1 / (1 - q)), np.inf)


def policy_of(kind, ref, added):
    """The policy of phi'(ref) + added, its normaliser found by SciPy."""
    z = slope(kind, ref, ref) + added

    def missing(shift):
        return min(np.sum(inverse(kind, z - shift, ref)), 1e6) - 1

    high = np.max(z) + 1e9
    low = np.max(z - slope(kind, np.ones_like(ref), ref))
    return inverse(kind, z - optimize.brentq(missing, low - 1e-9, high, xtol=1e-14), ref)


def one_context(seed, arms=4):
    rng = np.random.default_rng(seed)
    ref = 0.01 + 0.96 * rng.dirichlet(np.full(arms, 0.7))
    reward = rng.uniform(-1, 1, arms)
    return Bandit(jnp.asarray(reward[None]), jnp.log(jnp.asarray((ref / ref.sum())[None])))


@everyone
@settings(max_examples=15)
@given(SEEDS)
def test_no_rewards_exceed_the_sharp_gap(kind, seed):
    bandit, rng = one_context(seed), np.random.default_rng(seed)
    ref, best = np.exp(np.asarray(bandit.log_ref[0])), int(bandit.best_arm[0])
    bound = float(theory.sharp_gap_of(bandit, 1.0, KINDS[kind])[0])
    for _ in range(20):
        regret = 10 ** rng.uniform(-2, 3) * rng.uniform(0, 1, ref.size) ** rng.integers(1, 4)
        regret[best] = 0.0
        assert policy_of(kind, ref, -regret) @ regret <= bound * (1 + 1e-9)


@everyone
@pytest.mark.parametrize("seed", range(4))
def test_the_worst_policy_attains_it(kind, seed):
    bandit = one_context(seed)
    ref, best = np.exp(np.asarray(bandit.log_ref[0])), int(bandit.best_arm[0])
    worst = np.exp(np.asarray(theory.worst_policy(bandit, KINDS[kind])[0]))
    assert worst.sum() == pytest.approx(1, abs=1e-12)
    # Burg's is a limit, in which arms have lost their mass.
    worst = (1 - 1e-9) * worst + 1e-9 * ref if kind == "burg" else worst
    regret = slope(kind, ref, ref) - slope(kind, worst, ref)
    regret = regret - regret[best]
    assert np.all(regret >= 0)
    reached = policy_of(kind, ref, -regret) @ regret
    for gamma in (0.3, 7.0):
        bound = float(theory.sharp_gap_of(bandit, gamma, KINDS[kind])[0])
        assert reached / gamma == pytest.approx(bound, rel=1e-6)


@everyone
@settings(max_examples=15)
@given(SEEDS)
def test_the_textbook_is_the_divergence_and_above(kind, seed):
    bandit = one_context(seed)
    ref, best = np.exp(np.asarray(bandit.log_ref[0])), int(bandit.best_arm[0])
    found = float(theory.gap_bregman(bandit, 2.0, KINDS[kind])[0])
    assert float(theory.sharp_gap_of(bandit, 2.0, KINDS[kind])[0]) < found
    if kind == "burg":
        assert found == np.inf
        return
    optimal = np.zeros_like(ref)
    optimal[best] = 1.0
    apart = generator(kind, optimal, ref) - generator(kind, ref, ref)
    expected = np.sum(apart - slope(kind, ref, ref) * (optimal - ref)) / 2
    assert found == pytest.approx(expected, rel=1e-9)


def test_closed_forms_of_the_constant():
    bandit = random_bandit(0)
    p = np.exp(np.asarray(bandit.log_best_ref))
    ref = np.exp(np.asarray(bandit.log_ref))
    np.testing.assert_allclose(
        theory.sharp_gap_of(bandit, 3.0), theory.sharp_gap(p, 3.0), rtol=1e-12
    )
    textbook = theory.gap_bregman(bandit, 3.0, Euclidean(lazy=False))
    np.testing.assert_allclose(
        theory.sharp_gap_of(bandit, 3.0, Euclidean(lazy=False)), textbook / 2, rtol=1e-12
    )
    others = np.where(np.arange(4) == np.asarray(bandit.best_arm)[:, None], 0, ref).max(axis=1)
    a = np.maximum(1 / p - 1 / others, 1.0)
    np.testing.assert_allclose(
        theory.sharp_gap_of(bandit, 3.0, Burg()), (3 + (np.sqrt(a) - 1) ** 2) / 3, rtol=1e-9
    )


@pytest.mark.parametrize("q", [0.2, 0.5, 0.8])
def test_what_it_is_of_the_textbook_near_the_ends(q):
    for p, expected in ((1 - 1e-12, q ** (1 / (1 - q))), (1e-60, 1.0)):
        bandit = theory.two_level(p, 1.0)
        share = theory.sharp_gap_of(bandit, 1.0, Tsallis(q)) / theory.gap_bregman(
            bandit, 1.0, Tsallis(q)
        )
        assert float(share[0]) == pytest.approx(expected, rel=0.01)


def test_the_tsallis_constants_meet_at_the_limits():
    bandit = one_context(1)
    for near, limit in ((Tsallis(0.9999), KL()), (Tsallis(0.0001), Burg())):
        found = float(theory.sharp_gap_of(bandit, 1.0, near)[0])
        assert found == pytest.approx(float(theory.sharp_gap_of(bandit, 1.0, limit)[0]), rel=0.01)


def test_another_base_of_chi_square_is_respected():
    bandit, base = one_context(0), one_context(5).log_ref
    geometry = ChiSquareKL(base)
    worst = theory.worst_policy(bandit, geometry)
    regret = geometry.score(bandit.log_ref, worst)
    regret = regret - regret[0, bandit.best_arm[0]]
    policy = geometry.policy(geometry.dual(bandit.log_ref) - regret)
    reached = float(jnp.sum(jnp.exp(policy) * regret))
    assert reached == pytest.approx(float(theory.sharp_gap_of(bandit, 1.0, geometry)[0]), rel=1e-9)


@everyone
@settings(max_examples=15)
@given(SEEDS)
def test_the_tail_is_where_the_distance_goes(kind, seed):
    bandit = one_context(seed)
    lead = float(bandit.gap[0])
    gamma = 300.0 / lead if kind in ("kl", "chi") else 1e12 / lead
    policy = theory.exact_policy(bandit, gamma, KINDS[kind])
    found = float(jnp.log(bandit.total_variation(policy)))
    expected = float(theory.log_tail(bandit, gamma, KINDS[kind])[0])
    assert found == expected == -np.inf if kind == "euclidean" else abs(found - expected) < 1e-6


@settings(max_examples=25)
@given(SEEDS)
def test_euclidean_is_exact_from_there_on_and_not_before(seed):
    bandit = random_bandit(seed)
    needed = theory.exact_from(bandit)
    for context, gamma in enumerate(needed):
        for factor, exact in ((1 + 1e-9, True), (1 - 1e-6, False)):
            policy = theory.exact_policy(bandit, factor * gamma, Euclidean())
            assert bool(bandit.mass_off_best(policy)[context] == 0) == exact


def test_ties_are_never_exact_and_have_no_tail():
    tied = Bandit(jnp.array([[1.0, 1.0, 0.0]]), jnp.log(jnp.full((1, 3), 1 / 3)))
    assert theory.exact_from(tied).tolist() == [np.inf]
    with pytest.raises(InvalidArgument, match="no unique best arm"):
        theory.log_tail(tied, 1.0)


@everyone
@pytest.mark.parametrize("log_p", [-700.0, -1e-12])
def test_extremes(kind, log_p):
    bandit = theory.two_level(None, 1.0, log_p_star=jnp.array([log_p]))
    constant = float(theory.sharp_gap_of(bandit, 1.0, KINDS[kind])[0])
    assert 0 < constant < np.inf
    worst = np.asarray(theory.worst_policy(bandit, KINDS[kind])[0])
    assert abs(np.logaddexp.reduce(worst)) < 1e-12


@everyone
def test_inside_transformations(kind):
    bandits = [one_context(seed) for seed in range(3)]

    @jax.jit
    @jax.vmap
    def both(reward, log_ref):
        bandit = Bandit(reward, log_ref)
        found = (
            theory.sharp_gap_of(bandit, 2.0, KINDS[kind]),
            theory.gap_bregman(bandit, 2.0, KINDS[kind]),
            theory.log_tail(bandit, 2.0, KINDS[kind]),
        )
        return jnp.concatenate(found)

    stacked = [jnp.stack([getattr(b, n) for b in bandits]) for n in ("reward", "log_ref")]
    for found, bandit in zip(both(*stacked), bandits, strict=True):
        assert float(found[0]) == pytest.approx(
            float(theory.sharp_gap_of(bandit, 2.0, KINDS[kind])[0]), rel=1e-12
        )
        assert float(found[2]) == pytest.approx(
            float(theory.log_tail(bandit, 2.0, KINDS[kind])[0]), rel=1e-12
        )


@everyone
def test_single_precision(kind):
    double = one_context(2)
    reward, log_ref = (np.asarray(each, np.float32) for each in (double.reward, double.log_ref))
    for bound in (theory.sharp_gap_of, theory.gap_bregman, theory.log_tail):
        expected = np.asarray(bound(double, 2.0, KINDS[kind]))
        with jax.enable_x64(False):
            found = bound(Bandit(jnp.asarray(reward), jnp.asarray(log_ref)), 2.0, KINDS[kind])
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4)


BANDIT = random_bandit(0)


@pytest.mark.parametrize(
    ("call", "argument", "says"),
    [
        (lambda: theory.sharp_gap_of(random_game(0), 1.0), "problem", "no reward"),
        (lambda: theory.gap_bregman(random_game(0), 1.0), "problem", "no reward"),
        (lambda: theory.worst_policy(random_game(0)), "problem", "no reward"),
        (lambda: theory.exact_from(random_game(0)), "problem", "no reward"),
        (lambda: theory.sharp_gap_of(BANDIT, 0.0), "gamma", "positive"),
        (lambda: theory.log_tail(BANDIT, -1.0), "gamma", "positive"),
        (
            lambda: theory.sharp_gap_of(BANDIT, 1.0, ForwardKL()),
            "geometry",
            "not covered by this theory",
        ),
        (
            lambda: theory.log_tail(BANDIT, 1.0, ForwardKL()),
            "geometry",
            "not covered by this theory",
        ),
        (lambda: theory.worst_policy(BANDIT, "kl"), "geometry", "is not a geometry"),
    ],
)
def test_bad_input(call, argument, says):
    with pytest.raises(InvalidArgument, match=says) as caught:
        call()
    assert caught.value.argument == argument
