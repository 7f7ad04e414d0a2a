"""Write what was found: the headlines of the README, docs/findings.md and the family tree.

All come from the ledger of `make validate` (effort quick, seed 0), of which a copy is kept in
`experiments/reference/claims.json`. The sentences are those of `docs/headlines.md.j2` and
`docs/findings.md.j2`, where every figure and every verdict is looked up; a figure that is gone, or
a verdict that has changed, stops the script and fails a test.
"""

import argparse
import functools
import json
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import family_tree
import jinja2

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "experiments/reference/claims.json"
HEADLINES = ROOT / "docs/headlines.md.j2"
TEMPLATE = ROOT / "docs/findings.md.j2"
README = ROOT / "README.md"
FINDINGS = ROOT / "docs/findings.md"
BEGIN, END = "<!-- findings: written by experiments/readme.py -->\n", "<!-- end of findings -->\n"


class Claims:
    """The entries of a ledger, as the template asks for them."""

    def __init__(self, ledger: dict[str, Any]):
        self.entries = {entry["id"]: entry for entry in ledger["claims"]}

    def cite(self, id: str, verdict: str) -> str:
        """The id of a claim, if it has that verdict."""
        found = self.entries[id]["verdict"]
        if found != verdict:
            raise ValueError(f"{id}: the finding says {verdict!r}, the ledger {found!r}")
        return id

    def fact(self, id: str, name: str, spec: str = ".3g", at: int | str | None = None) -> str:
        """A figure that a claim found, as text: a fact, `at` names a part of it, or `measured`."""
        entry = self.entries[id]
        value = entry["facts"][name] if name in entry["facts"] else entry[name]
        return _text(value if at is None else value[at], spec)

    def estimate(self, id: str, name: str, spec: str = ".3g") -> str:
        """A figure with its interval: a fact of three numbers, or a cell of the claim's map."""
        entry = self.entries[id]
        cells = {
            cell: found
            for part in (entry["regions"] or {}).values()
            for cell, found in part.items()
        }
        value, low, high = (_text(part, spec) for part in (cells | entry["facts"])[name])
        return f"{value} [{low}, {high}]"

    def count(self, *verdicts: str) -> int:
        """How many claims have one of some verdicts."""
        return sum(entry["verdict"] in verdicts for entry in self.entries.values())

    def shared(self, defect: str) -> int:
        """How many claims fail for one and the same reason."""
        failing = [entry for entry in self.entries.values() if entry["verdict"] == "fails"]
        return sum(entry["defect"] == defect for entry in failing)


def rendered(template: Path, claims: Claims) -> str:
    """A template with the figures of a ledger, in Markdown."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    lookups = ("cite", "fact", "estimate", "count", "shared")
    named = {name: getattr(claims, name) for name in lookups}
    rows = [_row(entry) for entry in claims.entries.values()]
    text = environment.from_string(template.read_text(encoding="utf-8")).render(**named, rows=rows)
    return "\n\n".join(map(_wrapped, text.strip().split("\n\n"))) + "\n"


def pages(claims: Claims) -> dict[Path, str]:
    """By its path, each page that shows figures of the ledger, as it should be."""
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    readme = before + BEGIN + rendered(HEADLINES, claims) + END + rest.split(END)[1]
    return {README: readme, FINDINGS: rendered(TEMPLATE, claims)}


def _wrapped(block: str) -> str:
    """A paragraph or a list in lines of the README's width; a table stays as it is."""
    if block.startswith("|"):
        return block
    items = re.split(r"\n(?=- )", block)
    wrap = functools.partial(textwrap.fill, width=100, break_on_hyphens=False)
    return "\n".join(
        wrap(" ".join(item.split()), subsequent_indent="  " * item.startswith("- "))
        for item in items
    )


def _row(entry: dict[str, Any]) -> str:
    """A line of the table: id, title, quantifier, verdict, what was measured and its interval."""
    mark = {"fails": "**fails**", "holds": "holds"}.get(entry["verdict"], f"*{entry['verdict']}*")
    ends = entry["interval"]
    interval = "–" if ends is None else "[" + ", ".join(_number(end) for end in ends) + "]"
    cells = (
        entry["id"],
        entry["title"],
        entry["scope"]["quantifier"],
        mark,
        _number(entry["measured"]),
        _number(entry["bound"]),
        interval,
    )
    return f"| {' | '.join(cells)} |"


def _text(value: float | str, spec: str) -> str:
    if isinstance(value, str):
        return value
    return format(value, spec).replace("-", "−").replace("%", " %")


def _number(value: float | None) -> str:
    """Four digits, with powers of ten as a reader writes them."""
    if value is None:
        return "–"
    if 1000 <= abs(value) < 1e6:
        return f"{value:,.0f}".replace("-", "−")
    if value == 0 or 1e-3 <= abs(value) < 1000:
        return f"{value:.4g}".replace("-", "−")
    mantissa, exponent = f"{value:.2e}".split("e")
    digits = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}·10{digits}".replace("-", "−")


def main() -> None:
    """Take over a ledger, if one is named, and write the pages."""
    parser = argparse.ArgumentParser(
        description="Write what the README and the documentation say was found."
    )
    parser.add_argument(
        "--results", type=Path, help="claims.json of a run of `make validate` to take over"
    )
    arguments = parser.parse_args()
    if arguments.results is not None:
        ledger = json.loads(arguments.results.read_text(encoding="utf-8"))
        if (ledger["effort"], ledger["seed"]) != ("quick", 0) or ledger.get("missing"):
            parser.error(f"{arguments.results} is not a whole run of effort quick and seed 0")
        shutil.copyfile(arguments.results, REFERENCE)
    claims = Claims(json.loads(REFERENCE.read_text(encoding="utf-8")))
    for path, text in pages(claims).items():
        path.write_text(text, encoding="utf-8")
    family_tree.main(family_tree.Options())


if __name__ == "__main__":
    main()
