"""Runs whose numbers leave the range of floats end, and say in which iteration and what to do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim import theory
from apo_sim.errors import Diverged
from apo_sim.sampling import binomial, multinomial

KEY = jax.random.key(0)
BANDIT = apo.Bandit(jnp.array([[1.0, 0.0, 0.5]]), jnp.log(jnp.full((1, 3), 1 / 3)))
EXPLOSIVE = apo.Constant(1.5, unrestricted=True)


class Lost:
    """A ranker that knows no law."""

    def cells(self, problem, log_policy):
        return jnp.full((problem.num_contexts, problem.num_arms, problem.num_arms), jnp.nan)


def single(bandit: apo.Bandit, dtype) -> apo.Bandit:
    return apo.Bandit(bandit.reward.astype(dtype), bandit.log_ref.astype(dtype))


@pytest.mark.parametrize(
    ("call", "iteration"),
    [
        (lambda: apo.run(BANDIT, momentum=EXPLOSIVE, beta=1.0, iterations=2000), 1743),
        (
            lambda: apo.run(
                BANDIT, momentum=EXPLOSIVE, beta=1.0, iterations=2000, samples=100, key=KEY
            ),
            None,
        ),
        (
            lambda: apo.run(
                single(BANDIT, jnp.float32), momentum=EXPLOSIVE, beta=1.0, iterations=300
            ),
            None,
        ),
        (lambda: apo.run(BANDIT, loss=apo.IPO(1e-150), beta=1e-160, iterations=3), None),
        (
            lambda: apo.run(BANDIT, ranker=Lost(), beta=1.0, iterations=3, samples=100, key=KEY),
            1,
        ),
    ],
    ids=["exact", "sampled", "single precision", "IPO", "ranker"],
)
def test_a_run_that_is_no_longer_finite_has_diverged(call, iteration):
    with pytest.raises(Diverged, match="diverges in iteration") as caught:
        call()
    assert iteration is None or abs(caught.value.iteration - iteration) < 100
    assert "extrapolate less" in caught.value.remedy


def test_inside_a_transformation_nothing_hangs():
    @jax.jit
    def gap(beta):
        return apo.run(BANDIT, beta=beta, iterations=3, samples=100, key=KEY).suboptimality

    assert np.all(np.isfinite(gap(1.0)))
    assert np.all(np.isnan(gap(0.0)))


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_count_without_a_law_is_no_number(number):
    total, chance = jnp.array([number, 100.0]), jnp.array([0.5, 0.5])
    drawn = binomial(KEY, total, chance, 1 - chance)
    assert (
        np.isnan(drawn[0])
        and drawn[1] == binomial(KEY, jnp.array([50.0, 100.0]), chance, chance)[1]
    )
    assert np.isnan(multinomial(KEY, total[0], jnp.array([0.5, 0.25]))).any()


def test_counts_that_the_precision_does_not_hold_are_refused():
    half = single(BANDIT, jnp.float16)
    with pytest.raises(apo.InvalidArgument, match="samples = 1000000 cannot be counted in float16"):
        apo.run(half, beta=1.0, iterations=3, samples=10**6, key=KEY)
    for few in ({}, {"samples": 1000, "key": KEY}):
        assert np.all(np.isfinite(apo.run(half, beta=1.0, iterations=3, **few).suboptimality))


def test_rewards_that_span_more_than_a_float_are_refused():
    with pytest.raises(
        apo.InvalidArgument, match=r"reward = .* spans a range too large for a float"
    ):
        apo.Bandit(jnp.array([[1e308, -1e308]]), jnp.log(jnp.full((1, 2), 0.5)))


def test_a_bound_at_which_the_loss_is_flat_is_refused():
    run = functools.partial(apo.run, BANDIT, beta=1.0, iterations=3, samples=100, key=KEY)
    with pytest.raises(apo.InvalidArgument, match=r"reward_bound = 700.0 .* pass at most 319"):
        run(reward_bound=700.0)
    assert np.all(np.isfinite(run(reward_bound=318.0).residual))
    # A squared loss is nowhere flat.
    assert np.all(np.isfinite(run(loss=apo.IPO(), reward_bound=700.0).residual))


def test_no_gap_is_below_zero():
    random = np.random.default_rng(0)
    rounded, shown = [], []
    for x, y, z in random.uniform(0.01, 0.5, (50, 3)):
        lead = np.array([[[0, x, -y], [-x, 0, z], [y, -z, 0]]])
        game = apo.Game(jnp.asarray(0.5 + lead), BANDIT.log_ref)
        equilibrium = jnp.array([[z, y, x]]) / (x + y + z)
        rounded.append(float((lead[0] @ np.asarray(equilibrium[0])).max()))
        shown.append(float(game.suboptimality(jnp.log(equilibrium))))
    assert min(rounded) < 0, "somewhere rounding falls below zero"
    assert min(shown) >= 0.0 and max(shown) < 1e-15


def test_a_loss_that_is_not_finite_is_refused():
    with pytest.raises(apo.InvalidArgument, match=r"IPO\(tau=1e-307\) is not finite"):
        apo.run(BANDIT, loss=apo.IPO(1e-307), beta=1.0, iterations=3)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: theory.sharp_gap(1e-310, 1.0), "p_star"),
        (lambda: theory.gamma(0.5, 5e-324, 3), "beta"),
        (lambda: theory.wright_omega(np.inf), "x"),
    ],
)
def test_theory_outside_its_domain_is_refused(call, argument):
    with pytest.raises(apo.InvalidArgument) as caught:
        call()
    assert caught.value.argument == argument


def test_theory_reaches_the_ends_of_its_domain():
    # w + log w = x: the logarithm of 1e308 is below the last digit of it.
    assert float(theory.wright_omega(1e308)) == 1e308
    assert float(theory.wright_omega(1e31)) == pytest.approx(1e31, rel=1e-15)
    assert float(theory.sharp_gap(None, 1.0, log_p_star=-1e300)) == pytest.approx(1e300)
