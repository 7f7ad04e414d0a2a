"""Paths and texts as users have them: home folders, links, addresses, marks, markup."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import fake_claims  # noqa: F401  (declares the claims)

from apo_sim import cli, files
from apo_sim.errors import InvalidArgument
from apo_sim.explain.reading import read_log
from apo_sim.report import style, validate
from apo_sim.studies import ring_search
from apo_sim.sweep import sweep

pytestmark = pytest.mark.xdist_group("sweep")

SMALL: dict[str, Any] = {"beta": 1.0, "iterations": 2, "seeds": 2, "arms": 3}
FLAGS = ("sweep", "--arms", "3", "--beta", "1", "--iterations", "2", "--seeds", "2")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder, and another to stand in."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def run(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_tilde_is_the_home_folder_everywhere(home, capsys):
    assert sweep(out="~/gaps.zarr", **SMALL).load().tv.shape == (2, 2)
    validate(["fake-false"], out="~/results", jobs=1)
    style.save(lambda figure: None, "drawn", "~/figures")
    (home / "sweep.toml").write_text('beta = 1\niterations = 2\nseeds = 2\nout = "~/file.zarr"\n')
    assert run(capsys, "sweep", "--file", "~/sweep.toml")[0] == cli.DONE
    assert "fails" in run(capsys, "show", "fake-false", "--out", "~/results")[1]
    assert sorted(path.name for path in home.iterdir()) == [
        "figures",
        "file.zarr",
        "gaps.zarr",
        "results",
        "sweep.toml",
    ]
    assert list(Path.cwd().iterdir()) == []


def test_an_empty_folder_is_used_whatever_leads_to_it(home):
    big = home / "big disk"
    (big / "lost+found").mkdir(parents=True)
    (home / "link").symlink_to(big)
    (home / "dangling").symlink_to(home / "not yet")
    for out in (home / "link", home / "dangling", ".", Path("new/and/deeper")):
        stored = sweep(out=out, **SMALL)
        assert sweep(out=out, **SMALL).load().identical(stored.load())
    assert (home / "link").is_symlink() and (big / "zarr.json").exists()
    assert (home / "not yet/zarr.json").exists()


def test_results_are_read_from_where_they_are_after_a_change_of_folder(home, monkeypatch):
    stored = sweep(out="gaps.zarr", **SMALL)
    monkeypatch.chdir(home)
    assert stored.load().tv.shape == (2, 2)


@pytest.mark.parametrize(
    "out", ["s3://bucket/x", "gs:/x", "file:///tmp/x", "az+blob://x", "", " ", "a\0b", 3, b"x"]
)
def test_what_is_no_path_is_named(home, out):
    with pytest.raises(InvalidArgument, match=r"out = .* is (?:not a path|an address)"):
        files.as_path("out", out)


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000, "half a pair \ud800", "~\ud800/x"])
def test_a_name_that_no_file_can_have_is_named_whatever_it_is_for(home, name):
    with pytest.raises(InvalidArgument, match=r"log = .* cannot be resolved"):
        read_log(name)
    with pytest.raises(InvalidArgument, match=r"out = .* cannot be resolved"):
        files.as_path("out", name)


@pytest.mark.parametrize("out", ["~nobody-of-that-name/x", "circle/x", "x" * 300, "file/x"])
def test_a_path_that_leads_nowhere_is_named(home, out):
    Path("circle").symlink_to("circle")
    Path("file").write_text("")
    with pytest.raises(InvalidArgument, match=r"out = .*(?:leads nowhere|cannot be)"):
        sweep(out=out, **SMALL)
    with pytest.raises(InvalidArgument, match=r"out = .*(?:leads nowhere|cannot be)"):
        validate(["fake-false"], out=out, jobs=1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_written_to_and_stays_one(home):
    """What is put in the place of /dev/null takes it away from everybody."""
    pipe, found = home / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
    reader.start()
    files.write_bytes(pipe, b"all of it")
    assert pipe.is_fifo() and os.listdir(home) == ["pipe"]
    reader.join(10)
    assert found == [b"all of it"]


@pytest.mark.parametrize("name", ["runs[/b]", "[red]x", "a:bug:b", os.fsdecode(b"not text \xff")])
def test_a_path_is_printed_as_it_is(home, capsys, name):
    shown = name.encode(errors="backslashreplace").decode()
    status, out, _ = run(capsys, *FLAGS, "--out", name)
    assert status == cli.DONE and f"Store: {Path.cwd() / shown}" in out
    status, out, _ = run(capsys, "show", "fake-false", "--out", name)
    assert status == cli.DONE and f"No verdict in {Path.cwd() / shown} yet" in out


def test_a_mark_before_the_text_is_no_part_of_it(home, capsys):
    file = home / "marked.toml"
    file.write_bytes(b"\xef\xbb\xbfbeta = 1\niterations = 2\nseeds = 2\n")
    assert run(capsys, "sweep", "--file", file, "--out", "marked.zarr")[0] == cli.DONE


WRONG = [
    ("beta = [", "is not valid TOML"),
    ("a = " + "[" * 5000, "is not valid TOML"),
    ("out = 3", "out = 3 is not a path"),
    ("seeds = '4'", "seeds = '4' is not an integer"),
    ("seed = -1", "seed = -1 is not a valid seed"),
    ("family = ['uniform']", "family = ['uniform'] is not a problem family"),
    ("variables = 3", "variables = 3 is unknown"),
    ("variables = [['tv']]", "variables = ['tv'] is unknown"),
    ("beta = {a = 1}", "beta = {'a': 1} has no order"),
    ("alpha = 2020-01-01", "alpha = datetime.date(2020, 1, 1) is not a number"),
    ("alpha = [true]", "alpha = True is not a number"),
    ("arms = [[3]]", "arms = [3] is not an integer"),
    ("spread = 'wide'", "spread = 'wide' is not a number"),
    ("loss = [1]", "loss = 1 is not a loss"),
    ("progress = 'no'", "progress = 'no' is neither"),
    ("jobs = 3", "setting = 'jobs' is unknown"),
    ("samples = 1e400", "samples = inf is not finite"),
]
# The annotations of functions are enforced in the tests, and would speak first.
PROGRAM = """
import pathlib, sys
from apo_sim import cli
for file in sys.argv[1:]:
    assert cli.main(["sweep", "--file", file]) == cli.USAGE, file
