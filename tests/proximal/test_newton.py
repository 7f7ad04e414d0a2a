"""Which losses the solver takes: what is not convex is refused, and not taken for no data."""

import jax
import jax.numpy as jnp
import pytest

import apo_sim as apo

# Functions of the difference, and where nearest to zero their curvature is negative.
NOT_CONVEX = {
    "concave": (lambda d: -(d**2), 0.0),
    "concave, of the labels' odds": (lambda d: jax.nn.log_sigmoid(-d), 0.0),
    "two valleys": (lambda d: (d**2 - 1.0) ** 2, 0.0),
    "bounded": (lambda d: jax.nn.sigmoid(-d), None),
    "overflows": (lambda d: -jnp.cosh(10.0 * d), None),
}
CONVEX = {
    "exponential": lambda d: jnp.exp(-d),
    "exponential, which overflows": lambda d: jnp.exp(-10.0 * d),
    "softplus by hand": lambda d: jnp.log(1.0 + jnp.exp(-d)),
    "root": lambda d: jnp.sqrt(1.0 + d**2) - d,
    "quartic": lambda d: (d - 1.0) ** 4,
}


def solve(of_difference, samples):
    def loss(h_winner, h_loser, extra):
        return of_difference(h_winner - h_loser)

    bandit = apo.families.uniform_bandit(jax.random.key(0), contexts=1, arms=3)
    key = None if samples is None else jax.random.key(0)
    return apo.run(bandit, loss, beta=1.0, iterations=2, samples=samples, key=key)


@pytest.mark.parametrize("samples", [None, 50])
@pytest.mark.parametrize("name", NOT_CONVEX)
def test_a_loss_that_is_not_convex_is_refused(name, samples):
    of_difference, nearest = NOT_CONVEX[name]
    at = r"-?\d" if nearest is None else f"{nearest:.3g} "
    with pytest.raises(apo.InvalidArgument, match=rf"not convex.* difference of {at}.*Table"):
        solve(of_difference, samples)


@pytest.mark.parametrize("samples", [None, 50])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", CONVEX)
def test_a_convex_loss_is_taken_though_its_curvature_is_rounded(name, double, samples):
    with jax.enable_x64(double):
        first, last = solve(CONVEX[name], samples).suboptimality
        assert last < first
