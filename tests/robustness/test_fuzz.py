"""A slice of the fuzzer; `make fuzz` makes all of its calls."""

import fuzz
import pytest
import surface

# Prime, so that the slice meets every kind of value.
EVERY = 101


def test_hostile_values_are_refused_by_name_or_computed_with():
    asked = fuzz.calls(EVERY)
    found = zip(asked, fuzz.run(EVERY), strict=True)
    assert len(asked) > 400
    wrong = [f"{call}: {outcome}" for call, outcome in found if outcome not in fuzz.GOOD]
    assert not wrong, "\n".join(wrong)


def test_new_public_names_are_found_by_looking():
    places = dict(surface.names())
    for place in ("apo_sim.run", "apo_sim.theory.gamma", "apo_sim.families.gap_bandit"):
        assert place in places
    assert all(surface.base_call(place, function) for place, function in places.items())
    with pytest.raises(LookupError, match="'unheard_of'"):
        surface.base_call("apo_sim.new", lambda beta, unheard_of: None)


@pytest.mark.parametrize(
    ("function", "outcome"),
    [
        (lambda beta: beta, "result"),
        (lambda beta: float("nan"), "NaN in the result"),
        (lambda beta: {"a": [0.0, float("nan")]}, "NaN in ['a'][1]"),
        (lambda beta: [].pop(), "raw IndexError: pop from empty list"),
    ],
)
def test_the_fuzzer_tells_good_from_bad(function, outcome):
    assert fuzz.outcome(fuzz.Call("apo_sim.made_up", {"beta": "1.5"}), function) == outcome


def test_a_worker_that_hangs_or_dies_is_replaced(tmp_path, monkeypatch):
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, os, sys, time\n"
        "first = int(sys.argv[2])\n"
        "for place in range(first, 4):\n"
        "    print(json.dumps({'begins': place}), flush=True)\n"
        "    if place == 1: time.sleep(60)\n"
        "    if place == 2: os.abort()\n"
        "    print(json.dumps({'ends': place, 'outcome': 'result'}), flush=True)\n"
    )
    monkeypatch.setattr(fuzz, "__file__", str(script))
    monkeypatch.setattr(fuzz, "SECONDS", 1.0)
    monkeypatch.setattr(fuzz, "calls", lambda every, seed: [None] * 4)
    found = fuzz.run()
    assert found[0] == found[3] == "result"
    assert found[1] == "hangs"
    assert found[2].startswith("dies (-6)")
