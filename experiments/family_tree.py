"""Draw which method is which, and write the page about it.

python experiments/family_tree.py

The identities, what is apart and in which parameters are those that claim F1 checks; its largest
errors are looked up in the ledger that is kept in `experiments/reference/claims.json`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from script import console, start

from apo_sim.claims import describe, f1
from apo_sim.files import write_bytes
from apo_sim.report import style

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "experiments/reference/claims.json"
NAME = "family_tree"

# Which box each side of an identity of F1 is drawn at, where it is no box by its own name.
AT = {
    "one step of DPO": "DPO",
    "one step with momentum": "APO",
    "DPO of u": "DPO",
    "SPPO on the game of u": "SPPO",
    "SPPO with the rule of N23": "SPPO",
    "SPPO at another beta": "SPPO",
    "MagneticMD, moving magnet": "MagneticMD",
}
# Boxes that F1 has none for: momentum is the subject of other claims.
MORE = {"APO": r"APO($\beta, \alpha$)", "averaging": r"averaging($\beta, \alpha$)"}
# What other claims have found to be the same: two boxes, in which parameters, the claim.
ELSEWHERE = (
    ("DPO", "APO", r"$\beta_t = \frac{\beta(1-\alpha)}{1-\alpha^{t+1}}$", "N1"),
    ("APO", "averaging", "averaging at\n$\\beta(1-\\alpha)$", "N19"),
    ("SPPO", "IPO", r"$\beta\tau/2$", "N12"),
)
# Where F1 finds a difference, by the name of its fact: two boxes, what only seems to be so, how
# far the line between them is bent and where the words stand, from the middle of the boxes.
APART = {
    f1.DIFFERENT[0]: ("INPO", "Nash-MD", "from the 2nd step\non, three arms", 0.0, (0.0, 0.0)),
    f1.DIFFERENT[1]: (
        "OptimisticMD",
        "SPPO",
        "N23's rule from\nthe 1st step on",
        0.4,
        (-0.06, 0.36),
    ),
    f1.DIFFERENT[2]: ("RLHF", "DPO", "two steps", 0.6, (0.42, 0.0)),
    f1.DIFFERENT[3]: ("DNO", "SPPO", "$s$ on the\ntarget alone", 0.6, (-0.42, 0.0)),
}
PLACES = {
    "averaging": (0.0, 4.0),
    "REBEL": (0.0, 3.0),
    "NPG": (0.0, 2.0),
    "MD-VI": (0.0, 1.0),
    "ExPO": (1.2, 4.0),
    "APO": (1.2, 3.0),
    "DPO": (1.2, 2.0),
    "RLHF": (1.2, 1.0),
    "DNO": (2.4, 3.0),
    "SPPO": (2.4, 2.0),
    "IPO": (2.4, 1.0),
    "OptimisticMD": (3.6, 3.0),
    "MagneticMD": (3.6, 2.0),
    "INPO": (3.6, 1.0),
    "Nash-MD": (3.6, 0.0),
}


@dataclass(frozen=True)
class Options:
    """The family tree of methods: a figure and a page.

    Args:
        out: folder for `family_tree.svg` and `family_tree.md`.
    """

    out: Path = ROOT / "docs"


def main(options: Options) -> None:
    found = facts()
    images = style.render(lambda figure: draw(figure, found), NAME)
    options.out.mkdir(parents=True, exist_ok=True)
    write_bytes(options.out / f"{NAME}.svg", images["svg"])
    write_bytes(options.out / f"{NAME}.md", page(found).encode())
    console.print(f"{options.out / NAME}.svg, {NAME}.md", markup=False)


def facts() -> dict[str, Any]:
    """What claim F1 found, by the reference ledger."""
    ledger = json.loads(REFERENCE.read_text(encoding="utf-8"))["claims"]
    return next(entry for entry in ledger if entry["id"] == "F1")["facts"]


def box_of(side: str) -> str:
    """The box at which a side of an identity is drawn."""
    return AT.get(side, side)


def words_of(first: str, second: str) -> str:
    """In which parameters two methods are the same, as F1's own figure says it."""
    second = "ExPO" if {first, second} == {"APO", "ExPO"} else second
    first = "DPO" if second == "ExPO" else first
    return next(words for a, b, words, _ in f1.EDGES if {a, b} == {first, second})


