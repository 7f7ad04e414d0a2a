"""The claims about networks: verdicts, controls, and what they compare."""

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

from apo_sim.claims import Study, check, v6
from apo_sim.claims.verdict import Verdict


@pytest.fixture(scope="module")
def found() -> Verdict:
    return check("V6")


@pytest.mark.xdist_group("V6")
def test_parameters_miss_more_than_a_tenth(found):
    # One network is near the tenth: fewer seeds may leave it open.
    assert found.verdict in {"fails", "not reproduced"}
    assert found.control["verdict"] == "fails"
    assert found.interval is not None and found.instances == 24
    low, high = found.interval
    assert low is not None and high is not None and low <= found.measured <= high


@pytest.mark.xdist_group("V6")
def test_the_figure_draws(found):
    figure = Figure(layout="constrained")
    assert found.draw is not None
    found.draw(figure)
    figure.draw_without_rendering()
    assert figure.axes[0].get_xlabel()


@pytest.mark.xdist_group("V6")
def test_what_is_missed_is_small_beside_the_control(found):
    del found  # it has compiled the programs
    with jax.enable_x64(True):
        for name in v6.LABELS:
            right, wrong = (
                v6._measured(name, 24, Study("V6", wrong=wrong)) for wrong in (False, True)
            )
            (missed, moved), (flipped, _) = right, wrong
            assert np.all(missed >= 0) and np.all(moved > 0)
            # Before the first extrapolation the two trainings are one.
            np.testing.assert_allclose(wrong[1][:, 0], moved[:, 0], rtol=1e-9)
            # The other direction is twice as far away, which divergences square.
            assert 2.0 < np.median(flipped[:, -1] / wrong[1][:, -1]) < 6.0
            assert np.median(missed[:, -1] / moved[:, -1]) < 0.1
