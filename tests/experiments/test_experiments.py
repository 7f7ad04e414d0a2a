"""The experiments run at a tiny size, and their statistics find what was planted."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import apo_sim as apo

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))
import momentum_rules
import phase_diagram
import tradeoff

EXPERIMENTS = Path(str(phase_diagram.__file__)).parent
SMALL = ["--iterations", "4", "--arms", "3", "--seeds", "8"]


def test_a_script_from_its_command_line(tmp_path):
    command = [sys.executable, str(EXPERIMENTS / "tradeoff.py"), *SMALL, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "95 %" in done.stdout
    assert (tmp_path / "tradeoff.svg").stat().st_size > 10_000
    refused = subprocess.run([*command, "--seed", "1"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "seed is 0 there and 1 here" in refused.stdout


def test_phase_diagram_from_its_data_on(tmp_path, monkeypatch, capsys):
    found = planted(0.2).isel(samples=[0] * 7, iteration=[0] * 50)
    found = found.assign_coords(samples=phase_diagram.SAMPLES, iteration=range(1, 51))
    asked = []

    def planted_sweep(family, **arguments):
        asked.append((family, arguments["beta"], arguments["seeds"]))
        return xr.Dataset({"suboptimality": found})

    monkeypatch.setattr(phase_diagram, "sweep", planted_sweep)
    phase_diagram.main(phase_diagram.Options(out=tmp_path, betas=(1.0, 2.0), seeds=400))
    assert asked == [("uniform", 1.0, 400), ("uniform", 2.0, 400)]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["beta_1.png", "beta_2.png"]
    assert capsys.readouterr().out.count("beats alpha = 0 in 77 of 77 cells") == 2


def test_momentum_rules_from_their_data_on(tmp_path, monkeypatch, capsys):
    better = {"averaging": 0.3}

    def planted_sweep(family, *, momentum, seeds, beta, samples=None, **arguments):
        rng = np.random.default_rng(0)
        shape = (*(() if samples is None else (len(samples),)), seeds, 1)
        gap = 1.0 - better.get(momentum, 0.0) * (samples is not None) + 0.1 * rng.normal(size=shape)
        dims = (*(() if samples is None else ("samples",)), "seed", "iteration")
        coordinates = {} if samples is None else {"samples": samples}
        return xr.Dataset({"suboptimality": (dims, gap)}, {**coordinates, "beta": beta})

    monkeypatch.setattr(momentum_rules, "sweep", planted_sweep)
    momentum_rules.main(momentum_rules.Options(out=tmp_path, seeds=50))
    out = capsys.readouterr().out
    assert "exact runs end within 0" in out and "from averaging 0.3 -3" in out
    assert (tmp_path / "momentum_rules.png").is_file()


def test_equal_beta_gives_equal_gamma():
    for rule, alpha in momentum_rules.RULES.values():
        beta = momentum_rules.equal_beta(rule, alpha, beta=5.0, iterations=20)
        if rule == "constant":
            assert float(apo.theory.gamma(alpha, beta, 20)[-1]) == pytest.approx(4.0, abs=1e-12)
        if rule == "none":
            assert beta == pytest.approx(5.0, abs=1e-12)
        # Extrapolation needs a larger beta, averaging a smaller one.
        assert (beta > 5.0) == (rule in ("constant", "nesterov", "from_behaviour"))


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
