"""A report made of texts that somebody else wrote: nothing in it runs, moves or reads a file."""

import base64
import dataclasses
import functools
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from fake_claims import as_if_of_the_package

from apo_sim import claims, files
from apo_sim.report import style, validate
from apo_sim.report.ledger import Ledger, new_ledger, read_ledger
from apo_sim.report.page import render_page

RUN = "document.documentElement.setAttribute('data-evil', 1)"
BARE = [
    f"<script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f"<svg onload={RUN}>",
    f"</style><script>{RUN}</script>",
    f"</code></p></td><script>{RUN}</script>",
    f'"><script>{RUN}</script>',
    f"' onmouseover='{RUN}",
    f'<iframe srcdoc="<script>parent.{RUN}</script>"></iframe>',
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<style>body{display:none}</style>",
    "<form action=https://evil.example><input name=x></form>",
    "{{ 7 * 191 }} {% for x in range(9) %}{% endfor %}",
    "\x00\x1b[31m\u202e\ud800",
]
LATEX = [
    rf"\text{{<script>{RUN}</script>}}",
    rf"\mbox{{<img src=x onerror={RUN}>}}",
    rf"\text{{</mtext></math><script>{RUN}</script>}}",
    rf"\text{{<!--><img src=x onerror={RUN}>-->}}",
    rf"\text{{<annotation-xml encoding='text/html'><script>{RUN}</script></annotation-xml>}}",
    rf"\href{{javascript:{RUN}}}{{x}}",
    rf"\url{{javascript:{RUN}}}",
    r"\style{position:fixed;inset:0}{x}",
    r"\class{card}{x}\cssId{ledger}{x}",
    rf"\text{{<mi xlink:href='javascript:{RUN}'>x</mi>}}",
    rf"\html{{<b onclick={RUN}>}}",
    r"\includegraphics{/etc/passwd}",
    r"\color{red;background:url(https://evil.example)}{x}",
    rf"\begin{{array}}{{<script>{RUN}</script>}}x\end{{array}}",
    rf"\operatorname{{<script>{RUN}</script>}} x",
    rf"{{{'{' * 200}x{'}' * 200}}}",
]
TEXTS = [*BARE, *(f"${text}$" for text in LATEX), *(f"$${text}$$" for text in LATEX)]
TEXTS += [f"`{text}`" for text in BARE]
ALL = " and ".join(TEXTS)


def entry():
    """An entry of `claims.json` with hostile text wherever text may be."""
    content = claims.check("fake-false").to_json()
    hostile = dict.fromkeys(("title", "statement", "unit", "note", "defect"), ALL)
    scope = {**dict.fromkeys(content["scope"], ALL), "quantifier": "for all"}
    return {
        **content,
        **hostile,
        "scope": scope,
        "control": {"what": ALL, "verdict": "fails"},
        "repair": {"what": ALL, "verdict": "holds"},
        "power": {"what": ALL, "verdict": None},
        "counterexample": {ALL: {ALL: [ALL, 1.0]}},
        "regions": {ALL: {ALL: [1.0, None, 2.0]}},
        "facts": {ALL: ALL},
    }


def foreign():
    """A `claims.json` of somebody else's."""
    content = new_ledger([], seed=0, effort="quick").to_json()
    twin = {**entry(), "id": "foreign"}
    environment = {**content["environment"], ALL: ALL}
    return {**content, "environment": environment, "claims": [entry(), twin], "missing": [ALL]}


def nested(depth):
    value: dict = {}
    for _ in range(depth):
        value = {"x": value}
    return value


