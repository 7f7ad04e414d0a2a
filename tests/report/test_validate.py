"""A run over claims: what it writes, what survives, and what ends it."""

import datetime
import itertools
import json
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import fake_claims  # noqa: F401  (declares the claims)

from apo_sim import files
from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.report import validate
from apo_sim.report.ledger import read_ledger

KEYS = ["version", "created", "seed", "effort", "environment", "claims"]


def content(folder):
    def refuse(name):
        raise AssertionError(f"{name} in claims.json")

    return json.loads((folder / "claims.json").read_text(), parse_constant=refuse)


def ids(folder):
    return [entry["id"] for entry in content(folder)["claims"]]


def test_a_run_writes_ledger_page_and_figures(tmp_path):
    ledger = validate(["fake-false", "fake-true"], out=tmp_path, jobs=1)
    assert ledger.sound
    assert list(content(tmp_path)) == KEYS
    assert ids(tmp_path) == ["fake-true", "fake-false"]  # the order of the registry
    entry = content(tmp_path)["claims"][0]
    assert entry["figure"] == "figures/fake-true.svg"
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert written == {
        "claims.json",
        "report.html",
        "figures",
        "figures/fake-true.svg",
        "figures/fake-true.png",
        "figures/fake-true.webp",
    }
    assert read_ledger(tmp_path / "claims.json") == ledger


def test_a_run_has_one_time_however_long_it_takes(tmp_path, monkeypatch):
    """It is when the run began: in the file, on the page, and in what is returned."""
    hours = itertools.count(1)

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2001, 2, 3, next(hours), tzinfo=tz)

    monkeypatch.setattr("apo_sim.report.ledger.datetime.datetime", Clock)
    ledger = validate(["fake-false", "fake-true"], out=tmp_path, jobs=1)
    assert ledger.created == content(tmp_path)["created"] == "2001-02-03T01:00:00+00:00"
    assert "2001-02-03 01:00:00 UTC" in (tmp_path / "report.html").read_text()
    assert "2001-02-03 02:00:00 UTC" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        ("fake-raising", "ValueError: no convergence (fake_claims.py:"),
        ("fake-nan", "claim fake-nan: measured is NaN"),
        ("fake-undrawn", "ZeroDivisionError"),
    ],
)
def test_a_claim_that_raises_is_broken_and_the_others_go_on(tmp_path, id, reason):
    ledger = validate([id, "fake-false"], out=tmp_path, jobs=1)
    assert not ledger.sound
    broken = next(v for v in ledger.verdicts if v.id == id)
    assert (broken.verdict, broken.control["verdict"]) == (None, None)
    assert reason in broken.note
    assert {v.id: v.sound for v in ledger.verdicts} == {id: False, "fake-false": True}


def test_a_module_that_cannot_be_imported_is_broken(tmp_path, monkeypatch):
    from apo_sim.claims import registry

    monkeypatch.setitem(registry._modules, "absent", "apo_sim.claims.absent")
    (verdict,) = validate(["absent"], out=tmp_path, jobs=1).verdicts
    assert "ModuleNotFoundError" in verdict.note


def test_a_control_that_passes_makes_the_run_unsound(tmp_path):
    ledger = validate(["fake-lax"], out=tmp_path, jobs=1)
    assert not ledger.sound
    assert ledger.counts == {"broken": 1}


def test_some_claims_update_a_run_of_the_same_settings(tmp_path):
    validate(["fake-true", "fake-false"], out=tmp_path, jobs=1)
    before = content(tmp_path)["claims"]
    validate(["fake-lax"], out=tmp_path, jobs=1)
    assert ids(tmp_path) == ["fake-true", "fake-false", "fake-lax"]
    assert content(tmp_path)["claims"][:2] == before
    assert "No control" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("change", [{"seed": 1}, {"effort": "full"}])
def test_some_claims_replace_a_run_of_other_settings(tmp_path, change):
    validate(["fake-true", "fake-false"], out=tmp_path, jobs=1)
    validate(["fake-lax"], out=tmp_path, jobs=1, **change)
    assert ids(tmp_path) == ["fake-lax"]


def test_a_ledger_that_cannot_be_read_is_replaced(tmp_path):
    (tmp_path / "claims.json").write_text('{"version": ')
    validate(["fake-lax"], out=tmp_path, jobs=1)
    assert ids(tmp_path) == ["fake-lax"]


def test_an_interruption_keeps_what_was_finished(tmp_path):
    ledger = validate(["fake-true", "fake-interrupt", "fake-slow"], out=tmp_path, jobs=1)
    assert ledger.missing == ("fake-interrupt", "fake-slow")
    assert not ledger.sound
    assert ids(tmp_path) == ["fake-true"]
    assert content(tmp_path)["missing"] == ["fake-interrupt", "fake-slow"]
    assert "Incomplete" in (tmp_path / "report.html").read_text()
    # Checking others later does not make the run complete.
    validate(["fake-false"], out=tmp_path, jobs=1)
    assert content(tmp_path)["missing"] == ["fake-interrupt", "fake-slow"]


def test_an_interruption_before_the_first_verdict_leaves_the_earlier_run(tmp_path):
    validate(["fake-true"], out=tmp_path, jobs=1)
    before = (tmp_path / "claims.json").read_bytes()
    validate(["fake-interrupt"], out=tmp_path, jobs=1)
    assert (tmp_path / "claims.json").read_bytes() == before


def test_workers_check_the_claims_of_a_user_and_survive_a_death(tmp_path):
    seen = []
    ledger = validate(
        ["fake-true", "fake-false", "fake-dying", "fake-raising"],
        out=tmp_path,
        jobs=2,
        watch=lambda progress: seen.append(progress),
    )
    outcome = {v.id: v.verdict for v in ledger.verdicts}
    assert outcome == {
        "fake-true": "holds",
        "fake-false": "fails",
        "fake-dying": None,
        "fake-raising": None,
    }
    assert (tmp_path / "figures/fake-true.svg").exists()
    assert max(len(progress.running) for progress in seen) <= 2
    assert len(seen[-1].done) == seen[-1].total == 4
    alone = validate(["fake-true"], out=tmp_path / "alone", jobs=1)
    assert alone.verdicts[0].measured == ledger.verdicts[0].measured


@pytest.mark.parametrize("jobs", [0, -1, True])
def test_bad_jobs(tmp_path, jobs):
    with pytest.raises(InvalidArgument, match="jobs"):
        validate(["fake-true"], out=tmp_path, jobs=jobs)


def test_bad_arguments_write_nothing(tmp_path):
    out = tmp_path / "results"
    with pytest.raises(UnknownName, match="did you mean 'fake-true'"):
        validate(["fake-tru"], out=out, jobs=1)
    with pytest.raises(InvalidArgument, match="seed"):
        validate(["fake-true"], out=out, seed=-1, jobs=1)
    assert not out.exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match=r"out = .* cannot be written"):
        validate(["fake-true"], out=tmp_path / "file", jobs=1)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "claims.json"
    files.write_text(path, "old")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["claims.json"]


def test_numbers_are_finite_or_null(tmp_path):
    def numbers(data):
        if isinstance(data, dict | list):
            for item in data.values() if isinstance(data, dict) else data:
                yield from numbers(item)
        elif isinstance(data, float):
            yield data

    validate(["fake-true", "fake-false"], out=tmp_path, jobs=1)
    assert all(math.isfinite(number) for number in numbers(content(tmp_path)))
