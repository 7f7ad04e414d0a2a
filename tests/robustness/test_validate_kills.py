"""Validations that are killed: no process is left, no verdict lost, none beside a wrong figure."""

import json
import random
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import drawn_claims
import killed

from apo_sim.report import style, validate

pytestmark = [
    pytest.mark.xdist_group("validate"),
    pytest.mark.skipif(sys.platform == "win32", reason="signals"),
]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of each seed, not interrupted."""
    found = {}
    for seed in (0, 1):
        found[seed] = tmp_path_factory.mktemp(f"seed{seed}")
        validate(drawn_claims.IDS, out=found[seed], seed=seed, jobs=1)
    return found


def started(out):
    flags = ("--jobs", 2, "--seed", 1, "--claim", *drawn_claims.IDS)
    return killed.start("validate", "--out", out, *flags, imports="import drawn_claims; ")


def check(out, runs):
    """Whether every verdict has the figure of its run."""
    ledger = json.loads((out / "claims.json").read_text())
    whole = runs[ledger["seed"]]
    for entry in ledger["claims"]:
        assert (out / entry["figure"]).read_bytes() == (whole / entry["figure"]).read_bytes()
        png = entry["figure"].replace("svg", "png")
        assert (out / png).read_bytes() == (whole / png).read_bytes()
    return [entry["id"] for entry in ledger["claims"]]


def test_a_killed_run_leaves_no_worker_and_keeps_its_verdicts(runs, tmp_path):
    validate(drawn_claims.IDS, out=tmp_path, seed=0, jobs=1)
    process = started(tmp_path)
    assert process.stdout is not None
    line = process.stdout.readline()
    killed.end(process, signal.SIGKILL)
    kept = check(tmp_path, runs)
    assert len(kept) >= 1 and any(id in line for id in kept)
    validate(drawn_claims.IDS, out=tmp_path, seed=1, jobs=1)
    assert check(tmp_path, runs) == drawn_claims.IDS


def test_a_kill_between_figure_and_verdict_leaves_no_wrong_pair(runs, tmp_path, monkeypatch):
    """Amid the writing of a claim's files, at each of its steps."""
    module = sys.modules["apo_sim.report.validate"]
    write, step = module.write_bytes, 0

    def stopped(path, content):
        nonlocal step
        step -= 1
        if step < 0:
            raise KeyboardInterrupt
        write(path, content)

    for steps in range(len(style.METADATA)):
        out = tmp_path / str(steps)
        validate(drawn_claims.IDS[:2], out=out, seed=0, jobs=1)
        with monkeypatch.context() as patch:
            patch.setattr(module, "write_bytes", stopped)
            step = steps
            validate(drawn_claims.IDS[:1], out=out, seed=0, jobs=1)
            step = steps
            validate(drawn_claims.IDS[:2], out=out, seed=1, jobs=1)
        check(out, runs)


@pytest.mark.long
@pytest.mark.parametrize("trial", range(20))
def test_killed_at_any_moment(runs, tmp_path, trial):
    validate(drawn_claims.IDS, out=tmp_path, seed=0, jobs=1)
    moment = random.Random(trial).uniform(0.3, 12.0)
    process = started(tmp_path)
    time.sleep(moment)
    killed.end(process, SIGNALS[trial % 3])
    check(tmp_path, runs)
    validate(drawn_claims.IDS, out=tmp_path, seed=1, jobs=1)
    assert check(tmp_path, runs) == drawn_claims.IDS