def page(found: dict[str, Any]) -> str:
    """The page, in Markdown."""
    same = [
        f"| {first} | {second} | {found[f'largest error, {name}']:.1g} |"
        for name, (first, second) in zip(f1.NAMES, f1.IDENTITIES, strict=True)
    ]
    other = [
        f"- {describe(id).title} ({id}): {first} and {second}."
        for first, second, _, id in ELSEWHERE
    ]
    apart = [f"- {name}: {found[name]:.2f} apart in a log-probability." for name in f1.DIFFERENT]
    lines = [
        "# Family tree of methods",
        "",
        "<!-- written by experiments/family_tree.py -->",
        "",
        # Where it does not fit, the site lets it scroll; it is a link to itself in full size.
        '<div class="wide" markdown>',
        "",
        "[![Boxes are methods; lines join those that go through the same policies]"
        f"({NAME}.svg)]({NAME}.svg)",
        "",
        "</div>",
        "",
        "Each method uses the parameters of its own paper, so a comparison may pit a method",
        "against itself. With exact preferences, methods joined by a solid line go through the",
        "same policies, with the parameters written on the line. Methods joined by a dashed line",
        "only look the same. With samples, most of these pairs differ: methods that agree in the",
        "limit may use their labels differently.",
        "",
        "## The same, by claim F1",
        "",
        "| one method | the other | largest relative error of a log-probability |",
        "|---|---|---|",
        *same,
        "",
        "## The same, by other claims",
        "",
        *other,
        "",
        "## Not the same",
        "",
        *apart,
        "",
        "On two arms, INPO and Nash-MD are the same. DNO with the logistic function $s$ on its",
        f"target alone takes {found['step of DNO with s on the target alone']:.2f} of SPPO's step.",
        "For the statements with their parameters and scope, run `apo-sim show F1`.",
        "",
    ]
    return "\n".join(lines)


def draw(figure: Figure, found: dict[str, Any]) -> None:
    """Boxes, the lines that join them and the lines that only seem to."""
    figure.set_size_inches(9.5, 6.2)
    axes = figure.subplots()
    axes.set(xlim=(-0.55, 4.15), ylim=(-0.45, 4.35), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    for first, second in dict.fromkeys(tuple(map(box_of, pair)) for pair in f1.IDENTITIES):
        _join(axes, first, second, words_of(first, second))
    for first, second, words, id in ELSEWHERE:
        _join(axes, first, second, f"{words}\n({id})", color="C5")
    for name, (first, second, words, bend, shift) in APART.items():
        _strike(axes, first, second, f"≠ {words}:\n{found[name]:.2g} apart", bend, shift)
    for name, place in PLACES.items():
        label, games = _box(name)
        box = {"boxstyle": "round,pad=0.45", "facecolor": ("#e3eff7", "#e2f3ee")[games]}
        box |= {"edgecolor": ("C0", "C2")[games], "linewidth": 1.2}
        axes.text(*place, label, fontsize=9, ha="center", va="center", bbox=box, zorder=3)
    axes.text(-0.5, 0.2, "methods on rewards", color="C0", weight="bold")
    axes.text(-0.5, 0.0, "methods on win rates", color="C2", weight="bold")
    for row, (colour, line, words) in enumerate(
        (
            ("0.35", "-", "the same policies (F1)"),
            ("C5", "-", "the same policies (another claim)"),
            ("C1", "--", "not the same"),
        )
    ):
        axes.plot([0.9, 1.15], [0.25 - 0.2 * row] * 2, line, color=colour, linewidth=1.5)
        axes.text(1.22, 0.25 - 0.2 * row, words, fontsize=8, va="center")


def _box(name: str) -> tuple[str, bool]:
    """What stands in a box, and whether the method looks at win rates."""
    if name in MORE:
        return MORE[name], False
    _, _, label, games = f1.NODES[name]
    return label, games


def _join(axes: Axes, first: str, second: str, words: str, color: str = "0.35") -> None:
    (x, y), (to_x, to_y) = PLACES[first], PLACES[second]
    axes.plot([x, to_x], [y, to_y], color=color, linewidth=1.5, zorder=0)
    _write(axes, first, second, words, (0.0, 0.0), color="0.15")


def _strike(
    axes: Axes, first: str, second: str, words: str, bend: float, shift: tuple[float, float]
) -> None:
    style = {"arrowstyle": "-", "linestyle": (0, (3, 2)), "linewidth": 1.3, "color": "C1"}
    style |= {"connectionstyle": f"arc3,rad={bend}", "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", PLACES[second], PLACES[first], arrowprops=style, zorder=0)
    _write(axes, first, second, words, shift, color="C1")


def _write(
    axes: Axes, first: str, second: str, words: str, shift: tuple[float, float], *, color: str
) -> None:
    """Words at the middle between two boxes, or beside it."""
    (x, y), (to_x, to_y) = PLACES[first], PLACES[second]
    place = ((x + to_x) / 2 + shift[0], (y + to_y) / 2 + shift[1])
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.2}
    axes.text(
        *place, words, fontsize=7.5, ha="center", va="center", color=color, bbox=box, zorder=1
    )


if __name__ == "__main__":
    start(main, Options)
