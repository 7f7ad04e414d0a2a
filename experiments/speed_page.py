"""Write docs/speed.md: how fast the library is, from what the benchmarks measured.

    python experiments/speed_page.py                      # from the copies that are kept
    python experiments/speed_page.py --results results    # take over what was measured there

Each benchmark leaves a file of rows and targets; a copy of it is kept in `experiments/reference/`.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import jinja2
from paired import Spread, Target, as_text

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "experiments/reference"
FILES = ("benchmark_bandit.json", "benchmark_cores.json")
TEMPLATE = ROOT / "docs/speed.md.j2"
PAGE = ROOT / "docs/speed.md"


def rendered(benchmarks: list[dict[str, Any]]) -> str:
    """The page, in Markdown."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"table": table, "target": target, "machine": machine}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(benchmarks=benchmarks)


def machine(benchmark: dict[str, Any]) -> str:
    """Where and how it was measured."""
    found = benchmark["machine"]
    load = ", ".join(map(str, found["load"]))
    extent = "a quick run" if benchmark["quick"] else "a full run"
    return (
        f"{extent} on {found['cpus']} CPUs, load {load}, Python {found['python']}, "
        f"JAX {found['jax']}, NumPy {found['numpy']}"
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a table of Markdown."""
    return _table(list(rows[0]), [[_text(cell) for cell in row.values()] for row in rows])


def target(targets: list[dict[str, Any]]) -> str:
    """Targets as a table of Markdown."""
    lines = []
    for one in (Target(**fields) for fields in targets):
        limit = f"{'at least' if one.at_least else 'at most'} {as_text(one.wanted)}{one.unit}"
        found = f"{as_text(one.measured)}{one.unit}"
        lines.append([one.what, found, limit, "met" if one.met else "**missed**"])
    return _table(["what", "measured", "wanted", ""], lines)


def _table(columns: list[str], lines: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(columns) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [columns, rule, *lines])


def _text(cell: Any) -> str:
    """A cell as a reader sees it; JSON keeps a spread as a list."""
    return as_text(Spread(*cell) if isinstance(cell, list) else cell)


def kept() -> list[dict[str, Any]]:
    """The copies of what the benchmarks measured, of those that there are."""
    paths = [REFERENCE / name for name in FILES]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def main() -> None:
    """Take over results, if a folder is named, and write the page."""
    parser = argparse.ArgumentParser(description="Write docs/speed.md from the benchmarks' files.")
    parser.add_argument("--results", type=Path, help="folder of the files to take over")
    results = parser.parse_args().results
    if results is not None:
        found = [results / name for name in FILES if (results / name).exists()]
        if not found:
            parser.error(f"{results} has none of {', '.join(FILES)}: run the benchmarks first")
        for path in found:
            shutil.copyfile(path, REFERENCE / path.name)
    PAGE.write_text(rendered(kept()), encoding="utf-8")


if __name__ == "__main__":
    main()
