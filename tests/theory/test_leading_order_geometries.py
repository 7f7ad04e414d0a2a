"""The law in other geometries: against differences, and against sums over all data sets."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

import apo_sim as apo
from apo_sim.errors import InvalidArgument
from apo_sim.geometry import Burg, ChiSquareKL, Euclidean, Tsallis
from apo_sim.theory.leading_order import leading_order

sys.path.insert(0, str(Path(__file__).parent))
from test_leading_order import error_of_rewards, extrapolation, gammas, sigmoid

# Of each geometry: phi' and its inverse, of a policy and a reference.
BY_HAND = {
    "Tsallis": (
        Tsallis(0.5),
        lambda p, ref: 2.0 - 2.0 / np.sqrt(p),
        lambda z, ref: 1.0 / (1.0 - z / 2.0) ** 2,
    ),
    "Burg": (Burg(), lambda p, ref: -1.0 / p, lambda z, ref: -1.0 / z),
    "chi-square with KL": (
        ChiSquareKL(),
        lambda p, ref: p / ref + np.log(p / ref),
        lambda z, ref: ref * np.vectorize(_exp_plus_identity)(z),
    ),
}


def _exp_plus_identity(z):
    """The x of x + log x = z."""
    root: Any = optimize.brentq(lambda y: np.exp(y) + y - z, -700.0, 10.0, xtol=1e-14)
    return np.exp(root)


def policy_of(name, dual, ref):
    """The policy of unnormalised coordinates, by a root of the total mass."""
    _, forward, inverse = BY_HAND[name]
    # At one end an arm has all the mass, at the other none has more than an equal share.
    ends = [np.max(dual - forward(share, ref)) for share in (np.ones(3), np.full(3, 1 / 3))]
    level = optimize.brentq(
        lambda y: inverse(dual - y, ref).sum() - 1.0, ends[0], ends[1] + 1e-9, xtol=1e-14
    )
    return inverse(dual - level, ref)


def differences(value, at, step=2e-3):
    arms = len(at)
    unit = step * np.eye(arms)
    gradient = [(value(at + e) - value(at - e)) / (2 * step) for e in unit]
    hessian = [
        [
            value(at + e + f) - value(at + e - f) - value(at - e + f) + value(at - e - f)
            for f in unit
        ]
        for e in unit
    ]
    return np.array(gradient), np.array(hessian) / (4 * step**2)


@pytest.mark.parametrize("name", BY_HAND)
def test_the_law_is_that_of_differences_in_dual_coordinates(name):
    geometry, forward, _ = BY_HAND[name]
    reward, ref = np.array([0.6, -0.2, 0.1]), np.array([0.3, 0.5, 0.2])
    beta, alpha, iterations = 3.0, 0.6, 3
    before, centres = gammas(extrapolation(lambda t: alpha), np.full(iterations, beta))
    start = forward(ref, ref)
    noises = [
        error_of_rewards(reward, policy_of(name, start + w.sum() * reward, ref)) for w in centres
    ]
    last = start + before[-1].sum() * reward
    gradient, hessian = differences(lambda z: policy_of(name, z, ref) @ reward, last)
    covariance = sum(w**2 * noise[0] for w, noise in zip(before[-1], noises, strict=True))
    bias = sum(w * noise[1] for w, noise in zip(before[-1], noises, strict=True))
    bandit = apo.Bandit(jnp.asarray(reward)[None], jnp.log(jnp.asarray(ref))[None])
    law = leading_order(bandit, apo.Constant(alpha), beta, iterations, geometry)
    expected = -(gradient @ bias + np.trace(hessian @ covariance) / 2)
    assert float(law.coefficient[-1]) == pytest.approx(expected, rel=1e-4)
    assert float(law.bias[-1]) == pytest.approx(-gradient @ bias, rel=1e-4)
    assert float(law.variance[-1]) == pytest.approx(gradient @ covariance @ gradient, rel=1e-4)
    gap = reward.max() - policy_of(name, last, ref) @ reward
    assert float(law.exact_gap[-1]) == pytest.approx(gap, rel=1e-9)


def test_two_arms_come_out_as_in_the_sum_over_all_data():
    """Burg's step on two arms is a quadratic equation: every data set can be summed over."""
    lead, mass, beta = 0.8, 0.3, 1.4
    bandit = apo.Bandit(jnp.array([[lead, 0.0]]), jnp.log(jnp.array([[mass, 1 - mass]])))
    law = leading_order(bandit, apo.NoMomentum(), beta, 1, Burg())

    def gap_of(apart):
        # 1/(1-p) - 1/p = d, the difference of the coordinates.
        d = 1 / (1 - mass) - 1 / mass + apart / beta
        p = np.where(d == 0, 0.5, (d - 2 + np.sqrt(d**2 + 4)) / (2 * np.where(d == 0, 1.0, d)))
        return lead * (1 - p)

    errors = []
    for samples in (500, 1000, 2000):
        met: Any = stats.binom(samples, 2 * mass * (1 - mass))
        gap = 0.0
        for count in np.arange(int(met.ppf(1e-14)), int(met.ppf(1 - 1e-14)) + 1):
            wins = np.arange(count + 1)
            with np.errstate(divide="ignore"):
                fitted = np.clip(np.log(wins) - np.log(count - wins), -4.0, 4.0)
            gap += met.pmf(count) * (stats.binom.pmf(wins, count, sigmoid(lead)) @ gap_of(fitted))
        errors.append(gap - float(law.expected_gap(samples)[0]))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.06)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.04)
    assert abs(errors[2] * 2000 / float(law.coefficient[0])) < 0.1


def test_an_arm_without_mass_has_no_derivative():
    bandit = apo.Bandit(jnp.array([[0.5, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
    with pytest.raises(InvalidArgument, match=r"^geometry = "):
        leading_order(bandit, apo.NoMomentum(), 1.0, 1, Euclidean())
    with pytest.raises(InvalidArgument, match=r"^geometry = "):
        leading_order(bandit, apo.NoMomentum(), 1.0, 1, "KL")  # type: ignore[arg-type]


def test_rare_arms_stay_numbers():
    log_ref = jax.nn.log_softmax(jnp.array([[0.0, -60.0, -300.0]]))
    bandit = apo.Bandit(jnp.array([[0.3, 0.9, -1.0]]), log_ref)
    law = leading_order(bandit, apo.Constant(0.9), 0.1, 10, Tsallis(0.5))
    for name in ("exact_gap", "coefficient", "variance", "spread", "reward_variance"):
        assert not np.isnan(getattr(law, name)).any(), name
