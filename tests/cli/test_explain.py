"""`apo-sim llm explain`: what a log shows."""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from command import run


def write(folder: Path, drift: float) -> Path:
    noise = np.random.default_rng(0).normal(size=(2, 200))
    length = 120 + np.linspace(0, drift, 200) + noise[0]
    margin = np.linspace(0, 1.5, 200) + 0.05 * noise[1]
    lines = [f"{k},{length[k]},{margin[k]},{np.log1p(np.exp(-margin[k]))}" for k in range(200)]
    path = folder / "log.csv"
    path.write_text("\n".join(["step,length,rewards/margins,loss", *lines]))
    return path


def test_a_drift_in_length_is_named_under_both_names(capsys, tmp_path):
    path = write(tmp_path, drift=90)
    status, out, _ = run(capsys, "llm", "explain", path)
    assert status == 0 and "length" in out
    assert run(capsys, "explain", path)[1] == out
    found = json.loads(run(capsys, "explain", path, "--json")[1])
    assert [diagnosis["effect"] for diagnosis in found["diagnoses"]] == ["length drift"]


def test_nothing_is_named_where_nothing_drifts(capsys, tmp_path):
    found = json.loads(run(capsys, "explain", write(tmp_path, drift=0), "--json")[1])
    assert found["diagnoses"] == []


def test_every_column_is_drawn(capsys, tmp_path):
    path = write(tmp_path, drift=90)
    for name in ("log.png", "log.svg"):
        assert run(capsys, "llm", "explain", path, "--figure", tmp_path / name)[0] == 0
    assert (tmp_path / "log.png").read_bytes()[1:4] == b"PNG"
    assert "<svg" in (tmp_path / "log.svg").read_text()
    for name, said in (("log.gif", "neither .png nor .svg"), ("none/log.png", "figure")):
        status, _, err = run(capsys, "explain", path, "--figure", tmp_path / name)
        assert status == 2 and said in err and err.count("\n") == 1


def test_a_log_that_is_not_there_is_refused(capsys, tmp_path):
    status, _, err = run(capsys, "llm", "explain", tmp_path / "none.csv")
    assert status == 2 and "none.csv" in err
