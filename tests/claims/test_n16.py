"""N16: what its check is made of, on differences that are made up."""

import dataclasses

import numpy as np
import pytest

from apo_sim import theory
from apo_sim.claims import n16
from apo_sim.claims._noise_law import Cell

SAMPLES = np.array([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0])


def made_up(crossing, star, noise=0.01):
    """One beta at which (ii) is made; momentum pays above `crossing`, the law says `star`."""
    shape = (1, 1, 1, SAMPLES.size, len(n16.HORIZONS))
    side = np.broadcast_to(np.where(crossing < SAMPLES, -1.0, 1.0)[:, None], shape)
    change = np.stack([side, np.roll(side, 1, axis=3)], axis=-1)
    ones = np.ones((1, 1, 1, len(n16.HORIZONS)))
    return n16._Data(
        (3,), (0.9,), (16.0,), SAMPLES, 100, change, noise + 0.0 * change, star * ones, ones
    )


def test_the_law_is_right_where_both_cross_and_wrong_where_it_is_off_by_more_than_two():
    assert n16._law_is_right(made_up(10.0, 10.0)).verdict == "holds"
    assert n16._law_is_right(made_up(10.0, 1.5)).verdict == "fails"
    late = n16._law_is_right(made_up(10.0, 200.0))
    assert late.verdict == "fails" and late.counterexample is not None
    assert late.counterexample["samples"] in SAMPLES
    # What noise explains refutes nothing.
    assert n16._law_is_right(made_up(10.0, 1.5, noise=1.0)).verdict == "holds"


def test_it_pays_where_that_is_sure_only():
    assert n16._pays(made_up(10.0, 1.0), 1.0).verdict == "holds"
    assert n16._pays(made_up(10.0, 1.0), -1.0).verdict == "fails"
    assert n16._pays(made_up(500.0, 1.0), 1.0).verdict == "fails"
    assert n16._pays(made_up(10.0, 1.0, noise=1.0), 1.0).verdict == "fails"


def test_from_how_many_pairs_on_it_pays():
    data = made_up(10.0, 1.0)
    assert (n16._from(data, 0) == 16.0).all()
    assert (n16._from(made_up(2000.0, 1.0), 0) == np.inf).all()
    # A lucky cell below is not the beginning.
    lucky = data.change.copy()
    lucky[:, :, :, 0] = -1.0
    assert (n16._from(data._replace(change=lucky), 0) == 16.0).all()


def test_near_ties_of_two_arms_cross_where_the_closed_form_says():
    p, lead, beta, alpha = 0.8, 1e-5, 20.0, 0.9
    fast = Cell(np.array([lead, 0.0]), np.log([p, 1 - p]), alpha, beta)
    (star,), _ = n16._crossing([(fast, dataclasses.replace(fast, alpha=0.0))])
    w = np.asarray(theory.weights(alpha, n16.ITERATIONS))
    stretch = (np.sum(w**2) - w.size) / (np.sum(w) - w.size)
    assert star == pytest.approx((2 * p - 1) / (p * (1 - p)) * stretch / (beta * lead), rel=0.01)
