"""The page in a browser: its filter and its explorer, by keyboard, without scripts, and printed."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from browser import browser, needs_chromium
from fake_claims import as_if_of_the_package

from apo_sim import claims
from apo_sim.report import _explorer, page
from apo_sim.report.ledger import new_ledger

pytestmark = needs_chromium
IDS = ("fake-true", "fake-false", "fake-map", "fake-lax")
SHOWN = "[...document.querySelectorAll('.ledger .row')].filter((r) => r.offsetParent)"


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The browser, and the page that is open in it."""
    folder = tmp_path_factory.mktemp("browser")
    ledger = new_ledger([claims.check(id) for id in IDS], seed=0, effort="quick")
    report = folder / "report.html"
    with as_if_of_the_package():
        report.write_text(page.render_page(ledger, folder), encoding="utf-8")
    with browser(folder / "own") as window:
        window.resize(1280)
        yield window, report


@pytest.fixture
def opened(shown):
    window, report = shown
    window.errors.clear()
    window.requests.clear()
    window.open(report)
    yield window
    assert window.errors == []
    assert window.requests == [report.as_uri()]


def ids(window):
    return window.run(f"{SHOWN}.map((r) => r.querySelector('.id').textContent)")


def choose(window, id, value):
    window.run(
        f"(() => {{ const e = document.getElementById({json.dumps(id)}); e.value = "
        f"{json.dumps(value)}; e.dispatchEvent(new Event('input')); "
        "e.dispatchEvent(new Event('change')); })()"
    )


def articles(window):
    return window.run("[...document.querySelectorAll('article[id]')].filter((a) => a.offsetParent)"
                      ".map((a) => a.querySelector('.id').textContent)")  # fmt: skip


@pytest.mark.parametrize(
    ("id", "value", "left"),
    [
        ("by-verdict", "fails", ["fake-false"]),
        ("by-verdict", "broken", ["fake-lax"]),
        ("find", "FALSE fake", ["fake-false"]),
        ("find", "planted:", ["fake-map"]),
        ("find", "no such words", []),
        ("by-method", "APO", list(IDS)),
    ],
)
def test_what_does_not_match_is_gone_from_ledger_and_entries(opened, id, value, left):
    choose(opened, id, value)
    assert sorted(ids(opened)) == sorted(left)
    assert sorted(articles(opened)) == sorted(left)
    said = opened.run("document.getElementById('shown').textContent")
    assert said == f"{len(left)} of 4 claims shown"
    opened.run("document.getElementById('clear').click()")
    assert len(ids(opened)) == 4


def test_sources_are_those_that_there_are(opened):
    sources = opened.run(
        "[...document.getElementById('by-source').options].map((o) => o.value).filter(Boolean)"
    )
    for source in sources:
        choose(opened, "by-source", source)
        expected = {id for id in IDS if claims.describe(id).source == source}
        assert set(ids(opened)) == expected
    assert sources


def test_the_ledger_is_sorted_and_put_back(opened):
    before = ids(opened)
    choose(opened, "order", "title")
    titles = opened.run(f"{SHOWN}.map((r) => r.querySelector('a').textContent)")
    assert titles == sorted(titles, key=str.lower)
    choose(opened, "order", "measured")
    numbers = opened.run(f"{SHOWN}.map((r) => r.dataset.measured ?? null)")
    known = [float(number) for number in numbers if number is not None]
    assert known == sorted(known) and numbers[len(known) :] == [None] * (4 - len(known))
    choose(opened, "order", "")
    assert ids(opened) == before


def test_a_link_to_a_claim_that_is_filtered_out_shows_it(opened):
    choose(opened, "by-verdict", "fails")
    opened.run("location.hash = '#claim-fake-true'")
    for _ in range(50):
        if "fake-true" in ids(opened):
            break
    assert "fake-true" in ids(opened)


def expected(**cell):
    """The gap and its parts in one cell, from the stored data."""
    data = _explorer.read().sel({**_explorer.START, **cell})
    parts = [float(data[name]) for name in ("optimisation", "statistics", "half")]
    return [parts[0] + parts[1], *parts]


def numbers(window):
    text = window.run("document.getElementById('explorer-says').textContent")
    return [float(n.replace("−", "-")) for n in re.findall(r"−?\d+(?:\.\d+)?(?:e−\d+)?", text)]


def place(name, value):
    return _explorer.read()[name].values.tolist().index(value)


def turn(window, name, value):
    window.run(
        f"(() => {{ const e = document.querySelector('[data-axis=\"{name}\"]'); e.value = "
        f"{place(name, value)}; e.dispatchEvent(new Event('input')); }})()"
    )