class Elements(HTMLParser):
    """What a browser would make of a page: tags with their attributes."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


ACTING = ("script", "iframe", "object", "embed", "link", "base", "form", "input", "button")


def acting(html):
    """What may act in a page: such elements by their names, and the text of every script."""
    reader = Elements()
    reader.feed(html)
    assert reader.found
    named = [(tag, a.get("id"), a.get("data-axis")) for tag, a in reader.found if tag in ACTING]
    return named, re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL)


@functools.cache
def own():
    """The same of a page without a verdict: all that no verdict has written."""
    return acting(render_page(new_ledger([], seed=0, effort="quick"), Path("/nowhere")))


def refuse_what_acts(html):
    """Fail if anything in a page runs but its own scripts, leads elsewhere, or is styled."""
    reader = Elements()
    reader.feed(html)
    assert acting(html) == own()
    policies = [a["content"] for _, a in reader.found if "http-equiv" in a]
    assert len(policies) == 1 and policies[0].startswith("default-src 'none'; script-src 'sha256-")
    for tag, attributes in reader.found:
        for name, value in attributes.items():
            value = value or ""
            assert not name.startswith("on") and name not in ("srcdoc", "data-evil"), (tag, name)
            if name == "style":
                assert re.fullmatch(r"(flex|--at): [\d.]+", value), value
            if name in ("href", "xlink:href", "action", "background"):
                assert value.startswith("#"), value
            if name == "src":
                assert value.startswith("data:image/webp;base64,"), value
    assert sum(tag == "style" for tag, _ in reader.found) == 1


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    with as_if_of_the_package():  # the page with all that may act
        return render_page(Ledger.from_json(json.loads(json.dumps(foreign()))), folder)


def test_no_text_becomes_markup(page):
    refuse_what_acts(page)
    assert "1337" not in re.sub(r"base64,[^\"]*", "", page)  # nor is it run as a template


@pytest.mark.long
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_a_browser_runs_none_of_it(page, tmp_path):
    def after_loading(html):
        file = tmp_path / "page.html"
        files.write_text(file, html)
        flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/own"]
        command = ["chromium", *flags, "--virtual-time-budget=2000", "--dump-dom", file.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout

    refuse_what_acts(after_loading(page))
    # Were it let through, the page's policy would still not let it run.
    let_through = page.replace("<body>", f"<body>{BARE[0]}", 1)
    assert 'data-evil="1"' not in after_loading(let_through)
    # The control: a page without either is seen to run it.
    without = re.sub("<meta http-equiv=[^>]*>", "", let_through, count=1)
    assert 'data-evil="1"' in after_loading(without)


def test_a_foreign_ledger_is_continued_without_harm(tmp_path):
    content = foreign()
    (tmp_path / "claims.json").write_text(json.dumps(content))
    with as_if_of_the_package():
        validate(["fake-true"], out=tmp_path, jobs=1)
    refuse_what_acts((tmp_path / "report.html").read_text())
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        "claims.json",
        "report.html",
        "fake-true.svg",
        "fake-true.png",
        "fake-true.webp",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../../evil"},
        {"id": "/tmp/evil"},
        {"id": "a/b"},
        {"id": ".."},
        {"id": "x" * 65},
        {"id": "a\n"},
        {"figure": "/etc/passwd"},
        {"figure": "figures/../../secret.svg"},
        {"figure": "figures/other.svg"},
        {"figure": 3},
        {"unit": ["reward"]},
        {"note": None},
        {"seconds": float("nan")},
        {"seconds": -1.0},
        {"measured": "1"},
        {"measured": float("inf")},
        {"interval": [0.0, 1.0, 2.0]},
        {"interval": "01"},
        {"instances": 1.5},
        {"instances": -1},
        {"instances": 10**400},
        {"measured": 10**400},
        {"counterexample": [1]},
        {"counterexample": nested(100)},
        {"facts": nested(900)},
        {"regions": {"yes": [1]}},
        {"scope": 3},
        {"scope": {}},
        {"control": None},
        {"facts": None},
        {"verdict": "maybe"},
        {"source": "elsewhere"},
    ],
    ids=str,
)
def test_a_ledger_with_an_entry_that_no_run_wrote_is_passed_over(tmp_path, change):
    content = foreign()
    content["claims"][1] |= change
    (tmp_path / "claims.json").write_text(json.dumps(content))
    assert read_ledger(tmp_path / "claims.json") is None


@pytest.mark.parametrize(
    "change",
    [
        {"environment": ["jax"]},
        {"environment": {"jax": 1}},
        {"missing": "N2"},
        {"missing": [3]},
        {"claims": {}},
        {"claims": None},
        {"claims": [None]},
        {"version": None},
        {"seed": "0"},
        {"seed": True},
        {"effort": []},
        {"created": 0},
    ],
    ids=str,
)
def test_a_ledger_that_no_run_wrote_is_passed_over(tmp_path, change):
    (tmp_path / "claims.json").write_text(json.dumps(foreign() | change))
    assert read_ledger(tmp_path / "claims.json") is None


@pytest.mark.parametrize("text", ["", "null", "[]", "3", '"x"', "[" * 100_000, "\ufeff{}", "{}"])
def test_what_is_no_ledger_is_passed_over(tmp_path, text):
    (tmp_path / "claims.json").write_text(text, encoding="utf-8")
    assert read_ledger(tmp_path / "claims.json") is None


def test_no_file_but_the_figures_gets_into_the_page(tmp_path):
    secret = style.for_page(style.render(lambda figure: None, "secret")["png"])
    (tmp_path / "secret.webp").write_bytes(secret)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/fake-false.webp").symlink_to(tmp_path / "secret.webp")
    (tmp_path / "figures/foreign.webp").mkdir()
    ledger = Ledger.from_json(foreign())
    drawn = [dataclasses.replace(v, figure=f"figures/{v.id}.svg") for v in ledger.verdicts]
    html = render_page(dataclasses.replace(ledger, verdicts=tuple(drawn)), tmp_path)
    assert base64.b64encode(secret).decode() not in html
