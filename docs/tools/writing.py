"""How a page is written: text as Markdown wants it, and into the site."""

import re

import mkdocs_gen_files

_POWER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)e([+-]?\d+)(?!\w)")
_LONG = re.compile(r"(?<![\w.,])\d{5,}(?![\w]|[.,]\d)")


def write(path: str, text: str) -> None:
    with mkdocs_gen_files.open(path, "w") as file:
        file.write(text)


def displayed(text: str) -> str:
    """Text whose displayed formulas are paragraphs of their own, as Markdown wants them."""
    return re.sub(r"\s*\$\$(.+?)\$\$\s*", r"\n\n$$\1$$\n\n", readable(text)).strip()


def readable(text: str) -> str:
    """Text with its figures as a reader writes them; formulas and code as they are.

    Example:
        >>> readable("5% of 10800 runs, off by 5e-15, in $10800$ steps of 1e-09")
        '5 % of 10,800 runs, off by $5\\cdot10^{-15}$, in $10800$ steps of $10^{-9}$'
    """
    parts = re.split(r"(\$\$.*?\$\$|\$[^$]*\$|`[^`]*`)", text, flags=re.DOTALL)
    for at in range(0, len(parts), 2):
        grouped = _LONG.sub(lambda found: f"{int(found[0]):,}", parts[at])
        parts[at] = re.sub(r"(?<=\d)%", " %", _POWER.sub(_power, grouped))
    return "".join(parts)


def _power(found: re.Match[str]) -> str:
    power = f"10^{{{int(found[2])}}}"
    return f"${power}$" if found[1] == "1" else rf"${found[1]}\cdot{power}$"


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
