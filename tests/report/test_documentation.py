"""Links from the report to the documentation: to pages that exist, and only to those."""

from pathlib import Path

import pytest

from apo_sim import claims
from apo_sim.report import _documentation
from apo_sim.report._documentation import pages
from apo_sim.report.ledger import new_ledger
from apo_sim.report.page import render_page

DOCS = Path(__file__).parents[2] / "docs"


def test_every_page_and_every_claim_of_a_page_exists():
    known = set(claims.names())
    for page in _documentation.PAGES:
        assert (DOCS / f"{page.path}{_documentation.SUFFIX}").is_file(), page.path
        assert known.issuperset(page.claims), page.path


def test_only_what_is_there_is_linked(tmp_path):
    folder = tmp_path / "results"
    (tmp_path / "docs/claims").mkdir(parents=True)
    (tmp_path / "docs/family_tree.md").touch()
    (tmp_path / "docs/claims/LD.2.md").touch()
    folder.mkdir()
    assert [page.path for page in pages(folder)] == ["family_tree"]
    assert [page.path for page in pages(folder, "F1")] == ["family_tree"]
    assert [page.path for page in pages(folder, "LD.2")] == ["claims/LD.2"]
    assert pages(folder, "N17") == []
    html = render_page(new_ledger([claims.check("LD.2")], seed=0, effort="quick"), folder)
    assert '<a href="../docs/claims/LD.2.md">LD.2 in full</a>' in html
    assert '<a href="../docs/family_tree.md">' in html


def test_pages_on_a_network_are_not_looked_for(monkeypatch):
    monkeypatch.setattr(_documentation, "BASE", "https://example.org/apo-sim")
    monkeypatch.setattr(_documentation, "SUFFIX", ".html")
    first, second = pages(Path("/nowhere"), "F1")
    assert first.address == "https://example.org/apo-sim/claims/F1.html"
    assert second.address == "https://example.org/apo-sim/family_tree.html"


@pytest.mark.parametrize("page", _documentation.PAGES, ids=lambda page: page.path)
def test_a_title_is_said_once(page):
    assert [other.title for other in _documentation.PAGES].count(page.title) == 1
