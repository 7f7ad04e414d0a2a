"""Spaces side by side: what is the same by construction, and what planted numbers say."""

import jax
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from apo_sim import families
from apo_sim.sequences import all_sequences
from apo_sim.studies import extrapolated_sequences
from apo_sim.studies.extrapolated_sequences import LABELS, NONE


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return extrapolated_sequences.measure(
        seeds=3,
        vocabulary=3,
        length=2,
        iterations=4,
        alphas=[0.0, 0.9],
        betas=[1.0],
        networks=["recurrent"],
        progress=False,
    )


def planted(parameters: float = 0.0, tokens: float = 0.0) -> xr.Dataset:
    """Gaps 0.2 for (3.6), 0.6 without momentum; the others lose shares of what it saves."""
    rng = np.random.default_rng(0)
    level = {NONE: 0.6, "exact": 0.2, "tokens": 0.2 + 0.4 * tokens}
    level["parameters"] = 0.2 + 0.4 * parameters
    gap = np.array([level[space] for space in LABELS])[None, :, None, None, None, None]
    gap = gap + 0.01 * rng.normal(size=(2, 4, 2, 1, 40, 5))
    kl = np.full_like(gap, 0.01)
    kl[:, 3] = 0.01 if parameters < 1 else 0.5
    dims = ("network", "space", "alpha", "beta", "seed", "iteration")
    return xr.Dataset(
        {
            "suboptimality": (dims, gap),
            "kl_to_exact": (dims, kl),
            "moved": (dims, np.full_like(gap, 0.1)),
            "diverged": (dims[:-1], np.zeros(gap.shape[:-1], int)),
        },
        {
            "network": ["recurrent", "attention"],
            "space": list(LABELS),
            "alpha": [0.3, 0.9],
            "beta": [1.0],
            "iteration": np.arange(1, 6),
            "sequences": 256,
        },
    )


def test_without_momentum_all_spaces_are_one(data):
    plain = data.sel(alpha=0.0)
    # But for rounding: single precision, and offsets that add up to nothing.
    np.testing.assert_allclose(
        plain.suboptimality.transpose("space", ...)[1:],
        np.broadcast_to(plain.suboptimality.sel(space=NONE), (3, 1, 1, 3, 4)),
        atol=1e-3,
    )
    assert float(plain.kl_to_exact.max()) < 1e-6


def test_spaces_part_with_momentum_after_the_same_first_step(data):
    moving = data.sel(alpha=0.9, network="recurrent", beta=1.0)
    first = moving.suboptimality.isel(iteration=0)
    assert float(abs(first - first.sel(space=NONE)).max()) < 1e-6
    last = moving.suboptimality.isel(iteration=-1)
    assert bool((last.sel(space=["exact", "tokens"]) < last.sel(space=NONE)).all())
    far = moving.kl_to_exact.isel(iteration=0).mean("seed")
    assert float(far.sel(space="exact")) < 1e-6
    assert float(far.sel(space="parameters")) > float(far.sel(space="tokens")) > 1e-6


def test_lost_shares_are_those_planted():
    here = planted(parameters=0.5, tokens=0.25).isel(network=0, alpha=0, beta=0)
    share = extrapolated_sequences.lost(here, "parameters")
    assert share.low < 0.5 < share.high and share.value == pytest.approx(0.5, abs=0.02)
    assert extrapolated_sequences.lost(here, "tokens").value == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("share", [0.5, -0.5, 1.5])
def test_finding_tells_what_was_planted(share):
    found = extrapolated_sequences.finding(planted(share))
    assert (found.seeds, found.settings, found.diverged) == (40, 4, 0)
    assert len(found.apart) == 4 and found.beta == 1.0
    worst = found.apart[found.worst("parameters")]
    assert worst.lost["parameters"].value == pytest.approx(share, abs=0.03)
    assert worst.gap["parameters"].value == pytest.approx(0.4 * share, abs=0.01)
    assert worst.gap[NONE].value == pytest.approx(0.4, abs=0.01)
    ahead = (4, 0) if share > 0 else (0, 4)
    assert (found.worse["parameters"], found.better["parameters"]) == ahead
    # Parameters that lose more than all that is saved do worse than no momentum, in every setting.
    failed = {(each.network, each.alpha) for each in found.worse_than_none}
    assert failed == (set(found.apart) if share > 1 else set())
    far = 5.0 if share >= 1 else 0.1  # KL 0.5 or 0.01 in steps of 0.1
    assert worst.distance["parameters"].figures == pytest.approx((far,) * 3)
    assert found.strays == (1.0 if share >= 1 else 0.0)
    lowest, *_ = (f"{100 * end:.0f}" for end in worst.lost["parameters"].figures)
    assert f"parameters lose at worst {lowest} %" in found.text


def test_draw():
    figure = Figure()
    extrapolated_sequences.draw(figure, planted())
    assert len(figure.axes) == 4
    assert len(figure.axes[0].collections) == len(LABELS)


def test_rewards_of_sequences_are_sums_over_tokens_and_neighbours():
    vocabulary, length = 3, 4
    bandit = families.sequence_bandit(jax.random.key(0), vocabulary, length)
    tokens = np.asarray(all_sequences(vocabulary, length))
    first = np.eye(vocabulary)[tokens].reshape(len(tokens), -1)
    pairs = np.eye(vocabulary**2)[tokens[:, :-1] * vocabulary + tokens[:, 1:]]
    reward = np.asarray(bandit.reward[0], float)
    assert (reward.min(), reward.max()) == pytest.approx((-1.0, 1.0))

    def left_over(features):
        return np.abs(features @ np.linalg.lstsq(features, reward)[0] - reward).max()

    assert left_over(np.hstack([first, pairs.reshape(len(tokens), -1)])) < 1e-5
    # The control: tokens alone do not explain it.
    assert left_over(np.hstack([first, np.ones((len(tokens), 1))])) > 0.1
