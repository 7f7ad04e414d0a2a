"""The judges against cases whose answer is known."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from apo_sim.claims import ClaimError, Finding, judge
from apo_sim.errors import InvalidArgument, UnknownName


def index(worst):
    return {"instance": worst}


@pytest.mark.parametrize(("errors", "verdict"), [(1e-13, "holds"), ([0.0, -1e-3], "fails")])
def test_identity(errors, verdict):
    finding = judge.identity(errors, 1e-12, witness=index)
    assert finding.verdict == verdict
    assert finding.counterexample == (None if verdict == "holds" else {"instance": 1})


def test_identity_refuses_nan_and_nothing():
    with pytest.raises(ClaimError, match=r"NaN at index \(1,\)"):
        judge.identity([0.0, np.nan], 1e-12)
    with pytest.raises(InvalidArgument, match="empty"):
        judge.identity([], 1e-12)


def test_upper_bound_reports_the_largest_ratio():
    finding = judge.upper_bound(np.array([[1.0, 3.0], [2.0, 0.0]]), 4.0)
    assert (finding.verdict, finding.measured, finding.ratio) == ("holds", 3.0, 0.75)
    assert finding.instances == 4


def test_upper_bound_reports_a_violation_before_a_larger_ratio_within_rounding():
    # The first is above its bound by rounding only, though its ratio is the larger one.
    finding = judge.upper_bound([2e-15, 1.5], [1e-15, 1.0], witness=index)
    assert (finding.verdict, finding.counterexample) == ("fails", {"instance": 1})


def test_upper_bound_allows_for_rounding_and_no_more():
    assert judge.upper_bound(1.0 + 1e-10, 1.0).verdict == "holds"
    assert judge.upper_bound(1.0 + 1e-8, 1.0).verdict == "fails"
    assert judge.upper_bound(1.0 + 1e-8, 1.0, rounding=1e-7).verdict == "holds"


def test_upper_bound_vacuous_only_if_everywhere():
    assert judge.upper_bound([0.1, 0.2], [1.0, 5.0], trivial=1.0).verdict == "vacuous"
    assert judge.upper_bound([0.1, 0.2], [0.9, 5.0], trivial=1.0).verdict == "holds"
    assert judge.upper_bound([0.1, 9.0], [1.0, 5.0], trivial=1.0).verdict == "fails"
    assert judge.upper_bound([0.1, 0.2], [1.0, 5.0], trivial=[1.0, 6.0]).verdict == "holds"


def test_upper_bound_of_bounds_without_a_ratio():
    negative = judge.upper_bound([0.1, 0.3], [-1.0, -1.0], witness=index)
    assert (negative.verdict, negative.ratio) == ("fails", None)
    assert negative.counterexample == {"instance": 1}
    infinite = judge.upper_bound([0.1, np.inf], [np.inf, np.inf], trivial=1.0)
    assert infinite.verdict == "vacuous"
    assert judge.upper_bound(-1.0, 0.0).verdict == "holds"
    # A violated bound with a ratio says more than one without.
    mixed = judge.upper_bound([0.5, 3.0], [-1.0, 2.0], witness=index)
    assert mixed.counterexample == {"instance": 1}


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1, max_size=20))
def test_upper_bound_agrees_with_its_definition(pairs):
    measured, bound = np.array(pairs).T
    allowance = 1e-9 * np.maximum(abs(measured), abs(bound)) + 1e-14
    finding = judge.upper_bound(measured, bound)
    assert (finding.verdict == "fails") == bool(np.any(measured - bound > allowance))
    assert (finding.measured, finding.bound) in set(zip(measured, bound, strict=True))


@pytest.mark.parametrize("paired", [True, False])
def test_compare(paired):
    rng = np.random.default_rng(0)
    small, large = rng.normal(0.0, 0.1, 40), rng.normal(1.0, 0.1, 40)
    assert judge.compare(small, large, paired=paired).verdict == "holds"
    assert judge.compare(large, small, paired=paired).verdict == "fails"
    assert judge.compare(small, small[::-1], paired=paired).verdict == "not reproduced"
    assert judge.compare(large, small, margin=2.0, paired=paired).verdict == "holds"
    finding = judge.compare(small, large, paired=paired)
    assert finding.interval is not None and finding.measured is not None
    low, high = (float(end) for end in finding.interval if end is not None)
    assert low < float(finding.measured) < high


def test_compare_pairs_only_what_can_be_paired():
    with pytest.raises(InvalidArgument, match="paired=False"):
        judge.compare([1.0, 2.0], [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [((-0.54, -0.46), "holds"), ((-0.4, -0.3), "fails"), ((-0.6, -0.46), "not reproduced")],
)
def test_close(interval, verdict):
    middle = sum(interval) / 2
    assert judge.close(middle, interval, target=-0.5, tolerance=0.05).verdict == verdict


@pytest.mark.parametrize(
    ("failures", "trials", "verdict"),
    [(0, 100, "holds"), (50, 100, "fails"), (0, 10, "not reproduced")],
)
def test_failure_rate(failures, trials, verdict):
    finding = judge.failure_rate(failures, trials, 0.05)
    assert (finding.verdict, finding.instances) == (verdict, trials)


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (3, 20), (20, 20)])
def test_clopper_pearson_against_the_beta_quantiles(successes, trials):
    low, high = judge.clopper_pearson(successes, trials)
    failures = trials - successes
    expected_low = stats.beta.ppf(0.025, successes, failures + 1) if successes else 0.0
    expected_high = stats.beta.ppf(0.975, successes + 1, failures) if failures else 1.0
    assert (low, high) == pytest.approx((expected_low, expected_high), abs=1e-12)


def test_clopper_pearson_refuses_more_successes_than_trials():
    with pytest.raises(InvalidArgument, match="successes"):
        judge.clopper_pearson(3, 2)


def test_mean_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    intervals = [judge.mean_interval(rng.normal(size=8)) for _ in range(400)]
    covered = sum(low <= 0 <= high for low, high in intervals)
    low, high = judge.clopper_pearson(covered, 400, confidence=0.999)
    assert low <= 0.95 <= high


def test_slope_interval_against_numpy():
    rng = np.random.default_rng(2)
    x = np.arange(10.0)
    y = -0.5 * x + rng.normal(size=10)
    (gradient, intercept), covariance = np.polyfit(x, y, 1, cov=True)
    half = np.sqrt(covariance[0, 0]) * stats.t.ppf(0.975, 8)
    assert judge.slope_interval(x, y) == pytest.approx((gradient - half, gradient + half))
    assert judge.slope(x, y) == pytest.approx((gradient, intercept))


def test_intervals_ask_for_enough_samples():
    with pytest.raises(InvalidArgument, match="at least 2"):
        judge.mean_interval([1.0])
    with pytest.raises(InvalidArgument, match="at least 3"):
        judge.slope_interval([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(InvalidArgument, match="constant"):
        judge.slope([1.0, 1.0], [1.0, 2.0])


def test_climb_finds_the_peak_of_any_pytree():
    starts = {"a": jnp.array([0.0, 5.0]), "b": jnp.zeros((2, 3))}
    peak = judge.climb(
        lambda p: -((p["a"] - 2.0) ** 2) - jnp.sum((p["b"] - 1.0) ** 2), starts, steps=600
    )
    assert peak.value == pytest.approx(0.0, abs=1e-3)
    assert peak.params["b"].shape == (3,)
    assert peak.trace.shape == (600, 2)
    assert np.all(np.diff(np.asarray(peak.trace), axis=0) >= 0)


def test_climb_survives_points_without_a_value():
    # Beyond 1 there is only NaN: every start has to stop short of it, and one is lost at once.
    peak = judge.climb(lambda x: jnp.where(x < 1.0, x, jnp.nan), jnp.array([0.0, 3.0]), steps=100)
    assert 0.9 < peak.value < 1.0
    assert np.asarray(peak.all_values).tolist()[1] == -np.inf
    with pytest.raises(ClaimError, match="not finite"):
        judge.climb(lambda x: x * jnp.nan, jnp.array([1.0]))


def test_climb_does_not_follow_a_gradient_that_is_not_finite():
    # The derivative of sqrt at 0 is infinite; the start itself is a point like any other.
    peak = judge.climb(lambda x: jnp.sqrt(x), jnp.array([0.0]), steps=3)
    assert peak.value == 0.0


def test_finding_refuses_a_verdict_that_does_not_exist():
    with pytest.raises(UnknownName, match="did you mean 'holds'"):
        Finding("hold")


@pytest.mark.parametrize(
    ("measured", "bound", "ratio"),
    [
        (1.0, 2.0, 0.5),
        (1.0, 0.0, None),
        (1.0, -1.0, None),
        (1e300, 1e-300, None),
        (1.0, None, None),
    ],
)
def test_ratio_of_a_finding(measured, bound, ratio):
    assert Finding("holds", measured=measured, bound=bound).ratio == ratio


def test_the_worst_part_decides():
    verdicts = ["holds", "vacuous", "depends", "not reproduced", "fails"]
    parts = [Finding(verdict) for verdict in verdicts]
    for n in range(len(parts)):
        found = judge.worst(parts[: n + 1])
        assert (found.verdict, found.cells) == (verdicts[n], n + 1)


def test_an_infinite_measurement_violates_a_finite_bound_only():
    assert judge.upper_bound([0.5, np.inf], [1.0, 1.0]).verdict == "fails"
    assert judge.upper_bound([0.5, np.inf], [1.0, np.inf]).verdict == "holds"


@given(st.integers(1, 200))
def test_intervals_together_are_never_narrower(cells):
    assert 0.95 <= judge.together(cells) < 1
    assert cells * (1 - judge.together(cells)) == pytest.approx(0.05)


def test_intervals_of_many_cells_cover_all_of_their_means_at_once():
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(400):
        samples = {f"cell {i}": rng.normal(size=20) for i in range(10)}
        missed += any(not e.low <= 0 <= e.high for e in judge.estimates(samples).values())
    low, high = judge.clopper_pearson(missed, 400, 0.999)
    assert low <= 0.05 and missed > 0  # uncorrected, some 40 % would miss one
    assert high < 0.15


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ((-1.0, -1.0), "holds"),
        ((1.0, 1.0), "fails"),
        ((0.0, 0.0), "not reproduced"),
        ((-1.0, 1.0), "depends"),
        ((-1.0, 0.0), "depends"),
        ((1.0, 0.0), "depends"),
    ],
)
def test_a_map_is_unanimous_or_depends(means, verdict):
    cells = {f"cell {i}": judge.Estimate(m, m - 0.1, m + 0.1) for i, m in enumerate(means)}
    found = judge.where(cells)
    assert found.verdict == verdict
    assert (found.counterexample is not None) == (verdict == "fails")
    assert sum(len(named) for named in (found.regions or {}).values()) == 2


def test_a_map_needs_cells():
    with pytest.raises(InvalidArgument, match="cells"):
        judge.where({})
    with pytest.raises(InvalidArgument, match="cells"):
        judge.together(0)
