"""The experiments run at a tiny size, and their statistics find what was planted."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))
import phase_diagram
import tradeoff

EXPERIMENTS = Path(str(phase_diagram.__file__)).parent
SMALL = ["--iterations", "4", "--arms", "3", "--seeds", "8"]


@pytest.mark.parametrize(
    ("script", "options", "figure"),
    [
        ("tradeoff.py", SMALL, "tradeoff.svg"),
        ("phase_diagram.py", [*SMALL, "--betas", "2"], "beta_2.svg"),
    ],
)
def test_script(script, options, figure, tmp_path):
    command = [sys.executable, str(EXPERIMENTS / script), *options, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "95 %" in done.stdout and (tmp_path / figure).stat().st_size > 10_000
    refused = subprocess.run([*command, "--seed", "1"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "seed is 0 there and 1 here" in refused.stdout


def planted(gain: float) -> xr.DataArray:
    """Gaps of 1, noisy, that momentum makes smaller by `gain` at alpha = 0.3."""
    alphas = phase_diagram.ALPHAS
    rng = np.random.default_rng(0)
    gap = 1.0 + 0.1 * rng.normal(size=(2, len(alphas), 2, 400, 3))
    gap[0, alphas.index(0.3)] -= gain
    return xr.DataArray(
        gap,
        dims=("momentum", "alpha", "samples", "seed", "iteration"),
        coords={
            "momentum": ["constant", "matched_beta"],
            "alpha": alphas,
            "samples": [10.0, 100.0],
            "iteration": [1, 2, 3],
        },
    )


def test_phase_diagram_finds_a_planted_gain_and_no_other():
    found = phase_diagram.judged(planted(0.2))
    assert (found.best == 0.3).all()
    assert (found.over_none > found.half_none).all()
    assert (found.over_matched > found.half_matched).all()
    np.testing.assert_allclose(found.over_none, 0.2, atol=0.04)
    assert not found.hurts.any()
    # The best of six noisy means would look like a gain on the seeds it was chosen on.
    nothing = phase_diagram.judged(planted(0.0))
    assert int((nothing.over_none > nothing.half_none).sum()) <= 1
    assert "beats alpha = 0 in 6 of 6 cells" in phase_diagram.finding(found, 1.0, 10)


def test_bootstrap_interval_covers_a_known_ratio():
    rng = np.random.default_rng(1)
    data = np.stack([np.full(500, 2.0), np.full(500, 3.0)]) + rng.normal(size=(2, 500))
    low, high = tradeoff.interval(data, lambda d: float(d[1].mean() / d[0].mean()), rng)
    assert low < 1.5 < high and high - low < 0.2
