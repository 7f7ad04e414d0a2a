"""`apo-sim sweep`: flags, files, and going on."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from command import run

from apo_sim import cli

SWEEP = (
    *("sweep", "--arms", 3, "--alpha", 0, 0.5, "--beta", 5),
    *("--iterations", 3, "--seeds", 4, "--seed", 3),
)


def test_sweep_stores_and_resumes(capsys, tmp_path):
    out = tmp_path / "gaps.zarr"
    status, text, _ = run(capsys, *SWEEP, "--out", out)
    assert status == cli.DONE and f"Store: {out}" in text
    assert text.count("±") == 2 and "alpha=0.5" in text
    assert run(capsys, *SWEEP, "--out", out)[1] == text
    status, _, err = run(capsys, *SWEEP, "--out", out, "--arms", 4)
    assert status == cli.USAGE and "arms is 3 there and 4 here" in err


def test_sweep_over_names(capsys, tmp_path):
    axes = ("--loss", "dpo", "sppo", "--geometry", "kl", "euclidean", "--ranker", "pairwise")
    rivals = ("--alpha", 0.5, "--beta-schedule", "constant", "matched")
    rest = ("--arms", 3, "--beta", 5, "--iterations", 2, "--seeds", 2)
    out = tmp_path / "gaps.zarr"
    status, text, err = run(capsys, "sweep", *axes, *rivals, *rest, "--out", out)
    assert (status, err) == (cli.DONE, "") and text.count("±") == 8
    assert "loss=sppo, geometry=euclidean, beta_schedule=matched" in text


def test_sweep_from_a_file(capsys, tmp_path):
    file = tmp_path / "sweep.toml"
    file.write_text("arms = 3\nbeta = 5\nalpha = [0, 0.5]\niterations = 3\nseeds = 4\nseed = 3\n")
    given = run(capsys, "sweep", "--file", file, "--out", tmp_path / "file.zarr")[1]
    flags = run(capsys, *SWEEP, "--out", tmp_path / "flags.zarr")[1]
    assert given.splitlines()[:2] == flags.splitlines()[:2]
    file.write_text("arms = [3")
    status, _, err = run(capsys, "sweep", "--file", file)
    assert status == cli.USAGE and "is not valid TOML" in err
