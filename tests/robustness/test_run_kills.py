"""Runs that are killed, interrupted or shut out: the same bits and the same logs in the end."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from small_run import LAST, STEPS, run

from apo_sim import InvalidArgument
from apo_sim.files import alone_in
from apo_sim.llm import stages
from apo_sim.llm.training.step import ProximalTrainer

pytestmark = [pytest.mark.llm, pytest.mark.xdist_group("run")]

PROGRAM = Path(__file__).parent / "small_run.py"


class Killed(BaseException):
    """The process ends here: nothing of ours is done any more."""


@pytest.fixture(autouse=True)
def interruptible():
    """What a shell starts in the background ignores the signal of Ctrl-C, and so do its tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def whole(finished):
    return finished[1]


def killed_at(place: str, folder: Path, monkeypatch: Any, number: int) -> None:
    """Run until something has happened so often, and no farther."""
    left = [number]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    with monkeypatch.context() as patch:
        if place == "step":
            advance = ProximalTrainer._advance
            patch.setattr(ProximalTrainer, "_advance", lambda *a: (count(), advance(*a))[1])
        else:
            complete = stages.complete

            def half(folder: Path, write: Any, *others: Any, **named: Any) -> None:
                def into(draft: Path) -> None:
                    write(draft)
                    count()

                complete(folder, into, *others, **named)

            patch.setattr(stages, "complete", half)
        with pytest.raises(Killed):
            run(folder)


def test_killed_within_a_step_and_within_its_checkpoint(whole, tmp_path, monkeypatch):
    """No record is lost from the logs: those before the checkpoint are kept with it."""
    killed_at("step", tmp_path / "run", monkeypatch, LAST)
    assert (tmp_path / "run/iteration-1/step/log.json").is_file()
    killed_at("stage", tmp_path / "run", monkeypatch, 1)
    found = run(tmp_path / "run")
    assert found == whole
    assert len(found["steps"]) == 2 * STEPS


def test_interrupted_it_goes_on_in_the_same_process(whole, tmp_path, monkeypatch):
    def interrupt(self: Any, *_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(ProximalTrainer, "_advance", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run")
    assert run(tmp_path / "run") == whole


def test_two_runs_in_one_folder(tmp_path):
    (tmp_path / "run").mkdir()
    with (
        alone_in("out", tmp_path / "run"),
        pytest.raises(InvalidArgument, match="is in use by another process"),
    ):
        run(tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())


def test_a_place_that_takes_no_more_is_named_and_the_run_goes_on_later(
    whole, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    killed_at("stage", folder, monkeypatch, 1)
    # Even the superuser cannot write into a file as if it were a folder.
    (folder / "iteration-1").write_text("")
    with pytest.raises(InvalidArgument, match=r"cannot be written \(Not a directory\)"):
        run(folder)
    (folder / "iteration-1").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("apo_sim.files.write_text", no_space)
        with pytest.raises(InvalidArgument, match=r"cannot be written \(No space left on device\)"):
            run(folder)
    assert run(folder) == whole


def no_space(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_folder_that_vanishes_is_named(tmp_path, monkeypatch):
    advance = ProximalTrainer._advance

    def vanish(self: Any, *arguments: Any) -> Any:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        return advance(self, *arguments)

    monkeypatch.setattr(ProximalTrainer, "_advance", vanish)
    with pytest.raises(InvalidArgument, match=r"cannot be written \(No such file"):
        run(tmp_path / "run")


def test_an_interruption_is_one_whatever_compiled_code_makes_of_it(tmp_path, monkeypatch):
    def pressed(self: Any, *_: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1.0)
        except KeyboardInterrupt:
            raise ValueError("Exception raised while checking equality of metadata") from None

    monkeypatch.setattr(ProximalTrainer, "_advance", pressed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run")


def process(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-W", "ignore", str(PROGRAM), str(folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.mark.long
def test_thirty_runs_killed_at_random_moments_end_the_same(finished, tmp_path):
    """Killed again and again, by one signal after the other; now and then it begins anew."""
    chance, folder = random.Random(0), tmp_path / "run"
    begin = time.monotonic()
    process(tmp_path / "undisturbed").communicate()
    takes = time.monotonic() - begin
    expected = run(tmp_path / "undisturbed")
    seconds: dict[signal.Signals, list[float]] = {
        number: [] for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    }
    while sum(map(len, seconds.values())) < 30:
        number = min(seconds, key=lambda number: len(seconds[number]))
        killed = process(folder)
        try:
            killed.communicate(timeout=chance.uniform(0.3, 1.0) * takes)
        except subprocess.TimeoutExpired:
            sent = time.monotonic()
            killed.send_signal(number)
            said = killed.communicate(timeout=60)[1]
            if killed.returncode == 0:  # it had just ended
                continue
            seconds[number].append(time.monotonic() - sent)
            assert "Traceback" not in said or said.rstrip().endswith("KeyboardInterrupt"), said
        if chance.random() < 0.3:
            shutil.rmtree(folder, ignore_errors=True)
    killed = process(folder)
    assert killed.communicate() and killed.returncode == 0
    assert run(folder) == expected
    print({number.name: f"{len(s)}, the slowest {max(s):.1f} s" for number, s in seconds.items()})
    # Ctrl-C waits for what is being compiled.
    assert max(seconds[signal.SIGKILL] + seconds[signal.SIGTERM]) < 5.0
