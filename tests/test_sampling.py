"""Counts against their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from apo_sim.sampling import _MIDDLE, _hat, _log1p, _log_ratio, binomial, multinomial, multinomials

DRAWS = 100_000
PROBS = np.array([0.3, 0.001, 0.0, 0.2, 0.15, 0.049, 0.3])


@pytest.mark.parametrize("lowest", [-300, -14, -1])
def test_log1p(lowest):
    share = np.concatenate([10.0 ** np.linspace(lowest, np.log10(0.5), 2_000), [0.0, 0.5]])
    excess = np.concatenate([-share, 2 * share])
    np.testing.assert_allclose(_log1p(jnp.asarray(excess)), np.log1p(excess), rtol=4e-15)


def draws(n, p):
    count, share = jnp.full(DRAWS, float(n)), jnp.full(DRAWS, p)
    key = jax.random.key(int(n) % 9973 + int(1e4 * p))
    return np.asarray(jax.jit(binomial)(key, count, share, 1 - share))


@pytest.mark.parametrize(
    ("n", "p"),
    [
        (1, 0.3),
        (5, 0.5),
        (30, 0.9),
        (41, 0.5),
        (400, 0.14),
        (400, 0.16),
        (122, 0.5),
        (700, 0.1),
        (6.1e7, 1e-6),
        (1000, 0.03),
        (1e5, 0.3),
        (1e9, 3e-8),
    ],
)
def test_binomial_chi_square(n, p):
    x, law = draws(n, p), stats.binom(n, p)
    edges = np.unique(law.ppf(np.linspace(0.001, 0.999, 30)))
    expected = np.diff(np.concatenate([[0], law.cdf(edges), [1]]))
    seen = np.histogram(x, np.concatenate([[-0.5], edges + 0.5, [np.inf]]))[0]
    some = expected > 1e-9
    assert seen[~some].sum() == 0
    expected = expected[some] / expected[some].sum() * DRAWS
    assert stats.chisquare(seen[some], expected).pvalue > 1e-4


@pytest.mark.parametrize(("n", "p"), [(1e6, 0.2), (1e9, 0.7), (1e12, 0.5), (1e12, 3e-11)])
def test_binomial_moments(n, p):
    x, law = draws(n, p), stats.binom(n, p)
    assert np.all((x == np.round(x)) & (x >= 0) & (x <= n))
    assert abs(x.mean() - law.mean()) < 4.5 * law.std() / DRAWS**0.5
    assert abs(x.var() / law.var() - 1) < 4.5 * (2 / DRAWS) ** 0.5


# From the least mean that is rejected on, in small steps first: what is worst depends on how the
# outcomes lie between the offsets.
MEANS = [*np.linspace(60, 75, 16), 85, 100, 130, 200, 400, 1e3, 1e4, 1e5]
# Closer to the ends where the outcomes are far apart.
ENDS = 0.5 - np.logspace(-11, -1.3, 10_000)
OFFSETS = np.concatenate([-ENDS, np.linspace(-0.45, 0.45, 20_001), ENDS])


def hat_of(n, p):
    return _hat(jnp.full(OFFSETS.size, n), jnp.full(OFFSETS.size, p))


def level_and_likelihood(hat, n, p, height):
    """log of the likelihood that each offset needs at this height, and of what its outcome has."""
    offset = jnp.asarray(OFFSETS)
    likelihood = stats.binom.logpmf(np.asarray(hat.outcome(offset)), n, p)
    of_mode = stats.binom.logpmf(np.floor((n + 1) * p), n, p)
    return np.log(np.asarray(hat.level(offset, height))), likelihood - of_mode


def shares(mean):
    """Of this mean, each with its number of trials."""
    tried = np.round(mean / np.array([1e-4, 0.003, 0.03, 0.1, 0.2, 0.3, 0.4, 0.46, 0.5]))
    return [(n, mean / n) for n in tried if mean <= n / 2]


@pytest.mark.parametrize("mean", MEANS)
def test_the_hat_covers_the_law(mean):
    for n, p in shares(mean):
        hat = hat_of(n, p)
        level, likelihood = level_and_likelihood(hat, n, p, jnp.ones(OFFSETS.size))
        assert np.all(likelihood < level)
        # A top lower by a fifth would not.
        assert np.any(likelihood > level - 0.2)


@pytest.mark.parametrize("mean", MEANS)
def test_what_is_sure_is_accepted(mean):
    middle = np.abs(OFFSETS) < _MIDDLE
    for n, p in shares(mean):
        hat = hat_of(n, p)
        level, likelihood = level_and_likelihood(hat, n, p, hat.sure)
        assert np.all(likelihood[middle] > level[middle])
        assert np.any(likelihood[middle] < level[middle] + 0.2)


@pytest.mark.parametrize("mean", MEANS)
def test_likelihood_of_an_outcome(mean):
    for n, p in shares(mean):
        mode, reach = np.floor((n + 1) * p), np.ceil(16 * (n * p * (1 - p)) ** 0.5)
        outcomes = np.arange(max(mode - reach, 1), min(mode + reach, n - 1) + 1)
        # Each outcome is so many times as likely as the one before it.
        steps = np.log((n - outcomes[1:] + 1) / outcomes[1:]) + np.log(p) - np.log1p(-p)
        known = np.concatenate([[0.0], np.cumsum(steps)])
        known = known - known[outcomes == mode]
        some = np.round(np.linspace(0, outcomes.size - 1, 400)).astype(int)
        outcomes, known = outcomes[some], known[some]
        found = np.asarray(_log_ratio(*map(jnp.asarray, np.broadcast_arrays(outcomes, n, p))))
        # Uniform numbers are multiples of exp(-36), so that no draw tells what is less likely.
        np.testing.assert_allclose(found[known > -24], known[known > -24], rtol=0, atol=1e-10)
        np.testing.assert_allclose(found[known > -37], known[known > -37], rtol=0, atol=1e-6)
        assert np.all(found[known < -37] < -36)


def test_the_hat_reaches_every_outcome():
    for n, p in ((120.0, 0.5), (61.0 / 1e-4, 1e-4)):
        hat = _hat(jnp.full(2, n), jnp.full(2, p))
        ends = np.asarray(hat.outcome(jnp.array([-0.5, 0.5])))
        law = stats.binom(n, p)
        assert ends[0] <= 0 and law.logsf(ends[1]) < np.log(1e-50)


def many(n, repeats=20_000, seed=0):
    keys = jax.random.split(jax.random.key(seed), repeats)
    draw = jax.jit(jax.vmap(multinomial, (0, None, None)))
    return np.asarray(draw(keys, jnp.array(float(n)), jnp.asarray(PROBS)))


def test_multinomial_chi_square():
    # Over all outcomes of three balls.
    counts = many(3)
    outcomes, seen = np.unique(counts, axis=0, return_counts=True)
    expected = stats.multinomial(3, PROBS).pmf(outcomes) * len(counts)
    assert np.all(expected > 0)
    often = expected > 5
    rest = len(counts) - expected[often].sum(), len(counts) - seen[often].sum()
    expected, seen = np.append(expected[often], rest[0]), np.append(seen[often], rest[1])
    assert stats.chisquare(seen, expected).pvalue > 1e-4


@pytest.mark.parametrize("n", [1e3, 1e9, 1e12])
def test_multinomial_moments(n):
    counts = many(n, seed=1)
    assert np.all(counts.sum(axis=1) == n) and np.all(counts[:, 2] == 0)
    seen = PROBS > 0
    scaled = (counts - n * PROBS)[:, seen] / np.sqrt(n * PROBS[seen])
    p = PROBS[seen]
    expected = np.eye(len(p)) - np.sqrt(p[:, None] * p)
    assert np.abs(scaled.mean(axis=0)).max() < 4.5 / len(counts) ** 0.5
    # Six standard errors where the rarest cell, of mean one, has a heavy tail.
    assert np.abs(np.cov(scaled.T) - expected).max() < (0.15 if n == 1e3 else 0.05)


def test_same_numbers_in_any_batch():
    keys = jax.random.split(jax.random.key(7), 50)
    probs = jax.nn.softmax(3 * jax.random.normal(jax.random.key(8), (50, 30)))
    total = jnp.repeat(jnp.array([5.0, 1e3, 1e6, 1e9, 1e12]), 10)
    together = jax.jit(jax.vmap(multinomial))(keys, total, probs)
    assert np.array_equal(jax.jit(multinomials)(keys, total, probs), together)
    for i in (0, 13, 49):
        assert np.array_equal(jax.jit(multinomial)(keys[i], total[i], probs[i]), together[i])


@pytest.mark.parametrize("n", [50.0, 1e4, 1e9])
def test_cells_in_rows_have_the_law_of_cells_in_one(n):
    # 70 cells make 9 rows of 8, of which two cells are padding; one lane is one experiment.
    probs = np.random.default_rng(3).dirichlet(np.ones(70))
    keys = jax.random.split(jax.random.key(5), 4000)
    counts = np.asarray(jax.jit(jax.vmap(multinomial, (0, None, None)))(keys, n, probs))
    assert np.all(counts.sum(axis=1) == n) and np.all(counts >= 0)
    seen = counts.sum(axis=0)
    assert stats.chisquare(seen, probs * seen.sum()).pvalue > 1e-4
    spread = counts.var(axis=0) / (n * probs * (1 - probs))
    # Five standard errors; the fourth moment of a rare cell is that of a Poisson number.
    error = np.sqrt((2 + 1 / (n * probs)) / len(counts))
    assert np.all(np.abs(spread - 1) < 5 * error)
    # Of two cells in one row and of two in different ones.
    for i, j in ((0, 1), (0, 40), (8, 9)):
        both = np.cov(counts[:, i], counts[:, j])[0, 1] / n + probs[i] * probs[j]
        assert abs(both) < 5 * np.sqrt(probs[i] * probs[j] / len(counts))


# Rows and cells of a single lane make one program for 97 and 900 cells; 90 make 10 rows of 9.
@pytest.mark.parametrize("cells", [30, 90, 97, 900, 10_000])
def test_a_lane_is_the_same_in_any_number_of_them(cells):
    lanes = 300 if cells == 30 else 3
    keys = jax.random.split(jax.random.key(9), lanes)
    probs = jax.nn.softmax(2 * jax.random.normal(jax.random.key(10), (lanes, cells)))
    draw = jax.jit(jax.vmap(multinomial, (0, None, 0)))
    for total in (1.0, 1e3, 1e7):
        together = draw(keys, total, probs)
        for some in (slice(0, 1), slice(1, 3), slice(lanes // 2, lanes)):
            assert np.array_equal(draw(keys[some], total, probs[some]), together[some])
        nested = jax.vmap(draw, (0, None, 0))(keys[None], total, probs[None])[0]
        assert np.array_equal(nested, together)


def test_single_precision_does_not_overflow():
    counts = multinomial(jax.random.key(0), jnp.float32(1e12), jnp.asarray(PROBS, jnp.float32))
    assert counts.dtype == jnp.float32 and np.all(np.isfinite(counts)) and np.all(counts >= 0)
    np.testing.assert_allclose(counts.sum(), 1e12, rtol=1e-6)


def test_one_cell_and_no_balls():
    key = jax.random.key(0)
    assert multinomial(key, jnp.array(5.0), jnp.array([0.7])).tolist() == [5.0]
    assert multinomial(key, jnp.array(0.0), jnp.array([0.7, 0.3])).tolist() == [0.0, 0.0]
