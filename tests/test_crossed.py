"""The interval of a table of seeds and prompts: as often right as it says."""

import numpy as np
import pytest

from apo_sim.statistics import crossed, student


def test_one_row_or_column_is_students_interval():
    values = np.random.default_rng(0).normal(size=12)
    for table in (values[None], values[:, None]):
        found = crossed(table)
        assert (found.low, found.high) == pytest.approx(student(values))


@pytest.mark.parametrize("spreads", [(0.0, 0.0, 1.0), (1.0, 1.0, 1.0), (0.1, 2.0, 1.0)])
def test_the_interval_misses_hardly_more_often_than_it_says(spreads):
    rng = np.random.default_rng(1)
    of_row, of_column, of_cell = spreads
    missed, halves = 0, []
    for _ in range(1000):
        table = (
            of_row * rng.normal(size=(5, 1))
            + of_column * rng.normal(size=(1, 40))
            + of_cell * rng.normal(size=(5, 40))
        )
        found = crossed(table)
        missed += not found.low <= 0.0 <= found.high
        halves.append(found.high - found.low)
    # 5 % of 1,000, and three standard errors.
    assert missed <= 71
    exact = (of_row**2 / 5 + of_column**2 / 40 + of_cell**2 / 200) ** 0.5
    assert np.median(halves) < 2 * 2.8 * exact


def test_rows_that_are_ignored_make_the_interval_too_narrow():
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(300):
        table = rng.normal(size=(5, 1)) + rng.normal(size=(5, 40))
        low, high = student(table.mean(axis=0))
        missed += not low <= 0.0 <= high
    assert missed > 100
