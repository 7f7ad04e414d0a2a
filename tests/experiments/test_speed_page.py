"""The page of speed is what the kept results make of its template."""

import copy
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "experiments"))
import speed_page


def test_the_page_shows_the_kept_results_and_changes_with_them() -> None:
    benchmarks = speed_page.kept()
    page = speed_page.PAGE.read_text(encoding="utf-8")
    assert benchmarks and speed_page.rendered(benchmarks) == page
    changed = copy.deepcopy(benchmarks)
    changed[0]["targets"][0]["measured"] = 0.123
    assert speed_page.rendered(changed) != page


def test_a_missed_target_and_a_side_that_does_not_count_are_shown_as_such() -> None:
    shared = {"what": "speed", "unit": "x", "measured": 1.5, "wanted": 2.0}
    lines = speed_page.target([{**shared, "at_least": True}, {**shared, "at_least": False}])
    assert "| speed | 1.5x | at least 2x | **missed** |" in lines
    assert "| speed | 1.5x | at most 2x | met |" in lines
    table = speed_page.table(
        [{"side": "x", "ratio": None}, {"side": "y", "ratio": [2.0, 1.0, 3e4]}]
    )
    assert "| x | – |" in table and "| y | 2 (1–30,000) |" in table
