"""V5 on planted ratios: what it says of them, and what its margin is."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from apo_sim.claims import check, v5
from apo_sim.studies.optimizer_comparison import ADAMW, RING, RMSPROP, measure
from apo_sim.studies.ring_protocol import Protocol


@pytest.fixture(scope="module")
def small():
    """The study on a small ring: `make validate` judges the one that the claim is about."""
    fewer = {"seeds": 6, "tuning": 3, "rates": 2, "iterations": {RING: 30}, "progress": False}
    return measure(
        **fewer,
        tasks=[RING],
        optimizers=[ADAMW, RMSPROP],
        variants=v5.VARIANTS,
        protocol=Protocol(side=7, width=32, samples=64),
    )


def planted(data, ratio, slow):
    """AdamW's regret is the same with every variant, RMSProp's a multiple of it."""
    adamw = data.behaviour_suboptimality.sel(optimizer=ADAMW, variant=v5.STANDARD).values
    noise = 1 + 0.01 * np.random.default_rng(0).normal(size=(data.sizes["seed"], 1))
    regret = data.behaviour_suboptimality.transpose("task", "optimizer", "variant", ...).copy()
    for variant in regret.variant.values:
        factor = slow if variant == v5.SLOW else ratio
        regret.loc[{"optimizer": ADAMW, "variant": variant}] = adamw
        regret.loc[{"optimizer": RMSPROP, "variant": variant}] = factor * noise * adamw
    return data.assign(behaviour_suboptimality=regret)


@pytest.mark.xdist_group("V5")
@pytest.mark.parametrize(
    ("ratio", "slow", "verdict", "sound"),
    [
        (1.0, 3.0, "holds", True),
        (1.6, 3.0, "fails", True),
        (2.5, 3.0, "fails", False),  # and so does the repair
        (1.0, 1.0, "holds", False),  # the control cannot be told from the claim
        (1 + v5.MARGIN, 3.0, "not reproduced", True),
    ],
)
def test_planted_ratios_are_found(small, monkeypatch, ratio, slow, verdict, sound):
    monkeypatch.setattr(v5, "_measured", lambda quick, seed: planted(small, ratio, slow))
    found = check("V5")
    assert (found.verdict, found.sound) == (verdict, sound)
    low, high = found.interval or (None, None)
    assert low is not None and high is not None and found.measured is not None
    assert low <= found.measured <= high
    figure = Figure(layout="constrained")
    assert found.draw is not None
    found.draw(figure)
    assert len(figure.axes) == 3


def test_the_margin_is_what_was_reported():
    standard = np.array([0.3612, 0.1132, 0.0343, 0.0125, 0.0060])
    extrapolation = np.array([0.3368, 0.0840, 0.0119, 0.0037, 0.0025])
    assert (1 - v5.MARGIN) * standard.mean() == pytest.approx(extrapolation.mean())
