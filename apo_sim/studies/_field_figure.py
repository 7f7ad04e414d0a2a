"""The picture of the comparison: gaps over labels, who wins where, what momentum adds."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm, TwoSlopeNorm
from matplotlib.figure import Figure

from apo_sim.statistics import mean_and_half
from apo_sim.studies.caption import caption

# Methods that the lines show in colour, where they are there; all others are grey.
SHOWN = {
    "bandits": (
        "DPO, offline", "χPO", "iterative DPO", "iterative DPO, α = 0.3", "RLHF, online", "XPO",
        "PPO", "greedy MLE",
    ),
    "games": (
        "SPPO, offline", "SPPO", "SPPO, α = 0.3", "SPPO, average", "Nash-MD", "EGPO",
        "optimistic MD", "RLHF, online",
    ),
}  # fmt: skip
COLOURS = ("C0", "C1", "C6", "C3", "C2", "C4", "C5", "0.1")
# A ratio to the least gap from which on colours do not change, and a relative change likewise.
WORST, CHANGE = 10.0, 0.6
# Where the axis of the gaps begins.
LEAST = 1e-4
ROW = 0.17


def draw(
    figure: Figure,
    data: xr.Dataset,
    rivals: xr.Dataset,
    standing: xr.DataArray,
    excess: xr.DataArray,
    league: xr.DataArray,
    adds: xr.Dataset | None,
) -> None:
    """Draw it.

    Args:
        figure: to draw in; its size is set.
        data: of the study.
        rivals: the methods that compete.
        standing: whether no other surely leaves less.
        excess: ratios to the least gap of the cell.
        league: the same by region.
        adds: what momentum changes, or None.
    """
    rows = rivals.sizes["contender"], 0 if adds is None else adds.sizes["contender"]
    heights = [2.3, ROW * rows[0] + 0.6, *([ROW * rows[1] + 0.6] if adds is not None else [])]
    figure.set_size_inches(7.4, sum(heights) + 1.0)
    caption(
        figure,
        f"Each method tuned by {data.sizes['trial']} trials in every cell; bands and crosses: 95 % "
        f"intervals over {data.sizes['seed']:,} new seeds\n(bands each by itself, crosses and "
        "circles corrected for all cells and pairs). Grey lines: all other methods.",
    )
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    _lines(parts[0], rivals, data.attrs["problems"])
    order = league.mean(("problem", "flipped")).sortby(lambda each: each).contender.values
    _map(parts[1], excess, standing, order)
    if adds is not None:
        _momentum(parts[2], adds)


def _lines(figure: Any, data: xr.Dataset, problems: str) -> None:
    """The gap over the number of labels, without wrong ones, a panel a family."""
    panels = np.atleast_1d(figure.subplots(1, data.sizes["problem"], sharey=True))
    shown = [name for name in SHOWN[problems] if name in data.contender.values]
    colours = dict(zip(SHOWN[problems], COLOURS, strict=True))
    for axes, problem in zip(panels, data.problem.values, strict=True):
        here = data.gap.sel(problem=problem, flipped=data.flipped[0])
        for name in data.contender.values:
            mean, half = mean_and_half(here.sel(contender=name))
            if name in shown:
                axes.plot(mean.labels, mean, "o-", ms=2.5, lw=1.3, color=colours[name], zorder=3)
                low = np.maximum(mean - half, mean / 10)
                axes.fill_between(mean.labels, low, mean + half, color=colours[name], alpha=0.2,
                                  lw=0)  # fmt: skip
            else:
                axes.plot(mean.labels, mean, color="0.8", lw=0.7)
        axes.set(xscale="log", yscale="log", xlabel="labels, $n$", title=problem)
    panels[0].set_ylim(bottom=LEAST)
    panels[0].set_ylabel("gap" if problems == "bandits" else "exploitability")
    handles = [panels[0].plot([], [], "o-", ms=2.5, color=colours[name])[0] for name in shown]
    figure.legend(handles, shown, loc="outside lower center", ncols=4, fontsize=7.5)


def _columns(data: xr.DataArray | xr.Dataset) -> list[tuple[Any, Any, Any]]:
    return [
        (problem, flips, n)
        for problem in data.problem.values
        for flips in data.flipped.values
        for n in data.labels.values
    ]


def _table(values: xr.DataArray, order: Any) -> np.ndarray:
    return (
        values.sel(contender=order)
        .transpose("contender", "problem", "flipped", "labels")
        .values.reshape(len(order), -1)
    )


def _map(figure: Any, excess: xr.DataArray, standing: xr.DataArray, order: Any) -> None:
    """The mean gap over the least of the cell, dots where none is surely less."""
    axes = figure.subplots()
    ratio = _table(excess, order)
    image = axes.imshow(
        np.minimum(ratio, WORST), norm=LogNorm(1.0, WORST), cmap="viridis_r", aspect="auto"
    )
    rows, columns = np.nonzero(_table(standing, order))
    axes.plot(columns, rows, "o", ms=3.5, mfc="white", mec="0.2", mew=0.6)
    _label(axes, excess, order)
    axes.set_title("Mean gap over the least of the cell; circles: none is surely less")
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=30)
    bar.set_ticks([1, 2, 5, 10], labels=["1", "2", "5", "≥ 10"])
    bar.minorticks_off()


def _momentum(figure: Any, adds: xr.Dataset) -> None:
    """The relative change of the gap by momentum on top, crosses where it is sure."""
    axes = figure.subplots()
    change = _table(adds["mean"], adds.contender.values)
    image = axes.imshow(
        np.clip(change, -CHANGE, CHANGE),
        norm=TwoSlopeNorm(0.0, -CHANGE, CHANGE),
        cmap="PuOr",
        aspect="auto",
    )
    rows, columns = np.nonzero(_table(adds.sure, adds.contender.values))
    axes.plot(columns, rows, "x", ms=3.5, color="0.1", mew=0.9)
    _label(axes, adds, adds.contender.values)
    axes.set_title("Change of the gap by momentum on top, both tuned; crosses: sure")
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=30)
    bar.set_ticks([-CHANGE, 0, CHANGE], labels=[f"≤ −{CHANGE:.0%}", "0", f"≥ {CHANGE:.0%}"])


def _label(axes: Any, data: Any, order: Any) -> None:
    """Methods at the rows; columns by problems, wrong labels and their number."""
    columns = _columns(data)
    axes.set_yticks(range(len(order)), list(order), fontsize=7)
    powers = [f"$10^{{{np.log10(n):.3g}}}$" for _, _, n in columns]
    axes.set_xticks(range(len(columns)), powers, fontsize=6.5)
    axes.grid(False)
    block = data.sizes["labels"]
    for place in range(block, len(columns), block):
        heavy = place % (block * data.sizes["flipped"]) == 0
        axes.axvline(place - 0.5, color="white", lw=2.0 if heavy else 0.8)
    for place in range(0, len(columns), block):
        problem, flips, _ = columns[place]
        text = problem if not flips else f"{flips:.0%} wrong"
        axes.annotate(
            text, (place + block / 2 - 0.5, 0), (0, -16), xycoords=axes.get_xaxis_transform(),
            textcoords="offset points", fontsize=7, ha="center", va="top", annotation_clip=False,
        )  # fmt: skip
