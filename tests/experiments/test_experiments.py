"""Every script: its options, a small run, what it writes and prints; what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SCRIPTS = sorted(
    path.stem
    for path in EXPERIMENTS.glob("*.py")
    if "from apo_sim.studies import" in path.read_text() and "show(" in path.read_text()
)


TWICE = """
import runpy, sys

path, *options = sys.argv[1:]
sys.argv = [path, *options]
runpy.run_path(path, run_name="__main__")
print("and again")
sys.argv += ["--seed", "1"]
runpy.run_path(path, run_name="__main__")
"""


def test_a_script_from_its_command_line(tmp_path):
    small = ["--iterations", "4", "--arms", "3", "--seeds", "8", "--out", str(tmp_path)]
    command = [sys.executable, "-c", TWICE, str(EXPERIMENTS / "tradeoff.py"), *small]
    # One process, since a start takes seconds.
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(EXPERIMENTS)},
    )
    first, again = done.stdout.split("and again")
    assert "95 %" in first, done.stderr
    assert (tmp_path / "tradeoff.svg").stat().st_size > 10_000
    assert done.returncode == 2 and "seed is 0 there and 1 here" in again


HELP = """
import contextlib, io, json, runpy, sys

shown = {}
for path in sys.argv[1:]:
    sys.argv = [path, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        runpy.run_path(path, run_name="__main__")
    shown[path] = out.getvalue()
print(json.dumps(shown))
"""


@pytest.fixture(scope="module")
def helped():
    """What every script says of its options; one process, since a start takes seconds."""
    paths = [str(EXPERIMENTS / f"{script}.py") for script in SCRIPTS]
    done = subprocess.run(
        [sys.executable, "-c", HELP, *paths],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(EXPERIMENTS)},
    )
    assert done.returncode == 0, done.stderr
    return {Path(path).stem: text for path, text in json.loads(done.stdout).items()}


def test_every_script_has_a_quick_size_and_explains_its_options(helped):
    assert len(helped) == len(SCRIPTS) > 10
    for script, text in helped.items():
        words = set(text.replace(",", " ").split())
        assert {"--quick", "--out", "--seeds", "--seed"} <= words, script
