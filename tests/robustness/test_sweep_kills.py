"""Sweeps that are killed at any moment and started again: the same bits."""

import random
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import killed

from apo_sim.sweep import sweep

pytestmark = [
    pytest.mark.xdist_group("sweep"),
    pytest.mark.skipif(sys.platform == "win32", reason="signals"),
]

SETTINGS = {"arms": 3, "beta": 5.0, "iterations": 6, "seeds": 40, "seed": 3, "chunk": 1}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


@pytest.fixture(scope="module")
def whole():
    return sweep(alpha=[0.0, 0.3], **SETTINGS)


def started(out):
    flags = [part for name, value in SETTINGS.items() for part in (f"--{name}", value)]
    return killed.start("sweep", "--out", out, "--alpha", 0.0, 0.3, *flags)


def resumed(out):
    return sweep(out=out, alpha=[0.0, 0.3], **SETTINGS).load()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_killed_amid_the_writing(whole, tmp_path, number):
    out = tmp_path / "killed.zarr"
    process = started(out)
    deadline = time.monotonic() + 120
    while len(list(out.glob("tv/c/**/*"))) < 9 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    killed.end(process, number)
    assert resumed(out).identical(whole)
    assert not [*out.rglob("*.part"), *out.rglob("*.partial")]


@pytest.mark.long
@pytest.mark.parametrize("trial", range(60))
def test_killed_at_any_moment(whole, tmp_path, trial):
    moment = random.Random(trial).uniform(0.3, 6.0)
    process = started(tmp_path / "killed.zarr")
    time.sleep(moment)
    killed.end(process, SIGNALS[trial % 3])
    assert resumed(tmp_path / "killed.zarr").identical(whole)
