"""Let docstrings be read as Markdown: what is plain in a terminal must be so on a page."""

import re
from typing import Any

import griffe

_HEADING = re.compile(r"^(\s*)Example:$", re.MULTILINE)
# Code, formulas, emphasis and the names of parameters are left as they are; any other star or angle
# is a star or an angle.
_KEPT = re.compile(
    r"(`+[^`]*`+|\$\$[^$]+\$\$|\$[^$]+\$|(?<![\w*])\*{1,2}\w[^*\n]*\w\*{1,2}(?![\w*])"
    r"|^\s*\*{1,2}\w+:)",
    re.MULTILINE,
)


class Examples(griffe.Extension):
    """Read `Example:` as `Examples:`, and products and inner products as what they are."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            text, *examples = _HEADING.split(obj.docstring.value, maxsplit=1)
            indent, shown = examples or ("", "")
            heading = f"{indent}Examples:" if examples else ""
            obj.docstring.value = f"{plain(text)}{heading}{shown}"


def plain(text: str) -> str:
    """Text in which Markdown finds no mark-up but code, formulas and emphasis.

    Example:
        >>> plain("E[r*(x, y*)] and `a*b*` and *often* <phi, theta>")
        'E[r\\\\*(x, y\\\\*)] and `a*b*` and *often* &lt;phi, theta>'
    """
    parts = _KEPT.split(text)
    parts[::2] = [part.replace("*", "\\*").replace("<", "&lt;") for part in parts[::2]]
    return "".join(parts)
