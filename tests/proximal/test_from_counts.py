"""The sampled proximal step against SciPy, one linked group of arms at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, sparse
from scipy.special import expit, log_expit

import apo_sim as apo
from apo_sim.proximal import rewards_from_counts

SLOPES = {
    "dpo": (apo.DPO(), lambda d: np.logaddexp(0, -d), lambda d: -expit(-d)),
    "ipo": (apo.IPO(0.5), lambda d: (d - 2.0) ** 2, lambda d: 2 * (d - 2.0)),
}


class SquaredHinge:
    """A user's loss: known to the solver by automatic differentiation only, flat above 1."""

    def __call__(self, h_winner, h_loser, extra):
        return jnp.maximum(0.0, 1.0 - (h_winner - h_loser)) ** 2


def random_wins(rng, arms, pairs):
    """Win counts, of Bradley-Terry arms or of a cyclic game, from even to extreme policies."""
    policy = rng.dirichlet(np.full(arms, rng.choice([0.1, 1.0, 5.0])))
    reward = rng.uniform(-1, 1, arms) * rng.choice([1.0, 3.0, 10.0])
    preference = expit(reward[:, None] - reward)
    if rng.random() < 0.3:
        above = np.triu(rng.uniform(0, 1, (arms, arms)), 1)
        preference = above + np.tril(1 - above.T, -1) + 0.5 * np.eye(arms)
    cells = 2 * policy[:, None] * policy * preference
    wins = rng.multinomial(pairs, cells.ravel() / cells.sum()).reshape(arms, arms)
    if rng.random() < 0.3:  # two groups that never met
        group = rng.integers(0, 2, arms)
        wins = wins * (group[:, None] == group)
    return wins * 1.0


def groups(wins):
    """Labels of the linked groups."""
    return sparse.csgraph.connected_components(wins + wins.T, directed=False)[1]


def scipy_minimiser(wins, bound, value, slope):
    """Minimise in the box [-bound, bound], then solve for the free arms to full accuracy."""
    arms = len(wins)
    if arms == 1 or not wins.any():
        return np.zeros(arms)

    def objective(r):
        d = r[:, None] - r
        push = wins * slope(d)
        return np.sum(wins * value(d)) / wins.sum(), (push.sum(1) - push.sum(0)) / wins.sum()

    start = np.zeros(arms)
    for _ in range(30):
        r = optimize.minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(-bound, bound)] * arms,
            options={"ftol": 0, "gtol": 1e-11, "maxiter": 2000, "maxfun": 5000, "maxcor": 30},
        ).x
        gradient = objective(r)[1]
        free = (np.abs(r) < bound) | (gradient * r > 0)
        if free.all():
            free[np.argmax(wins.sum(0) + wins.sum(1))] = False

        def free_gradient(x, r=r, free=free):
            full = r.copy()
            full[free] = x
            return objective(full)[1][free]

        if free.any():
            r[free] = optimize.root(free_gradient, r[free], tol=1e-15).x
        r = r - 0.5 * (r.max() + r.min()) if free.sum() == arms - 1 else r
        at_wall = np.where(r >= bound, 1.0, np.where(r <= -bound, -1.0, 0.0))
        gradient = objective(np.clip(r, -bound, bound))[1]
        wrong = np.where(at_wall == 0, np.abs(gradient), np.maximum(gradient * at_wall, 0))
        if np.abs(r).max() <= bound * (1 + 1e-9) and wrong.max() < 1e-12:
            return r
        start = np.clip(r, -bound, bound) * 0.9
    return np.full(arms, np.nan)


# One program for all calls of one loss and one size.
step = jax.jit(rewards_from_counts, static_argnums=0)


def solve(loss, wins, policy, bound, beta=1.0):
    """The step of many problems of one size in one call."""
    data = jnp.asarray(wins), jnp.log(jnp.asarray(policy))
    rewards, residual = step(loss, *data, jnp.asarray(beta), jnp.asarray(bound))
    return np.asarray(rewards), float(residual)