"""


def test_what_a_file_says_wrongly_is_named(home):
    usual = {"beta": "1", "iterations": "2", "seeds": "2", "out": "'store'"}
    for number, (text, _) in enumerate(WRONG):
        lines = [f"{name} = {value}" for name, value in usual.items() if f"{name} =" not in text]
        Path(f"{number}.toml").write_text("\n".join([*lines, text]))
    Path("last.toml").write_bytes(b"beta = 1\xff")
    names = [*(f"{number}.toml" for number in range(len(WRONG))), "last.toml"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", PROGRAM, *names]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    said = done.stderr.splitlines()
    assert done.returncode == 0 and len(said) == len(names), done.stderr
    for line, (_, message) in zip(said, [*WRONG, ("", "is not text")], strict=True):
        assert line.startswith("apo-sim: ") and message in line
    assert {path.suffix for path in Path.cwd().iterdir()} == {".toml"}


def test_one_seed_has_no_interval(home, capsys):
    flags = [*FLAGS[:-1], "1"]
    _, out, _ = run(capsys, *flags, "--out", "one.zarr")
    assert "±" not in out and "Final gap (for one seed)" in out


def test_a_changed_line_of_a_log_is_passed_over(tmp_path):
    log = tmp_path / ring_search.FILE
    settings = {"seed": 0}
    trials = [{"stage": "drawn", "number": 0, "distance": 0.5}]
    ring_search._append(log, {"settings": settings, "trials": trials})
    again = [{**trials[0], "number": 1}]
    ring_search._append(log, {"settings": settings, "trials": again})
    assert len(ring_search._read(log, settings)) == 2
    assert ring_search._read(log, {"seed": 1}) == {}
    lines = log.read_text().splitlines()
    assert json.loads(lines[0])["trials"] == trials
    log.write_text("\n".join([lines[0].replace("0.5", "0.4"), "[]", "3", lines[1][:-4], lines[1]]))
    assert list(ring_search._read(log, settings)) == [("drawn", 1)]
