"""The documentation's code runs, its figures are the stored ones, and no page is left out."""

import inspect
import pathlib
import re

import numpy as np
import pytest

from apo_sim import claims, methods
from apo_sim.studies import transformer

DOCS = pathlib.Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]


def name(page: pathlib.Path) -> str:
    return page.relative_to(DOCS).as_posix()


@pytest.mark.parametrize("page", WITH_CODE, ids=name)
def test_every_python_block_of_a_page_runs(page, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(claims.names())
    namespace: dict = {"__name__": "page"}
    try:
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            exec(block, namespace)
    finally:
        for id in set(claims.names()) - before:
            claims.forget(id)
    if name(page) == "how_to/first_claim.md":  # which says that its claim fails, and soundly
        text, verdict = page.read_text(encoding="utf-8"), namespace["verdict"]
        assert (verdict.verdict, verdict.flaw) == ("fails", None)
        assert f"measured {verdict.measured:.4g}, held against 0.5" in text
        assert f"# {verdict.counterexample}" in text
        shares = (namespace["found"] > 0.5).mean(axis=0)
        assert f"# [{' '.join(f'{share:.3f}' for share in shares)}]" in text


def test_the_page_of_the_first_claim_has_code() -> None:
    assert DOCS / "how_to/first_claim.md" in WITH_CODE


def test_the_language_model_rows_are_the_stored_results() -> None:
    text = (DOCS / "how_to/language_model.md").read_text(encoding="utf-8")
    results = transformer.read()
    for method in ("DPO", "APO"):
        last = [run.end.figures for run in results.of(method)]
        won = [figures.win_rate.value for figures in last]
        kl = [figures.kl.value for figures in last]
        row = next(line for line in text.splitlines() if line.startswith(f"| {method} |"))
        assert f"| {np.mean(won):.2f} ({', '.join(f'{w:.2f}' for w in sorted(won))}) |" in row
        assert f"| {np.mean(kl):.1f} (" in row


def test_methods_and_claims_of_others_are_counted() -> None:
    found = [getattr(methods, name) for name in methods.__all__]
    not_others = {
        methods.Accelerated,
        methods.Fit,
        methods.Method,
        methods.OnNetwork,
        methods.OnTable,
        methods.Proximal,
    }
    of_others = [
        thing
        for thing in found
        if inspect.isclass(thing)
        and all(hasattr(thing, part) for part in ("step", "behaviour"))
        and thing not in not_others
    ]
    references = [inspect.getdoc(claims.describe(id).check) or "" for id in claims.names()]
    from_others = [
        text for text in references if re.search(r"Reference: [A-Z][^;(]* \(\d{4}\)", text)
    ]
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    for text in (readme, (DOCS / "index.md").read_text(encoding="utf-8")):
        assert f"{len(of_others)} other methods" in text
    assert f"{len(from_others)} claims from other papers" in readme


def test_no_page_is_left_out_of_the_navigation() -> None:
    text = (DOCS / "tools/pages.py").read_text(encoding="utf-8")
    for page in PAGES:
        listed = page.name if page.parent.name == "how_to" else name(page)
        assert f'"{listed}"' in text or f"({listed})" in text or listed == "index.md", listed


@pytest.mark.long
def test_the_site_builds_without_a_warning(tmp_path) -> None:
    build = pytest.importorskip("mkdocs.commands.build")
    settings = pytest.importorskip("mkdocs.config")
    config = settings.load_config(
        str(DOCS.parent / "mkdocs.yml"), site_dir=str(tmp_path), strict=True
    )
    build.build(config)
    page = (tmp_path / "claims/N2.html").read_text(encoding="utf-8")
    assert "<math" in page
    assert '<a href="T4.4-opt.html">T4.4-opt</a>' in (tmp_path / "claims/T4.4.html").read_text(
        encoding="utf-8"
    )
    assert ".gif" in (tmp_path / "notebooks/ring.html").read_text(encoding="utf-8")
    # Nothing is asked of the network.
    assert not re.search(r'(src|href)="https?://[^"]*\.(js|css|woff2?)"', page)
