"""Paired differences: their interval covers, and their power is what simulation finds."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from apo_sim.errors import InvalidArgument
from apo_sim.studies._paired_power import POWER, difference_of
from apo_sim.studies.wording import sure_sign

pytestmark = pytest.mark.xdist_group("studies")


def test_one_stratum_is_students_interval():
    values = np.random.default_rng(0).normal(size=(1, 7))
    found = difference_of(values)
    given = stats.ttest_1samp(values[0], 0.0).confidence_interval(0.95)
    np.testing.assert_allclose(found.estimate.figures[1:], given, rtol=1e-12)
    assert found.freedom == 6 and found.estimate.n == 7


def test_the_intervals_of_several_comparisons_cover_together():
    """Strata with means of their own do not widen an interval; correction does."""
    random = np.random.default_rng(1)
    apart = np.array([[-1.0], [0.0], [1.0]])
    drawn = 0.3 + apart + random.normal(size=(400, 5, 3, 5))
    covered = {}
    for comparisons in (1, 5):
        inside = [
            [
                one.low <= 0.3 <= one.high
                for one in (difference_of(values, comparisons).estimate for values in study)
            ]
            for study in drawn
        ]
        covered[comparisons] = np.mean(np.all(inside, axis=1))
    # 400 studies: 0.95 less three standard errors; without correction 0.95^5 = 0.77.
    assert covered[5] > 0.95 - 3 * (0.95 * 0.05 / 400) ** 0.5 > 0.9 > covered[1]


def test_the_stated_power_is_that_of_simulated_studies():
    """Power at the effect that it names, for a known scatter."""
    random = np.random.default_rng(2)
    plan = difference_of(random.normal(size=(3, 5)), 9)
    # Of the law itself: a study whose scatter happens to be the true one, 1.
    plan = dataclasses.replace(plan, error=1.0 / 15**0.5)
    assert abs(plan.power(plan.seen) - POWER) < 1e-9
    drawn = plan.seen + random.normal(size=(4_000, 3, 5))
    found = [difference_of(values, 9) for values in drawn]
    share = np.mean([sure_sign(one.estimate) != 0 for one in found])
    assert abs(share - POWER) < 3 * (0.8 * 0.2 / 4_000) ** 0.5
    # Control: half of that effect is seen far less often.
    assert plan.power(plan.seen / 2) < 0.4


def test_what_has_no_scatter_is_refused():
    with pytest.raises(InvalidArgument, match="do not vary"):
        difference_of(np.ones((2, 3)))
    with pytest.raises(InvalidArgument, match="single member"):
        difference_of(np.ones((2, 1)))
