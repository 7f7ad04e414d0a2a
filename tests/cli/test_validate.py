"""`apo-sim validate`: the table, the status, the summary, and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
import fake_claims  # noqa: F401  (declares the claims)
from command import run, validate

from apo_sim import cli
from apo_sim.claims import registry

TESTS = Path(__file__).parents[1]
OWN = """
from apo_sim.claims import claim, judge

def declare(name, bound):
    @claim(id=f"own-{name}", title=f"{name.title()} numbers", source="ours", statement="1 < 2.",
           control="the bound taken away")
    def check(study):
        return judge.upper_bound(1.0, 0.0 if study.wrong else bound)
    check.__qualname__ = name
    return check

declare("low", 2.0)
declare("high", 3.0)
"""
PROGRAM = "import sys; import fake_claims; from apo_sim.cli import main; sys.exit(main())"


def test_validate_ends_with_a_table_and_the_report(capsys, tmp_path):
    status, out, err = validate(capsys, tmp_path, "fake-true", "fake-false")
    assert (status, err) == (cli.DONE, "")
    assert "[1/2] fake-true" in out
    assert str(tmp_path / "report.html") in out
    row = next(line for line in out.splitlines() if line.startswith("fake-false"))
    assert row.split("  ")[0] == "fake-false" and "fails" in row and "2" in row
    assert "\x1b" not in out  # no colours in a log


def test_a_false_claim_is_no_error_but_a_broken_check_is(capsys, tmp_path):
    assert validate(capsys, tmp_path, "fake-false")[0] == 0
    status, out, _ = validate(capsys, tmp_path, "fake-lax")
    assert status == 1 and "fake-lax is broken: its negative control came out 'holds'" in out
    status, out, _ = validate(capsys, tmp_path, "fake-raising")
    assert status == 1 and "fake-raising is broken: ValueError: no convergence" in out
    # The broken entries stay in the ledger; the status is that of what was checked now.
    assert validate(capsys, tmp_path, "fake-true")[0] == 0


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        ("fake-always-failing", "its repair came out 'fails' in place of 'holds'"),
        ("fake-unrepaired", "it fails, and no repaired statement shows"),
        ("fake-weak", "its power came out 'not reproduced' in place of 'holds'"),
    ],
)
def test_a_positive_control_that_does_not_hold_ends_with_status_1(capsys, tmp_path, id, reason):
    status, out, _ = validate(capsys, tmp_path, "fake-false", id)
    assert status == cli.UNSOUND and f"{id} is broken: {reason}" in out
    assert validate(capsys, tmp_path, "fake-map")[0] == cli.DONE


def test_claims_of_a_module_of_ones_own(capsys, tmp_path, monkeypatch):
    (tmp_path / "own_claims_of_a_user.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    own = ("--module", "own_claims_of_a_user")
    try:
        status, out, _ = run(capsys, "validate", *own, "--out", "found", "--jobs", 2)
        assert status == cli.DONE
        rows = [line for line in out.splitlines() if line.startswith(("own-low ", "own-high "))]
        assert ["holds" in row for row in rows] == [True, True]
        page = Path("found/report.html").read_text()
        assert "apo-sim validate --module own_claims_of_a_user --claim own-high --seed 0" in page
        _, out, _ = run(capsys, "show", "own-high", *own, "--out", "found")
        assert "High numbers" in out and "holds" in out
        _, out, _ = run(capsys, "show", "own-high", *own, "--out", "nothing")
        assert "Run: apo-sim validate --module own_claims_of_a_user --claim own-high" in out
    finally:
        for id in ("own-low", "own-high"):
            registry.forget(id)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("no_such_module", "module = 'no_such_module' names a module that does not exist"),
        ("json", "module = 'json' declares no claim; it is a package"),
    ],
)
def test_a_module_without_claims_is_refused(capsys, tmp_path, module, message):
    status, _, err = run(capsys, "validate", "--module", module, "--out", tmp_path / "found")
    assert status == cli.USAGE and message in err and not (tmp_path / "found").exists()


def test_validate_says_when_it_replaces_another_run(capsys, tmp_path):
    validate(capsys, tmp_path, "fake-true")
    _, out, _ = run(
        capsys, "validate", "--out", tmp_path, "--jobs", 1, "--seed", 1, "--claim", "fake-false"
    )
    assert "Replaced the earlier results" in out and "seed 0" in out


def test_validate_interrupted(capsys, tmp_path):
    status, out, _ = validate(capsys, tmp_path, "fake-true", "fake-interrupt")
    assert status == 130
    assert "Interrupted after 1 of 2 claims" in out
    assert (tmp_path / "claims.json").exists()


def processes_of(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_leaves_whole_files_and_no_workers(tmp_path):
    # Where the tests themselves run in the background, Ctrl-C is ignored from birth.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [
        sys.executable,
        "-c",
        heard + PROGRAM,
        "validate",
        "--out",
        str(tmp_path),
        "--jobs",
        "2",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    process = subprocess.Popen(
        [*command, "--claim", "fake-true", "fake-slow"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        assert "fake-true" in process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches the workers too
        started = time.monotonic()
        out, err = process.communicate(timeout=60)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    assert process.returncode == 130
    assert "Interrupted after 1 of 2 claims" in out
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "claims.json",
        "figures",
        "report.html",
    ]
    while processes_of(process.pid):
        assert time.monotonic() - started < 60
        time.sleep(0.1)


def test_the_summary_as_json(capsys, tmp_path):
    ids = ("fake-false", "fake-lax")
    status, out, err = validate(capsys, tmp_path, *ids, more=["--json"])
    found = json.loads(out)
    assert status == cli.UNSOUND and "[1/2]" in err
    assert found["report"] == str(tmp_path / "report.html") and not found["interrupted"]
    false, lax = found["claims"]
    assert (false["id"], false["verdict"], false["sound"]) == ("fake-false", "fails", True)
    assert (false["measured"], false["bound"], false["ratio"]) == (2.0, 1.0, 2.0)
    assert false["controls"]["repaired"] == {"what": "below three", "verdict": "holds"}
    assert not lax["sound"] and "its negative control" in lax["flaw"]


def test_the_summary_of_an_interrupted_run(capsys, tmp_path):
    ids = ("fake-true", "fake-interrupt")
    status, out, err = validate(capsys, tmp_path, *ids, more=["--json"])
    found = json.loads(out)
    assert status == cli.INTERRUPTED and "Interrupted after 1 of 2" in err
    assert found["interrupted"] and [claim["id"] for claim in found["claims"]] == ["fake-true"]


def test_with_json_wrong_usage_is_said_elsewhere(capsys, tmp_path):
    status, out, err = validate(capsys, tmp_path, "N99", more=["--json"])
    assert (status, out) == (cli.USAGE, "") and "did you mean" in err
