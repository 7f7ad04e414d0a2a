"""The page: complete, self-contained, safe, and the same whatever the order of the run."""

import base64
import dataclasses
import hashlib
import itertools
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from fake_claims import as_if_of_the_package

from apo_sim import claims
from apo_sim.claims import registry
from apo_sim.report import page, style
from apo_sim.report.ledger import Ledger, new_ledger
from apo_sim.report.mathematics import breakable, mathematics

VOID = {"meta", "img", "br", "col", "wbr", "mspace", "link", "hr", "input"}


class Reader(HTMLParser):
    """Collects tags and complains of those that are not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def ledger_of(*ids, missing=()):
    verdicts = [claims.check(id) for id in ids]
    return new_ledger(verdicts, seed=0, effort="quick", missing=missing)


def read(html):
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    ledger = ledger_of("fake-true", "fake-false", "fake-lax")
    draw = claims.check("fake-true").draw
    assert draw is not None
    (folder / "figures").mkdir()
    image = style.for_page(style.render(draw, "fake-true")["png"])
    (folder / "figures/fake-true.webp").write_bytes(image)
    verdicts = [claims.Verdict.from_json(v.to_json()) for v in ledger.verdicts]
    entry = {**verdicts[0].to_json(), "figure": "figures/fake-true.svg"}
    content = {**ledger.to_json(), "claims": [entry, *(v.to_json() for v in verdicts[1:])]}
    content["claims"].append(registry.broken("fake-raising", "ValueError: it <raised>").to_json())
    with as_if_of_the_package():
        return page.render_page(Ledger.from_json(content), folder)


def test_the_page_is_well_formed_and_its_ids_are_unique(html):
    reader = read(html)
    assert len(reader.ids) == len(set(reader.ids))
    targets = [a["href"][1:] for tag, a in reader.tags if tag == "a"]
    assert set(targets) <= set(reader.ids)


def test_the_page_needs_no_network(html):
    bare = re.sub(r"[A-Za-z0-9+/=]{200,}", "", html)  # what is packed in base64
    assert not re.search(r"(https?:)?//[a-z]", bare)
    assert not any(tag in ("link", "iframe") or ("src" in a and not a["src"].startswith("data:"))
                   for tag, a in read(html).tags)  # fmt: skip
    assert "@import" not in html and "url(" not in html


def test_the_policy_names_the_digests_of_the_scripts_and_of_nothing_else(html):
    (policy,) = [a["content"] for tag, a in read(html).tags if "http-equiv" in a]
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert len(scripts) == 2
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")


def test_what_works_with_scripts_only_is_hidden_until_one_shows_it(html):
    tags = {a.get("id"): a for _, a in read(html).tags}
    assert "hidden" in tags["filter"] and "hidden" in tags["explore"]
    assert sum("hidden" in a for _, a in read(html).tags) == 2
    assert any(
        "needs JavaScript" in said for said in re.findall("<noscript>(.*?)</noscript>", html)
    )


def test_formulas_are_mathml_and_words_are_escaped(html):
    assert html.count("<math") >= 8
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "it &lt;raised&gt;" in html


def test_the_page_can_be_read_without_seeing_it(html):
    reader = read(html)
    images = [a for tag, a in reader.tags if tag == "img"]
    # One of the claim; of the language model its policies, its log, and the study with power.
    assert len(images) == 4 and all(a["alt"] and a["src"].startswith("data:") for a in images)
    assert ("a", {"class": "skip", "href": "#ledger"}) in reader.tags
    assert all("scope" in a for tag, a in reader.tags if tag == "th")
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert ("html", {"lang": "en"}) in reader.tags


def test_the_page_says_what_must_be_said(html):
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", html))
    assert "Of 4 claims put to the test, 1 holds, 1 fails and 2 checks are broken." in text
    assert "apo-sim validate --module fake_claims --claim fake-false --seed 0" in text
    assert "deep.list [1, not finite]" in text
    assert "Errata" in text and "Printed as" in text
    assert text.index("Ledger") < text.index("Errata") < text.index("Negative control:")


def test_the_page_shows_scope_quantifier_and_controls_both_ways(html):
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", html))
    assert "Scope: for all two &lt;numbers&gt; · K 2 · α 0.5, 2" in text
    assert "no scope declared" in text  # that of fake-true
    assert "tried on 2 instances, claimed for all" in text
    assert "Negative control: the repaired bound halved – fails , as it must" in text
    assert "Repaired: below three – holds , as it must" in text
    assert "This verdict does not count: its negative control came out" in text


def test_a_map_is_shown_cell_by_cell(tmp_path):
    html = page.render_page(ledger_of("fake-map"), tmp_path)
    read(html)
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", html))
    assert "1 depends on the setting" in text
    assert "The map, with intervals that cover all 3 cells at once" in text
    assert "cells in all 3" in text and "bound 3" not in text
    assert re.search(r"yes \(1\) low: −0\.5 \[", text)
    assert "Planted: one less than it is – holds , as it must" in text


def test_a_defect_that_claims_share_is_counted_once(tmp_path):
    (verdict,) = ledger_of("fake-false").verdicts
    twin = dataclasses.replace(verdict, claim=dataclasses.replace(verdict.claim, id="fake-twin"))
    ledger = new_ledger([verdict, twin], seed=0, effort="quick")
    text = page.render_page(ledger, tmp_path)
    assert "One defect, 2 claims." in text and "it is not &lt;so&gt;" in text
    assert "One defect" not in page.render_page(ledger_of("fake-false"), tmp_path)


def test_an_interrupted_run_is_marked(tmp_path):
    html = page.render_page(ledger_of("fake-false", missing=["fake-true"]), tmp_path)
    assert "Incomplete." in html and "before fake-true" in html


def test_no_errata_section_without_errata(tmp_path):
    assert "errata" not in read(page.render_page(ledger_of("fake-false"), tmp_path)).ids


def test_claims_of_the_readers_own_have_a_headline_of_their_own(tmp_path):
    ours, theirs = (
        page.render_page(ledger_of(*ids), tmp_path) for ids in (["LD.2"], ["fake-true"])
    )
    both = page.render_page(ledger_of("LD.2", "fake-true"), tmp_path)
    headline = "<h1>Your claims</h1>"
    assert headline in theirs and headline not in ours and headline not in both
    # What the package found out is beside the point there.
    for section in ("explorer", "explorer-data", "transformer"):
        assert section in read(ours).ids and section not in read(theirs).ids
        assert f'href="#{section}"' not in theirs
    assert theirs.count("<script>") == 1 and "Beyond paper" not in theirs and "Yours" in theirs
    repaired = "each that fails was run on the repaired statement"
    assert repaired not in theirs
    assert repaired in page.render_page(ledger_of("fake-true", "fake-false"), tmp_path)


def test_a_page_without_verdicts_is_a_page(tmp_path):
    assert "none was judged" in page.render_page(ledger_of(), tmp_path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (3, "3"),
        (200_000, "200,000"),
        (0.5, "0.5"),
        (-0.00123456, "−0.001235"),
        (99999.6, "10<sup>5</sup>"),
        (1e-10, "10<sup>−10</sup>"),
        (4.2e9, "4.2 × 10<sup>9</sup>"),
        (5e-324, "4.941 × 10<sup>−324</sup>"),
        (1.7e308, "1.7 × 10<sup>308</sup>"),
    ],
)
def test_numbers(value, text):
    assert str(page.number(value)) == text


def test_displayed_formulas_are_blocks_unless_flat():
    text = r"so $$x \le 1$$"
    assert 'display="block"' in mathematics(text)
    assert mathematics(text, flat=True).startswith("so <math>")


def test_long_formulas_break_before_relations_only():
    assert breakable(r"\left(a = b\right)^{c = d} = \gamma_T") == [
        r"\left(a = b\right)^{c = d}",
        r"= \gamma_T",
    ]
    unbalanced = r"f(x = 0 \le y + z + z + z + z + z"
    assert breakable(unbalanced) == [unbalanced]


def test_latex_that_cannot_be_read_is_shown_as_written():
    assert mathematics(r"$\frac{$") == r"<code>\frac{</code>"
    assert mathematics(r"$\arg x$") == r"<code>\arg x</code>"  # which the converter does not know


def test_a_backslash_at_the_end_of_a_line_is_a_space():
    assert "\\" not in mathematics("$$a,\\\nb$$")
    assert mathematics("$$a,\\\nb$$") == mathematics(r"$$a,\ b$$")


@pytest.mark.parametrize(
    "latex",
    [
        r"\text{<script>alert(1)</script>}",
        r"\mbox{<img src=x onerror=alert(1)>}",
        r"\text{<!--><img src=x onerror=alert(1)>-->}",
        r"\text{<![CDATA[><img src=x onerror=alert(1)>]]>}",
        r"\text{</mtext></math><script>alert(1)</script>}",
        r"\href{javascript:alert(1)}{x}",
        r"\style{position:fixed}{x}",
        r"\class{card}{x}",
        r"\text{<mi onclick='alert(1)'>x</mi>}",
    ],
)
def test_a_formula_that_would_become_something_else_is_shown_as_written(latex):
    for flat in (False, True):
        for text in (f"${latex}$", f"$${latex}$$"):
            tags = [tag for tag, _ in read(str(mathematics(text, flat=flat))).tags]
            assert set(tags) <= {"code", "wbr"}, text


def test_entries_that_no_run_wrote_are_refused():
    entry = claims.check("fake-false").to_json()
    for change in (
        {"id": "../../evil"},
        {"id": "/etc/passwd"},
        {"figure": "/etc/passwd"},
        {"figure": "figures/../../secret.svg"},
        {"seconds": "long"},
        {"interval": [1.0]},
        {"measured": "much"},
        {"verdict": "<b>holds</b>"},
        {"control": {"what": 3, "verdict": "fails"}},
        {"scope": {"quantifier": "some"}},
        {"regions": {"yes": {"here": ["1", 0.0, 2.0]}}},
        {"more": 1},
    ):
        with pytest.raises(ValueError):
            claims.Verdict.from_json(entry | change)
    assert claims.Verdict.from_json(entry).id == "fake-false"


def test_a_linked_figure_is_left_out(tmp_path):
    image = style.for_page(style.render(lambda figure: None, "x")["png"])
    (tmp_path / "secret").write_bytes(image)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/fake-false.webp").symlink_to(tmp_path / "secret")
    (verdict,) = ledger_of("fake-false").verdicts
    drawn = dataclasses.replace(verdict, figure="figures/fake-false.svg")
    ledger = new_ledger([drawn], seed=0, effort="quick")
    assert base64.b64encode(image).decode() not in page.render_page(ledger, tmp_path)
    (tmp_path / "figures/fake-false.webp").unlink()
    (tmp_path / "figures/fake-false.webp").write_bytes(image)
    assert base64.b64encode(image).decode() in page.render_page(ledger, tmp_path)


def test_a_file_that_is_no_image_is_left_out(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/fake-false.webp").write_text("<svg onload=alert(1)>")
    (verdict,) = ledger_of("fake-false").verdicts
    drawn = dataclasses.replace(verdict, figure="figures/fake-false.svg")
    html = page.render_page(new_ledger([drawn], seed=0, effort="quick"), tmp_path)
    assert "<img" not in html


def test_the_same_text_is_shorter_and_no_other_formula():
    html = str(mathematics(r"$a_{t} \le \beta$"))
    assert html == "<math><mrow><msub><mi>a</mi><mi>t</mi></msub><mo>≤</mo><mi>β</mi></mrow></math>"
    assert "&#x0003C;" in mathematics(r"$a < b$") or "&lt;" in mathematics(r"$a < b$")


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_from_what_is_behind_them(html, dark):
    light, night = html.split("prefers-color-scheme: dark", 1)
    found = dict(re.findall(r"--([a-z-]+): (#[0-9a-fA-F]{6})", light))
    if dark:
        found |= dict(re.findall(r"--([a-z-]+): (#[0-9a-fA-F]{6})", night.split("* {")[0]))
    names = ("ink", "soft", "faint", "link")
    pairs = [(name, behind) for name in names for behind in ("page", "card")]
    kinds = ("holds", "fails", "depends", "vacuous", "undecided", "broken")
    pairs += [(kind, f"{kind}-tint") for kind in kinds]
    for front, back in pairs:
        low, high = sorted(luminance(found[name]) for name in (front, back))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (front, back)


def test_a_prime_and_a_function_are_set_as_in_latex():
    html = mathematics(r"$\sigma'(x)\log x$")
    assert "′" in html or "&#x2032;" in html
    assert '<mo lspace="0.1667em" rspace="0.1667em">log</mo>' in html


def words_of(claim):
    optional = (claim.repair, claim.power, claim.defect, claim.errata)
    return [claim.statement, claim.control, claim.scope.problems, *filter(None, optional)]


@pytest.mark.parametrize("id", [id for id in claims.names() if not id.startswith("fake")])
def test_every_formula_of_every_claim_is_understood(id):
    for text in words_of(claims.describe(id)):
        html = mathematics(text)
        assert "\\" not in html and "$" not in html, text


def test_figures_are_the_same_bytes_every_time(tmp_path):
    def draw(figure):
        axes = figure.subplots()
        axes.plot([0, 1], [1, 2], label="$x^2$")
        axes.legend()

    first = style.save(draw, "a", tmp_path / "one").read_bytes()
    second = style.save(draw, "a", tmp_path / "two").read_bytes()
    assert first == second
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["a.png", "a.svg"]


def test_a_figure_that_cannot_be_drawn_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        style.save(lambda figure: 1 / 0, "a", tmp_path)
    assert list(tmp_path.iterdir()) == []
