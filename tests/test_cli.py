"""The command line: exit statuses, messages, and what a log shows."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import fake_claims  # noqa: F401  (declares the claims)

from apo_sim import cli, registry

TESTS = Path(__file__).parent
PROGRAM = "import sys; import fake_claims; from apo_sim.cli import main; sys.exit(main())"


def run(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def validate(capsys, out, *ids):
    return run(capsys, "validate", "--out", out, "--jobs", 1, "--claim", *ids)


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


def test_validate_says_when_it_replaces_another_run(capsys, tmp_path):
    validate(capsys, tmp_path, "fake-true")
    _, out, _ = run(
        capsys, "validate", "--out", tmp_path, "--jobs", 1, "--seed", 1, "--claim", "fake-false"
    )
    assert "held a run with seed 0" in out and "replaced" in out


def test_validate_interrupted(capsys, tmp_path):
    status, out, _ = validate(capsys, tmp_path, "fake-true", "fake-interrupt")
    assert status == 130
    assert "Interrupted after 1 of 2 claims" in out
    assert (tmp_path / "claims.json").exists()


SMALL = ["sweep", "--beta", "1", "--iterations", "3", "--seeds", "4", "--out", "store"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["validate", "--claim", "N99"], "claim = 'N99' is unknown; did you mean 'N9'?"),
        (["validate", "--claim", "t4.1"], "did you mean 'T4.1'?"),
        (["validate", "--effort", "fully"], "did you mean 'full'?"),
        (["validate", "--seed", "-1"], "seed = -1 is no seed; pass an integer in [0, 2**32)"),
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
    "arguments", [[], ["valdate"], ["validate", "--seed", "x"], ["validate", "--seeds", "1"]]
)
def test_what_the_parser_refuses(capsys, arguments):
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert "Traceback" not in out + err and out + err != ""


@pytest.mark.parametrize("arguments", [["--help"], ["validate", "--help"], ["show", "--help"]])
def test_help(capsys, arguments):
    status, out, _ = run(capsys, *arguments)
    assert status == 0 and "usage: apo-sim" in out


@pytest.mark.parametrize(
    ("command", "kinds"),
    [
        ("sweep", ["FAMILIES", "GEOMETRIES", "LOSSES", "MOMENTA", "RANKERS"]),
        ("advise", ["FAMILIES"]),
        ("llm", ["LOSSES"]),
    ],
)
def test_help_lists_the_names_of_the_registry(capsys, command, kinds):
    _, out, _ = run(capsys, command, "--help")
    words = set(re.findall(r"\w+", out))
    for kind in kinds:
        assert set(getattr(registry, kind)) <= words


def test_version(capsys):
    status, out, _ = run(capsys, "--version")
    assert status == 0 and out.startswith("apo-sim ")


def test_show_before_and_after_a_verdict(capsys, tmp_path):
    status, out, _ = run(capsys, "show", "fake-false", "--out", tmp_path)
    assert status == 0
    assert "Everything is below one" in out and "No verdict" in out and "<script>" in out
    validate(capsys, tmp_path, "fake-false")
    _, out, _ = run(capsys, "show", "fake-false", "--out", tmp_path)
    assert "fails" in out and "the repaired bound halved: fails" in out and "seed 0" in out
    assert "below three: holds" in out and "for all: two <numbers>; K 2; α 0.5, 2" in out


def test_show_lists_the_cells_of_a_map(capsys, tmp_path):
    validate(capsys, tmp_path, "fake-map")
    _, out, _ = run(capsys, "show", "fake-map", "--out", tmp_path)
    assert re.search(r"^yes +low: -0\.5 \[-0\.5\d+, -0\.4\d+\] *$", out, re.M)
    assert re.search(r"^no +high: 0\.5 \[", out, re.M)


def test_claims_lists_them_in_order(capsys, monkeypatch):
    from apo_sim.claims import registry

    monkeypatch.setattr(registry, "names", lambda: ["LD.2", "fake-true"])
    status, out, _ = run(capsys, "claims")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["id", "LD.2", "fake-true"]


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
    assert status == cli.USAGE and "is not TOML" in err


def test_advise(capsys):
    status, out, err = run(capsys, "advise", "--samples", 1000, "--iterations", 12, "--beta", 5)
    assert (status, err) == (cli.DONE, "")
    headline, *rest = out.splitlines()
    assert headline == "Use alpha = 0.9."
    table = [line.split() for line in rest if line.endswith("%") and "±" in line]
    assert [float(row[0]) for row in table] == [0.0, 0.1, 0.3, 0.5, 0.7, 0.9]
    gaps = [float(row[1]) for row in table]
    assert gaps == sorted(gaps, reverse=True)


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
