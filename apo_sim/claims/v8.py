"""V8: the paper's method against the methods that its reviewers named, on equal terms."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies import field
from apo_sim.studies.caption import caption
from apo_sim.studies.field import ITERATIONS, label
from apo_sim.studies.field_problems import ARMS

ALPHA = 0.3
LABELS = (100, 10_000)
PLANTED = 0.1  # of the gap, in reward or in probability
# The method in question, and whom it meets, on each kind of problem.
OURS = {"bandits": "iterative DPO", "games": "SPPO"}
RIVALS: dict[str, tuple[str, ...]] = {
    "bandits": ("DPO, offline", "χPO", "RLHF, online", "XPO", "PPO"),
    "games": ("SPPO, average", "Nash-MD", "optimistic MD"),
}


@claim(
    id="V8",
    title="Against the other methods of the field",
    source="reviews",
    statement=rf"From the same number $n$ of labels, each method tuned by the same number of "
    rf"trials, APO ($\alpha = {ALPHA}$; on DPO for bandits, on SPPO for games) leaves a smaller "
    r"mean gap than each rival.",
    control=f"a loss of {2 * PLANTED:g} put on every run of APO",
    power=f"a gap smaller by {PLANTED:g} in place of the mean difference of every cell",
    scope=Scope(
        "where",
        "random bandits (uniform; the best arm rare under the reference; linear in three "
        "features) and games of three arms (dominant, cyclic), no wrong labels",
        arms=(3, ARMS),
        iterations=(1, ITERATIONS),
        beta="the best of 8 trials, for each method and cell",
        samples=f"{LABELS[0]:,} and {LABELS[1]:,} in a whole run",
        alpha=ALPHA,
    ),
)
def against_the_field(study: Study) -> Finding:
    r"""Map where APO leaves a smaller gap than PPO, XPO, chi-PO, RLHF and others.

    Problem: the reviews ask for comparisons with direct reward optimisation and with methods that
    explore or are pessimistic. The number of labels is what these cost.

    Method: a method that learns offline gets all labels at once, of the reference policy; one that
    collects its data gets a tenth of them in each of ten iterations. Hyper-parameters are chosen in
    every cell on seeds of their own by as many trials, and methods compared on new seeds, on the
    same problems: paired differences, Student's intervals for all cells together. No momentum is
    one of the rivals. The study beside it has all methods, more labels and wrong ones.

    Guarantee: empirical, for policies that are tables and for ten iterations. Fewer are better for
    methods that use each label once: with two iterations iterative DPO comes closer to one step on
    all labels, which it does not reach, and momentum then adds nothing that could be told. XPO's
    step is a stationary point next to DPO's, not the least value of its objective.

    Reference: the reviews of the paper.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V8").source
        'reviews'
    """
    data = _measured(study.pick(300, 1000), study.pick(20, 60), study.sweep_seed())
    changes = {cell: each for kind in OURS for cell, each in _changes(kind, data[kind]).items()}
    if study.wrong:
        changes = {cell: each + 2 * PLANTED for cell, each in changes.items()}
    if study.planted:
        changes = {cell: each - each.mean() - PLANTED for cell, each in changes.items()}
    found = judge.estimates(changes)
    facts: dict[str, Any] = {}
    words = []
    for kind in OURS:
        for rival in (OURS[kind], *RIVALS[kind]):
            of_rival = [e for cell, e in found.items() if cell.startswith(f"{kind}, {rival}:")]
            better, worse = sum(e.high < 0 for e in of_rival), sum(e.low > 0 for e in of_rival)
            facts[f"{kind}: cells better than {rival}"] = better
            facts[f"{kind}: cells worse than {rival}"] = worse
            words.append(f"{rival} {better} and {worse} of {len(of_rival)}")
    for each in data.values():
        mean = each.gap.mean("seed")
        for problem in each.problem.values:
            for n in each.labels.values.tolist():
                here = mean.sel(problem=problem, labels=n, flipped=0.0)
                facts[f"least gap, {problem}, n = {n:,}"] = here.idxmin("contender").item()
    return judge.where(
        found,
        unit="cells where APO leaves a smaller gap",
        instances=sum(each.gap.size for each in data.values()),
        facts=facts,
        note="Cells in which APO is surely better and surely worse: " + "; ".join(words) + ".",
        draw=lambda figure: _draw(figure, data),
    )


def _changes(kind: str, data: xr.Dataset) -> dict[str, np.ndarray]:
    """APO's gap less each rival's, over seeds, by the name of the cell."""
    gap = data.gap.sel(flipped=0.0)
    own = gap.sel(contender=label(OURS[kind], ALPHA))
    return {
        f"{kind}, {rival}: {problem}, n = {n:,}": (
            (own - gap.sel(contender=rival)).sel(problem=problem, labels=n).values
        )
        for rival in (OURS[kind], *RIVALS[kind])
        for problem in data.problem.values
        for n in data.labels.values.tolist()
    }


@functools.lru_cache(maxsize=1)
def _measured(seeds: int, tuning: int, seed: int) -> dict[str, xr.Dataset]:
    """The comparison, momentum on the method in question alone."""

    def part(kind: str, methods: Sequence[str], alphas: Sequence[float]) -> xr.Dataset:
        return field.measure(
            problems=kind,
            methods=methods,
            alphas=alphas,
            labels=LABELS,
            flipped=[0.0],
            seeds=seeds,
            tuning=tuning,
            seed=seed,
            progress=False,
        )

    return {
        kind: xr.concat(
            [part(kind, [OURS[kind]], [ALPHA]), part(kind, RIVALS[kind], [])], "contender"
        )
        for kind in OURS
    }


def _draw(figure: Figure, data: dict[str, xr.Dataset]) -> None:
    """Every rival's mean gap over APO's, by kind of problem and number of labels."""
    figure.set_size_inches(7.2, 3.2)
    caption(
        figure,
        "The rival's mean gap less APO's, with paired 95 % intervals corrected for all cells; to\n"
        f"the right APO is better. Blue: n = {LABELS[0]:,} labels, black: n = {LABELS[1]:,}.",
    )
    changes = {kind: _changes(kind, each) for kind, each in data.items()}
    confidence = judge.together(sum(map(len, changes.values())))
    titles = [(kind, problem) for kind, each in data.items() for problem in each.problem.values]
    first = {kind: next(i for i, (k, _) in enumerate(titles) if k == kind) for kind in data}
    for place, axes in enumerate(figure.subplots(1, len(titles))):
        kind, problem = titles[place]
        names = [OURS[kind], *RIVALS[kind]]
        for row, rival in enumerate(names):
            for n, shift, colour in zip(LABELS, (-0.15, 0.15), ("C0", "0.1"), strict=True):
                values = -changes[kind][f"{kind}, {rival}: {problem}, n = {n:,}"]
                ends = judge.mean_interval(values, confidence)
                axes.plot(ends, [row + shift] * 2, color=colour, lw=1.2)
                axes.plot(values.mean(), row + shift, "o", ms=3, color=colour)
        axes.axvline(0.0, color="0.5", lw=0.8)
        axes.set_yticks(range(len(names)), names if place == first[kind] else [], fontsize=7)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.tick_params(axis="x", labelsize=7)
        axes.invert_yaxis()
        axes.set_title(problem, fontsize=8.5)
        axes.set_xlabel("gap" if kind == "bandits" else "exploitability", fontsize=7.5)
