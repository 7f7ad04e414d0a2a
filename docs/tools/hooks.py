"""What is done to every page: formulas become MathML, and claims that are named become links."""

import html
import json
import logging
import re
from pathlib import Path
from typing import Any

from mkdocs.utils import get_relative_url

from apo_sim.report.mathematics import mathematics

LEDGER = Path(__file__).parents[2] / "experiments/reference/claims.json"
IDS = {entry["id"] for entry in json.loads(LEDGER.read_text(encoding="utf-8"))["claims"]}

_LOG = logging.getLogger("mkdocs.hooks")
_NAMED = re.compile(
    rf"(?<![\w.^/-])({'|'.join(map(re.escape, sorted(IDS - {'ExPO'}, key=len, reverse=True)))})"
    r"(?![\w/-]|\.\w)"
)
_TAG = re.compile(r"(<!--.*?-->|<[^>]+>)", re.DOTALL)
_OPENED = re.compile(r"<(/?)(a|autoref|code|h[1-6]|math|pre|script|style)\b")
_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def on_page_content(content: str, *, page: Any, **_: Any) -> str:
    """Set formulas so that neither a script nor the network is needed, and link claims."""
    content = _BLOCK.sub(lambda found: _formula(found[1], "$$"), content)
    content = _INLINE.sub(lambda found: _formula(found[1], "$"), content)
    return linked(content, page.url)


def linked(content: str, here: str) -> str:
    """A page at the address `here` in which every id of a claim is a link.

    Not in code, formulas, headings and other links, and not the page's own id. `ExPO` is left out:
    it names a method, too.

    Example:
        >>> linked("<p>By N4 and <code>N4</code></p>", "speed.html")
        '<p>By <a href="claims/N4.html">N4</a> and <code>N4</code></p>'
        >>> linked("<p>N4, T4.4-opt.</p>", "claims/N4.html")
        '<p>N4, <a href="T4.4-opt.html">T4.4-opt</a>.</p>'
    """

    def link(found: re.Match[str]) -> str:
        there = f"claims/{found[1]}.html"
        if there == here:
            return found[0]
        return f'<a href="{get_relative_url(there, here)}">{found[0]}</a>'

    parts, inside = _TAG.split(content), 0
    for at, part in enumerate(parts):
        if at % 2 == 0:
            parts[at] = part if inside else _NAMED.sub(link, part)
        elif opened := _OPENED.match(part):
            inside += -1 if opened[1] else 1
    return "".join(parts)


def _formula(latex: str, mark: str) -> str:
    found = str(mathematics(f"{mark}{html.unescape(latex).strip()}{mark}"))
    if "<code>" in found:  # a warning fails the build
        _LOG.warning("a formula cannot be set: %s", latex)
    return found
