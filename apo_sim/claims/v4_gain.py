"""V4-gain: where does momentum lower the gap at equal beta?"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.v4 import ALPHA, ARMS, BETAS, HORIZONS, MANY, SAMPLES, cells_of, measured
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies.caption import caption

PLANTED = 0.2  # reward; the range of a bandit's rewards is 2 at most


@claim(
    id="V4-gain",
    title="Momentum helps at equal beta",
    source="reviews",
    statement=rf"Momentum of $\alpha = {ALPHA}$ leaves a smaller mean gap than no momentum at the "
    r"same $\beta$ from as many labels.",
    control=f"a loss of {PLANTED * 2:g} of reward put on every run with momentum",
    power=f"a gain of {PLANTED:g} of reward in place of the mean change of every cell",
    scope=Scope(
        "where",
        "random bandits, uniform rewards and reference",
        arms=ARMS,
        iterations=HORIZONS,
        beta=BETAS,
        samples=SAMPLES,
        alpha=ALPHA,
    ),
)
def momentum_helps(study: Study) -> Finding:
    r"""Map where the paper's extrapolation lowers the gap, over N, T and beta.

    Problem: the cells of V4 and those with fewer labels.

    Method: paired differences of the gap over seeds (same bandit, same keys), Student's intervals
    corrected for all cells.

    Guarantee: statistical. The comparison is one at equal beta, which lets momentum take longer
    steps; how much of the gain a smaller beta would bring is N6.

    Reference: the authors' answers in the paper's reviews.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V4-gain").source
        'reviews'
    """
    gap = measured(study.pick(300, 2000), study.sweep_seed()).suboptimality
    change = gap.sel(alpha=ALPHA, drop=True) - gap.sel(alpha=0.0, drop=True)
    if study.wrong:
        change = change + 2.0 * PLANTED
    if study.planted:
        change = change - change.mean("seed") - PLANTED
    cells = cells_of(change)
    finding = judge.where(
        judge.estimates(cells),
        unit="cells where momentum lowers the gap",
        instances=len(cells) * gap.sizes["seed"],
    )
    assert finding.regions is not None
    large = cells_of(change, MANY)
    counts = {answer: len(named) for answer, named in finding.regions.items()}
    among = {
        answer: len(set(named) & set(large)) for answer, named in finding.regions.items()
    }  # fmt: skip
    regions = finding.regions
    return dataclasses.replace(
        finding,
        facts={
            **{f"cells, {answer}": count for answer, count in counts.items()},
            **{f"cells with N >= {MANY} T, {answer}": count for answer, count in among.items()},
        },
        note=f"Of the {len(large)} cells with N at least {MANY} T it helps in {among['yes']}, "
        f"hurts in {among['no']} and leaves {among['undecided']} undecided, with "
        f"{gap.sizes['seed']:,} seeds.",
        draw=lambda figure: _draw(figure, gap, regions),
    )


def _draw(figure: Figure, gap: xr.DataArray, regions: Mapping[str, Mapping[str, Any]]) -> None:
    caption(
        figure,
        f"K = {ARMS}; mean gap with α = {ALPHA:g} over that without momentum; helps, hurts: the "
        f"paired 95 % interval\nover {gap.sizes['seed']} seeds, corrected for "
        f"{sum(map(len, regions.values()))} cells, excludes zero; ?: it does not",
    )
    means = gap.mean("seed").transpose("alpha", "beta", "samples", "iteration")
    change = np.log2((means.sel(alpha=ALPHA) / means.sel(alpha=0.0)).values)
    words = {
        name: word
        for word, answer in (("helps", "yes"), ("hurts", "no"))
        for name in regions[answer]
    }
    panels = figure.subplots(1, len(BETAS), sharey=True)
    images = []
    for b, axes in enumerate(panels):
        images.append(axes.imshow(change[b].T, cmap="PuOr_r", vmin=-1.5, vmax=1.5, aspect="auto"))
        for n, t in np.ndindex(*change[b].shape):
            name = f"β = {BETAS[b]:g}, T = {HORIZONS[t]}, N = {SAMPLES[n]:,}"
            text = f"{2.0 ** change[b, n, t]:.2f}\n{words.get(name, '?')}"
            colour = "white" if abs(change[b, n, t]) > 0.8 else "0.15"
            axes.text(n, t, text, ha="center", va="center", fontsize=7.5, color=colour)
        axes.set_xticks(range(len(SAMPLES)), [f"{n:g}" for n in SAMPLES], fontsize=6.5)
        axes.set_yticks(range(len(HORIZONS)), [str(t) for t in HORIZONS])
        axes.grid(False)
        axes.set(xlabel="pairs an iteration, $N$", title=rf"$\beta = {BETAS[b]:g}$")
    panels[0].set(ylabel="iterations $T$")
    bar = figure.colorbar(images[0], ax=list(panels), ticks=[-1, 0, 1], shrink=0.9)
    bar.set_label(rf"gap, $\alpha = {ALPHA}$ over $\alpha = 0$")
    bar.set_ticklabels(["half", "same", "twice"])
