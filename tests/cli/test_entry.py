"""`apo-sim`: what it says of wrong usage, and how little it imports to answer."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
import fake_claims  # noqa: F401  (declares the claims)
from command import run

from apo_sim import cli
from apo_sim.cli.options import SUBCOMMANDS
from apo_sim.cli.parsing import parse

ROOT = Path(__file__).parents[2]
MAIN = "import sys; from apo_sim.cli import main; sys.exit(main())"
SMALL = ["sweep", "--beta", "1", "--iterations", "3", "--seeds", "4", "--out", "store"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["validate", "--claim", "N99"], "claim = 'N99' is unknown; did you mean 'N9'?"),
        (["validate", "--claim", "t4.1"], "did you mean 'T4.1'?"),
        (["validate", "--effort", "fully"], "did you mean 'full'?"),
        (
            ["validate", "--seed", "-1"],
            "seed = -1 is not a valid seed; pass an integer in [0, 2**32)",
        ),
        (["validate", "--jobs", "0"], "jobs = 0 is not a count"),
        (["validate", "--out", "/dev/null/x"], "cannot be written"),
        (["advise", "--samples", "9", "--iterations", "3", "--beta", "-1"], "beta = -1.0 must be"),
        (["sweep", "--beta", "1", "--iterations", "3", "--seeds", "4"], "out = None is missing"),
        ([*SMALL, "--loss", "dpi"], "loss = 'dpi' is unknown; did you mean 'dpo'?"),
        (
            [*SMALL, "--ranker", "pairwize"],
            "ranker = 'pairwize' is unknown; did you mean",
        ),
        ([*SMALL, "--geometry", "euclidian"], "did you mean 'euclidean'?"),
        ([*SMALL, "--momentum", "matched_beta"], 'momentum="constant", beta_schedule="matched"'),
        (["show", "zzz"], "claim = 'zzz' is unknown; known: T4.1"),
    ],
)
def test_wrong_usage_is_one_line(capsys, arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("apo-sim: ") and err.count("\n") == 1 and message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["valdate"], ["validate", "--seed", "x"], ["validate", "--seeds", "1"]]
)
def test_what_the_parser_refuses(capsys, arguments):
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert "Traceback" not in out + err and out + err != ""


@pytest.mark.parametrize("arguments", [["--help"], ["validate", "--help"], ["show", "--help"]])
def test_help(capsys, arguments):
    status, out, _ = run(capsys, *arguments)
    assert status == 0 and "usage: apo-sim" in out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_alone_it_shows_what_can_be_done(capsys, arguments):
    status, out, err = run(capsys, *arguments)
    assert (status, err) == (cli.DONE, "")
    assert {line.split()[0] for line in out.splitlines() if line.startswith("  ")} == {
        *SUBCOMMANDS,
        "apo-sim",
    }
    steps = [line.split("  ")[1] for line in out.splitlines() if line.startswith("  apo-sim")]
    for step in steps:  # what it says to begin with is understood
        assert parse(step.split()[1:]) is not None


def test_version(capsys):
    status, out, _ = run(capsys, "--version")
    assert status == 0 and out.startswith("apo-sim ")


HEAVY = ("jax", "numpy", "scipy", "xarray", "pandas", "matplotlib")
# The last command needs JAX: otherwise this would not see it either.
PROGRAM = """
import json, sys
from apo_sim.cli import main
for arguments in json.loads(sys.argv[1]):
    status = main(arguments)
    found = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
    print(json.dumps([status, found]), file=sys.stderr)
"""


def test_what_needs_no_jax_does_not_import_it():
    reference = ["--out", str(ROOT / "experiments/reference")]  # where there are verdicts
    light = [[], ["--help"], ["--version"], ["claims"], ["claims", "--json"]]
    light += [["show", "N2", *reference], ["show", "N2", "--json", *reference]]
    light += [["completion", "bash"], *([name, "--help"] for name in SUBCOMMANDS)]
    light += [["show", "N99"], ["valdate"]]
    heavy = ["conform", "json:dumps", "--settings", "beta=high"]
    program = [sys.executable, "-c", PROGRAM, json.dumps([*light, heavy]), json.dumps(HEAVY)]
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("[")]
    found = [heavies for _, heavies in lines]
    assert found[:-1] == [[]] * len(light)
    assert [status for status, _ in lines] == [0] * (len(light) - 2) + [2, 2, 2]
    assert "jax" in found[-1]
    assert "N2  Sharp constant" in done.stdout and "seed 0, effort quick" in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="a pipe whose reader leaves")
def test_a_reader_who_has_enough_is_no_error():
    for arguments in ("--help", "claims", "claims --json"):
        line = f"{sys.executable} -c '{MAIN}' {arguments} | head -c 1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=ROOT)
        assert done.stdout[1:].strip() == "0" and done.stderr == "", arguments


@pytest.mark.parametrize(
    ("terminal", "environment", "colours"),
    [(False, {}, False), (True, {}, True), (True, {"NO_COLOR": "1"}, False)],
)
def test_colours_are_for_terminals_that_want_them(
    capsys, monkeypatch, terminal, environment, colours
):
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (environment | {"TERM": "xterm-256color"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    for arguments in ([], ["sweep", "--help"]):
        _, out, _ = run(capsys, *arguments)
        assert bool(re.search(r"\x1b\[[\d;]*3\d", out)) == colours, arguments
