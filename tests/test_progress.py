"""What is shown of a long computation: a bar for people, lines for logs."""

import io

import pytest
from rich.console import Console

from apo_sim import progress


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when it is told to."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_a_minute(clock, capsys):
    with progress.bar("runs", 100, 20, show=True) as advance:
        for _ in range(8):
            clock[0] += 24.0
            advance(10)
    shown = capsys.readouterr().err.splitlines()
    assert shown == [
        "runs: 50/100 after 0:01:12, left 0:02:00",
        "runs: 80/100 after 0:02:24, left 0:00:48",
        "runs: 100/100 after 0:03:12",
    ]


def test_what_is_quick_says_nothing_and_so_does_what_is_not_to_be_shown(clock, capsys):
    for show, seconds in ((True, 9.0), (False, 600.0)):
        with progress.bar("runs", 1, 0, show=show) as advance:
            clock[0] += seconds
            advance(1)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=80)
    monkeypatch.setattr(progress, "Console", lambda stderr: console)
    with progress.bar("runs", 3, 0, show=True) as advance:
        advance(2)
        console.file.flush()
    assert "runs" in shown.getvalue() and "2/3" in shown.getvalue()
