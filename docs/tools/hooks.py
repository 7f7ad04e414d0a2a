"""What is done to every page: formulas become MathML, and claims that are named become links."""

import html
import json
import logging
import re
from pathlib import Path
from typing import Any

from apo_sim.report.mathematics import mathematics

LEDGER = Path(__file__).parents[2] / "experiments/reference/claims.json"
IDS = {entry["id"] for entry in json.loads(LEDGER.read_text(encoding="utf-8"))["claims"]}

_LOG = logging.getLogger("mkdocs.hooks")
_NAMED = re.compile(r"\(([A-Z][\w.-]*(?:, [A-Z][\w.-]*)*)\)")
_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Link the claims that the findings name."""
    if page.file.src_uri != "findings.md":
        return markdown
    return _NAMED.sub(lambda found: f"({', '.join(map(_linked, found[1].split(', ')))})", markdown)


def _linked(id: str) -> str:
    return f"[{id}](claims/{id}.md)" if id in IDS else id


def on_page_content(content: str, **_: Any) -> str:
    """Set formulas so that neither a script nor the network is needed."""
    content = _BLOCK.sub(lambda found: _formula(found[1], "$$"), content)
    return _INLINE.sub(lambda found: _formula(found[1], "$"), content)


def _formula(latex: str, mark: str) -> str:
    found = str(mathematics(f"{mark}{html.unescape(latex).strip()}{mark}"))
    if "<code>" in found:  # a warning fails the build
        _LOG.warning("a formula cannot be set: %s", latex)
    return found
