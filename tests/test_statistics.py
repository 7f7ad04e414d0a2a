"""Intervals and estimates against SciPy's distributions, and the looks of an adaptive verdict."""

import itertools
import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from apo_sim.errors import InvalidArgument
from apo_sim.estimate import Estimate
from apo_sim.statistics import (
    bootstrap,
    clopper_pearson,
    divergence,
    looks,
    mean_and_half,
    mean_estimate,
    percentile_ends,
    resampled_rows,
    share_estimate,
    student,
    welch,
)

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(1.0, 2.0, 12), RNG.normal(0.0, 0.5, 7)


@pytest.mark.parametrize("confidence", [0.9, 0.999])
def test_students_and_welchs_intervals_are_those_of_textbooks(confidence):
    count = FIRST.size
    middle, scale = FIRST.mean(), np.sqrt(FIRST.var(ddof=1) / count)
    expected = stats.t.interval(confidence, count - 1, middle, scale)
    assert student(FIRST, confidence) == pytest.approx(expected, rel=1e-12)
    mean, half = mean_and_half(xr.DataArray(FIRST, dims="seed"), confidence)
    assert (float(mean - half), float(mean + half)) == pytest.approx(expected, rel=1e-12)

    parts = [sample.var(ddof=1) / sample.size for sample in (FIRST, SECOND)]
    each = [parts[0] ** 2 / (FIRST.size - 1), parts[1] ** 2 / (SECOND.size - 1)]
    freedom = sum(parts) ** 2 / sum(each)  # Welch and Satterthwaite
    difference = FIRST.mean() - SECOND.mean()
    expected = stats.t.interval(confidence, freedom, difference, np.sqrt(sum(parts)))
    assert welch(FIRST, SECOND, confidence) == pytest.approx(expected, rel=1e-12)


def test_the_bootstrap_of_a_mean_is_students_interval_of_many():
    values = np.random.default_rng(1).normal(size=400)
    exact = student(values)
    by_parts = bootstrap(lambda v: v.mean(axis=-1), xr.DataArray(values, dims="seed"), draws=2000)
    at_once = percentile_ends(values[resampled_rows(400, draws=2000)].mean(axis=1))
    for ends in (by_parts, at_once):
        assert np.allclose(ends, exact, atol=0.1 * (exact[1] - exact[0]))


def test_estimates_carry_their_interval_unit_and_number():
    found = mean_estimate(FIRST, unit="reward")
    assert found.figures == (FIRST.mean(), *student(FIRST))
    assert (found.unit, found.n) == ("reward", 12)
    share = share_estimate(3, 10, 0.9)
    assert share == Estimate(0.3, *clopper_pearson(3, 10, 0.9), "", 10)
    assert f"{share:.2f}" == f"0.30 [{share.low:.2f}, {share.high:.2f}]"


def test_the_divergence_is_that_of_kullback_and_leibler():
    """A thousand responses of three tokens, each drawn from its own distribution."""
    random = np.random.default_rng(0)
    log_p, log_q = np.log(random.dirichlet(np.ones(8), (2, 3)))
    exact = np.sum(np.exp(log_p) * (log_p - log_q))
    tokens = np.array([random.choice(8, 1_000, p=np.exp(row)) for row in log_p]).T
    own, other = (table[np.arange(3), tokens] for table in (log_p, log_q))
    found, naive = divergence(own, other), (own - other).sum(axis=1)
    assert found.min() >= 0.0 > naive.min()
    assert abs(found.mean() - exact) < 3 * found.std() / np.sqrt(1_000)
    # Control: the two policies exchanged are another divergence, and that would be noticed.
    assert abs(divergence(other, own).mean() - exact) > 3 * found.std() / np.sqrt(1_000)


@given(st.lists(st.tuples(st.floats(-1e4, 0), st.floats(-1e4, 0)), min_size=1, max_size=20))
def test_no_divergence_is_below_zero_or_overflows(tokens):
    own, other = np.array(tokens).T[:, None]
    assert 0.0 == divergence(own, own).item() <= divergence(own, other).item() < math.inf


@given(st.integers(1, 1000), st.integers(0, 10**6), st.floats(0.5, 0.999))
def test_looks_double_up_to_the_last_and_spend_the_level_once(first, more, confidence):
    sizes, levels = zip(*looks(first, first + more, confidence), strict=True)
    assert first <= sizes[0] <= 2 * first and sizes[-1] == first + more
    pairs = itertools.pairwise(sizes)
    assert all(later in (2 * size, 2 * size - 1) for size, later in pairs)
    assert sum(1 - level for level in levels) == pytest.approx(1 - confidence)


@pytest.mark.parametrize("sizes", [(0, 10), (11, 10)])
def test_looks_ask_for_sizes_in_order(sizes):
    with pytest.raises(InvalidArgument):
        list(looks(*sizes))
