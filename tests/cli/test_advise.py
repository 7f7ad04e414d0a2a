"""`apo-sim advise`: the answer, and a row for every alpha."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from command import run

from apo_sim import cli


def test_advise(capsys):
    status, out, err = run(capsys, "advise", "--samples", 1000, "--iterations", 12, "--beta", 5)
    assert (status, err) == (cli.DONE, "")
    headline, *rest = out.splitlines()
    assert headline == "Use alpha = 0.9."
    table = [line.split() for line in rest if line.endswith("%") and "±" in line]
    assert [float(row[0]) for row in table] == [0.0, 0.1, 0.3, 0.5, 0.7, 0.9]
    gaps = [float(row[1]) for row in table]
    assert gaps == sorted(gaps, reverse=True)


def test_advise_as_json(capsys):
    setting = ("--samples", 1000, "--iterations", 12, "--beta", 5)
    status, out, _ = run(capsys, "advise", *setting, "--json")
    found = json.loads(out)
    assert status == cli.DONE and (found["alpha"], found["kind"]) == (0.9, "momentum")
    value, (low, high) = found["gap"]
    assert low < value < high
    assert [row["alpha"] for row in found["table"]] == [0.0, 0.1, 0.3, 0.5, 0.7, 0.9]
    assert found["table"][-1]["gap"] == value
