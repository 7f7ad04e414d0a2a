"""Records as JSON and back: nothing is lost, and nothing else is taken for a record."""

import json
import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apo_sim.errors import InvalidArgument
from apo_sim.estimate import Estimate
from apo_sim.records import as_plain, from_plain, read_record, write_record

numbers = st.floats(allow_nan=False, allow_infinity=False)


@dataclass(frozen=True)
class Inner:
    name: str
    count: int
    share: float | None


@dataclass(frozen=True)
class Outer:
    estimate: Estimate | None
    inner: tuple[Inner, ...]
    by_name: dict[str, float]


estimates = st.builds(
    Estimate,
    numbers,
    numbers | st.just(-math.inf),
    numbers | st.just(math.inf),
    st.text(),
    st.none() | st.integers(0, 10**9),
)
inner = st.builds(Inner, st.text(), st.integers(), st.none() | numbers)
outer = st.builds(
    Outer, st.none() | estimates, st.lists(inner).map(tuple), st.dictionaries(st.text(), numbers)
)


@given(outer)
def test_what_is_written_is_read(record):
    content = json.loads(json.dumps(as_plain(record), allow_nan=False))
    assert from_plain(Outer, content) == record
    assert from_plain(list[Outer], [content, content]) == [record] * 2


@given(estimates, st.sampled_from(["value", "low", "high"]))
def test_an_estimate_that_is_not_finite_is_not_written(estimate, name):
    with pytest.raises(ValueError, match="is not finite"):
        as_plain(replace(estimate, **{name: math.nan}))


GOOD = {"name": "a", "count": 1, "share": 0.5}


@pytest.mark.parametrize(
    "changed",
    [
        {"name": 1},
        {"name": None},
        {"count": 1.5},
        {"count": True},
        {"count": "1"},
        {"share": "0.5"},
        {"share": False},
        {"more": 1},
    ],
)
def test_values_of_other_types_are_no_record(changed):
    assert from_plain(Inner, GOOD) == Inner("a", 1, 0.5)
    with pytest.raises(ValueError, match="no record of kind Inner"):
        from_plain(Inner, {**GOOD, **changed})
    lacking = {name: value for name, value in GOOD.items() if name not in changed}
    if len(lacking) < len(GOOD):
        with pytest.raises(ValueError, match="no record of kind Inner"):
            from_plain(Inner, lacking)


@pytest.mark.parametrize("content", [None, 1, "a", [], [1], {}])
def test_other_data_are_no_record(content):
    for kind in (Inner, Outer, Estimate):
        with pytest.raises(ValueError, match="no record of kind"):
            from_plain(kind, content)


def test_files_say_which_argument_is_at_fault(tmp_path, monkeypatch):
    record = Inner("a", 1, None)
    write_record("out", tmp_path / "kept.json", record)
    assert read_record("results", tmp_path / "kept.json", Inner, "look") == record
    (tmp_path / "torn.json").write_text('{"name": "a", "cou')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name in ("missing.json", "torn.json", "deep.json"):
        with pytest.raises(InvalidArgument, match=f"results = .*{name}.* read.*look elsewhere"):
            read_record("results", tmp_path / name, Inner, "look elsewhere")
    # Wherever it lies for the user, and whatever an editor has put before it.
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "kept.json").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "kept.json").read_bytes())
    assert read_record("results", "~/kept.json", Inner, "look") == record
    with pytest.raises(InvalidArgument, match=r"out = .* cannot be written"):
        write_record("out", tmp_path / "no folder" / "kept.json", record)