def test_the_explorer_says_what_the_data_say(opened):
    cells = [
        {},
        {"method": "SPPO", "geometry": "Euclidean", "arms": 3, "samples": 10_000, "weight": 10.0},
        {"method": "IPO", "geometry": "Tsallis 1/2", "alpha": 0.9, "weight": 0.03, "samples": 30},
        {"alpha": 0.0, "iteration": 1, "weight": 3.0, "samples": 30},
    ]
    for cell in cells:
        for name, value in {**_explorer.START, **cell}.items():
            turn(opened, name, value)
        found = numbers(opened)[1:]  # the first is T
        assert np.allclose(found, expected(**cell), rtol=0.06, atol=1e-7), (cell, found)


@pytest.mark.parametrize("along", ["arms", "alpha", "weight", "samples", "iteration"])
def test_the_explorer_draws_along_any_setting(opened, along):
    choose(opened, "along", along)
    values = _explorer.read()[along].values
    assert opened.run("document.querySelectorAll('#chart .interval').length") == len(values)
    assert opened.run("document.querySelectorAll('#numbers tbody tr').length") == len(values)
    heights = opened.run(
        "[...document.querySelectorAll('#chart .optimisation')].map((r) => r.height.baseVal.value)"
    )
    assert max(heights) > 1 and all(height >= 0 for height in heights)


def test_the_explorer_is_turned_by_keys_alone(opened):
    opened.run("document.querySelector('[data-axis=samples]').focus()")
    opened.press("ArrowRight", 39)
    nearest = place("samples", _explorer.START["samples"]) + 1
    assert opened.run("document.querySelector('[data-axis=samples]').value") == str(nearest)
    text = opened.run(
        "document.querySelector('[data-axis=samples]').getAttribute('aria-valuetext')"
    )
    assert text == f"{_explorer.read().samples.values[nearest]:,.0f}"
    gap, *_ = expected(samples=_explorer.read().samples.values[nearest])
    assert numbers(opened)[1] == pytest.approx(gap, rel=0.06)


def test_a_held_scale_stays(opened):
    def ticks():
        return opened.run("[...document.querySelectorAll('#chart .end')].map((t) => t.textContent)")

    before = ticks()
    turn(opened, "weight", 0.03)
    moved = ticks()
    turn(opened, "weight", _explorer.START["weight"])
    opened.run("document.getElementById('hold').click()")
    turn(opened, "weight", 0.03)
    assert ticks() == before != moved


def test_every_control_has_a_name(opened):
    nameless = opened.run(
        "[...document.querySelectorAll('input, select, button')]"
        ".filter((e) => !(e.labels?.length || e.ariaLabel || e.textContent.trim())).length"
    )
    assert nameless == 0


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_screen(opened, width):
    opened.resize(width)
    try:
        assert opened.run("document.documentElement.scrollWidth") <= width
    finally:
        opened.resize(1280)


def test_the_policy_lets_no_other_script_run(opened):
    opened.run("document.body.append(Object.assign(document.createElement('script'), "
               "{ textContent: 'window.other = 1' }))")  # fmt: skip
    assert opened.run("window.other ?? null") is None
    assert any("Content Security Policy" in error for error in opened.errors)
    opened.errors.clear()


def test_without_scripts_all_entries_are_there_and_nothing_that_does_not_work(shown):
    window, report = shown
    window.open(report, scripts=False)
    tree = json.dumps(window.call("DOMSnapshot.captureSnapshot", computedStyles=[]))
    layout = window.call("Page.getLayoutMetrics")["cssContentSize"]["height"]
    window.open(report)
    assert window.run("document.documentElement.scrollHeight") < layout + 900
    assert all(f"claim-{id}" in tree for id in IDS)
    assert "needs JavaScript" in tree


def test_what_is_printed_is_open_and_whole(opened):
    opened.media("print")
    try:
        style_of = "getComputedStyle(document.querySelector('{}')).{}"
        assert opened.run(style_of.format("#filter", "display")) == "none"
        assert opened.run(style_of.format(".ledger tr", "breakInside")) == "avoid"
        opened.run("dispatchEvent(new Event('beforeprint'))")
        assert opened.run("document.querySelectorAll('details:not([open])').length") == 0
        opened.run("dispatchEvent(new Event('afterprint'))")
        assert opened.run("document.querySelectorAll('details:not([open])').length") > 0
    finally:
        opened.media("")
    assert opened.pdf()[:5] == b"%PDF-"