@pytest.mark.parametrize("name", SLOPES)
@pytest.mark.parametrize("bound", [0.5, 2.0])
def test_agrees_with_scipy(name, bound):
    loss, value, slope = SLOPES[name]
    rng = np.random.default_rng(round(10 * bound) + len(name))
    checked = separable = apart = 0
    for arms in (2, 3, 5, 8):
        pairs = [1, 3, 10, 30, 100, 1000, 100_000]
        wins = np.stack([random_wins(rng, arms, n) for n in pairs * 4])
        rewards, residual = solve(loss, wins, np.full(wins.shape[:2], 1 / arms), bound)
        assert residual < 1e-6
        for w, r in zip(wins, rewards, strict=True):
            off = w * (1 - np.eye(arms))
            label = groups(off)
            apart += label.max() > 0
            separable += bool(np.any((off.sum(0) == 0) != (off.sum(1) == 0)))
            for members in (np.flatnonzero(label == i) for i in range(label.max() + 1)):
                best = scipy_minimiser(off[np.ix_(members, members)], bound, value, slope)
                if np.isnan(best).any():  # SciPy did not get there
                    continue
                ours = r[members]
                np.testing.assert_allclose(ours - ours[0], best - best[0], atol=1e-6)
                checked += 1
            checked -= label.max()
    assert checked >= 80 and separable >= 20 and apart >= 20


@pytest.mark.parametrize("bound", [8.0, 40.0, 330.0])
def test_chain_between_the_walls(bound):
    # 0 beats 1 beats 2: the ends go to the walls, and forces balance in the middle.
    wins = np.zeros((3, 3))
    wins[0, 1], wins[1, 2] = 5.0, 2.0
    expected = optimize.brentq(
        lambda b: np.log(2.5) + log_expit(b - bound) - log_expit(-b - bound), -bound, bound
    )
    r, residual = solve(apo.DPO(), wins[None], np.full((1, 3), 1 / 3), bound)
    assert residual < 1e-6
    np.testing.assert_allclose(r[0] - r[0, 0], [0, expected - bound, -2 * bound], atol=1e-6)


@pytest.mark.parametrize("arms", [4, 30])
def test_a_bound_that_is_known_changes_nothing_but_what_is_compiled(arms):
    wins = np.stack([random_wins(np.random.default_rng(n), arms, n) for n in (1, 30, 10_000)])
    data = jnp.asarray(wins), jnp.full((3, arms), -jnp.log(arms)), jnp.array(1.0)

    def programs(bound):
        known = jax.jit(lambda *data: rewards_from_counts(apo.DPO(), *data, bound)[0])
        given = jax.jit(lambda bound, *data: rewards_from_counts(apo.DPO(), *data, bound)[0])
        return known.trace(*data).lower(), given.trace(bound, *data).lower()

    for bound in (2.0, 318.0, 319.0):
        with jax.ensure_compile_time_eval():
            bound = jnp.array(bound)
        known, given = programs(bound)
        fewer = known.as_text().count("stablehlo.case") < given.as_text().count("stablehlo.case")
        assert fewer == (bound < 318.5)
        found, expected = known.compile()(*data), given.compile()(bound, *data)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", [apo.DPO(), apo.IPO(0.5), SquaredHinge()])
@pytest.mark.parametrize("arms", [2, 9])
def test_every_problem_is_solved(loss, arms):
    rng = np.random.default_rng(arms)
    wins = np.stack([random_wins(rng, arms, int(n)) for n in [1, 3, 10, 100, 1e3, 1e6, 1e12] * 4])
    policy = rng.dirichlet(np.ones(arms), size=len(wins))
    for bound in (0.5, 2.0, 8.0, 40.0):
        rewards, residual = solve(loss, wins, policy, bound)
        assert np.all(np.isfinite(rewards)) and residual < 1e-5
        assert np.all(np.ptp(rewards, axis=1) <= 2 * bound * (1 + 1e-9))


def test_many_arms():
    rng = np.random.default_rng(0)
    wins = np.stack([random_wins(rng, 50, int(n)) for n in [10, 1e3, 1e12]])
    rewards, residual = solve(apo.DPO(), wins, np.full((3, 50), 0.02), 2.0)
    assert np.all(np.isfinite(rewards)) and residual < 1e-5


def test_weak_link_keeps_its_digits():
    # Two strong pairs, 1e12 comparisons each, joined by four.
    wins = np.zeros((4, 4))
    wins[0, 1], wins[1, 0] = 6e11, 4e11
    wins[2, 3], wins[3, 2] = 5e11, 5e11
    wins[1, 2], wins[2, 1] = 3.0, 1.0
    r = solve(apo.DPO(), wins[None], np.full((1, 4), 0.25), 2.0)[0][0]
    expected = [np.log(1.5), np.log(3.0), 0.0]
    np.testing.assert_allclose([r[0] - r[1], r[1] - r[2], r[2] - r[3]], expected, atol=1e-9)


def test_unseen_arms_and_groups_keep_their_probability():
    wins = np.zeros((5, 5))
    wins[0, 1], wins[1, 0], wins[2, 3], wins[3, 2] = 3.0, 1.0, 2.0, 1.0
    policy = np.array([0.1, 0.2, 0.3, 0.15, 0.25])
    for beta in (0.1, 1.0, 10.0):
        r = solve(apo.DPO(), wins[None], policy[None], 2.0, beta)[0][0]
        new = policy * np.exp(r / beta)
        assert r[4] == 0.0
        np.testing.assert_allclose([new[:2].sum(), new[2:4].sum()], [0.3, 0.45], rtol=1e-12)
        np.testing.assert_allclose([r[0] - r[1], r[2] - r[3]], np.log([3, 2]), atol=1e-9)


def test_groups_give_way_to_the_window():
    # The winner of one group and the loser of another would end further apart than 2 R.
    wins = np.zeros((5, 5))
    wins[0, 1], wins[2, 3] = 2.0, 2.0
    policy = np.array([0.01, 0.39, 0.39, 0.01, 0.2])
    r = solve(apo.DPO(), wins[None], policy[None], 2.0)[0][0]
    np.testing.assert_allclose([r[0] - r[1], r[2] - r[3], np.ptp(r)], 4.0, atol=1e-9)


def test_no_data_changes_nothing():
    for wins in (np.zeros((1, 3, 3)), np.eye(3)[None] * 7):
        r, residual = solve(apo.DPO(), wins, np.full((1, 3), 1 / 3), 2.0)
        assert np.all(r == 0) and residual == 0


def test_layout_changes_no_bit():
    rng = np.random.default_rng(5)
    wins = np.stack([random_wins(rng, 6, n) for n in [1, 10, 100, 1000] * 25])
    policy = rng.dirichlet(np.ones(6), size=len(wins))
    together = solve(apo.DPO(), wins, policy, 2.0)[0]
    mapped = jax.jit(
        jax.vmap(
            lambda w, p: rewards_from_counts(
                apo.DPO(), w[None], p[None], jnp.array(1.0), jnp.array(2.0)
            )[0][0]
        )
    )(jnp.asarray(wins), jnp.log(jnp.asarray(policy)))
    assert np.array_equal(mapped, together)
    for i in range(3):
        some = solve(apo.DPO(), wins[i : 4 * i + 1], policy[i : 4 * i + 1], 2.0)[0]
        assert np.array_equal(some, together[i : 4 * i + 1])


def test_error_falls_like_the_root_of_the_sample():
    reward = jnp.array([[0.8, 0.3, 0.0, -0.5, -0.6]])
    bandit = apo.Bandit(reward, jnp.log(jnp.array([[0.1, 0.3, 0.2, 0.25, 0.15]])))
    sizes = 10.0 ** np.arange(4, 10)

    def error(key, samples):
        out = apo.run(bandit, beta=1.0, iterations=1, samples=samples, key=key, save="path")
        assert out.rewards is not None
        r = out.rewards[0] - reward
        return jnp.mean((r - r.mean()) ** 2)

    keys = jnp.tile(jax.random.split(jax.random.key(3), 200), len(sizes))
    squares = jax.jit(jax.vmap(error))(keys, np.repeat(sizes, 200)).reshape(len(sizes), 200)
    rms = np.sqrt(squares.mean(axis=1))
    slope = np.polyfit(np.log(sizes), np.log(rms), 1)[0]
    assert abs(slope + 0.5) < 0.05
