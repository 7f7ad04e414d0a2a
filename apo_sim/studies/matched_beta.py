"""Is momentum more than a smaller beta? Against the beta that takes its path, and against none.

With exact preferences momentum is plain iteration with a proximal weight beta_t of its own (N1), so
that nothing can be learned from comparing it with plain iteration at the same beta alone. Here all
three get the same number of labels, and whatever the first two differ by comes from the data. The
matched beta is not the only rival of equal gamma_T, and not the strongest (N6).

Many cells are judged side by side. Their intervals are corrected, so that those of all cells and
of all pairs of contenders hold at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from apo_sim.estimate import Estimate
from apo_sim.registry import Family
from apo_sim.statistics import (
    CONFIDENCE,
    bootstrap,
    mean_and_half,
    mean_estimate,
    ratio_of_means,
    several,
)
from apo_sim.studies.caption import caption
from apo_sim.studies.kept import place
from apo_sim.sweep import sweep

ALPHAS = (0.3, 0.6, 0.9)
BETAS = (1.0, 5.0)
SAMPLES = (30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
# The paper's number of iterations, and longer runs; the gaps are drawn for the one in the middle.
HORIZONS = (3, 20, 50)
SHOWN = 20
CONTENDERS = ("momentum", "matched beta", "no momentum")
COLOURS = ("C0", "C4", "0.45")
QUOTED = ((100, 20), (1000, 20), (30, 50))  # cells (N, T) whose gaps the finding tells


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    family: str | Family = "uniform",
    arms: int = 10,
    iterations: int = HORIZONS[-1],
    alphas: Sequence[float] = ALPHAS,
    betas: Sequence[float] = BETAS,
    samples: Sequence[int] = SAMPLES,
) -> xr.Dataset:
    """The gap, dimensions (beta_schedule, alpha, beta, samples, seed, iteration).

    To the alphas given, 0 is added. The variable `exact` has no samples: the gap of exact
    preferences, the same for both values of `beta_schedule` up to rounding.

    Example:
        >>> data = measure(seeds=2, arms=3, iterations=6, alphas=[0.5], betas=[1.0], samples=[100])
        >>> momentum, matched = data.exact
        >>> bool(abs(momentum - matched).max() < 1e-12)
        True
    """
    grid: dict[str, Any] = {
        "beta_schedule": ["constant", "matched"],
        "alpha": [0.0, *alphas],
        "beta": list(betas),
        "arms": arms,
        "iterations": iterations,
        "seeds": several(seeds),
        "seed": seed,
        "variables": ["suboptimality"],
        "progress": progress,
    }
    sampled = sweep(family, **grid, samples=list(samples), out=place(out, "gaps"))
    exact = sweep(family, **grid, out=place(out, "exact")).suboptimality
    return sampled.assign(exact=exact.drop_vars("samples", errors="ignore")).load()


def contenders(gap: xr.DataArray) -> xr.DataArray:
    """The three contenders along a dimension `contender`, for every alpha above 0.

    Args:
        gap: dimensions beta_schedule, alpha and any others.

    Returns:
        Dimensions (contender, alpha, ...); the last is the same for every alpha.
    """
    plain = gap.sel(beta_schedule="constant", alpha=0.0, drop=True)
    given = gap.sel(alpha=gap.alpha[gap.alpha > 0])
    momentum, matched = (given.sel(beta_schedule=s, drop=True) for s in ("constant", "matched"))
    parts = [momentum, matched, plain.broadcast_like(momentum)]
    return xr.concat(parts, xr.Variable("contender", list(CONTENDERS)))


def better(gaps: xr.DataArray) -> xr.DataArray:
    """Whether a contender surely has a smaller mean gap than a rival.

    Args:
        gaps: dimensions contender, seed and any others, which are the cells.

    Returns:
        Dimensions (rival, contender, ...), without seed. Judged by paired intervals of which
        those of all cells and pairs hold at once with 95 %.
    """
    number = gaps.sizes["contender"]
    cells = gaps.size // (number * gaps.sizes["seed"])
    confidence = 1 - (1 - CONFIDENCE) / (cells * number * (number - 1) / 2)
    mean, half = mean_and_half(gaps.rename(contender="rival") - gaps, confidence)
    return mean > half


def winners(gaps: xr.DataArray) -> xr.DataArray:
    """The index of the contender that is surely better than all others, or -1.

    Args:
        gaps: dimensions contender, seed and any others.

    Returns:
        Integers, without contender and seed.
    """
    best = better(gaps).sum("rival") == gaps.sizes["contender"] - 1
    return xr.where(best.any("contender"), best.argmax("contender"), -1)


def disagreement(data: xr.Dataset) -> float:
    """The largest relative difference between both paths of exact preferences, at any t."""
    momentum, matched = data.exact.transpose("beta_schedule", ...).values
    size = np.maximum(np.maximum(momentum, matched), np.finfo(momentum.dtype).tiny)
    return float(np.max(np.abs(momentum - matched) / size))


@dataclass(frozen=True)
class MatchedGaps:
    """The gaps of one cell, by contender.

    Attributes:
        gap: mean gap.
        lead: momentum's gap less that of each rival, paired.
    """

    gap: dict[str, Estimate]
    lead: dict[str, Estimate]

    @property
    def text(self) -> str:
        """All of them in words."""
        gaps = ", ".join(f"{name} {_four_digits(gap)}" for name, gap in self.gap.items())
        leads = " and ".join(_four_digits(lead, "+") for lead in self.lead.values())
        return f"gap of {gaps}; momentum's minus theirs {leads}"


@dataclass(frozen=True)
class Won:
    """The cells (alpha, N) that one contender wins.

    Attributes:
        cells: how many.
        of: of so many.
        first: the least N among them.
        last: the largest.
    """

    cells: int
    of: int
    first: int
    last: int

    @property
    def text(self) -> str:
        """How many cells, and from which N to which."""
        span = f"{self.first:,}" if self.first == self.last else f"{self.first:,} to {self.last:,}"
        return f"{self.cells} of {self.of} (N = {span})"


@dataclass(frozen=True)
class MatchedBetaFinding:
    """Momentum against the matched beta and against none.

    Attributes:
        disagreement: of the two exact paths, as a share of the gap.
        arms: K.
        longest: the largest T.
        cells: (alpha, beta, N) of each T.
        better: in how many of them momentum is surely better than a rival, by T.
        worse: in how many it is surely worse.
        won: by T and beta, those who are better than both others somewhere.
        quoted: the gaps of a few cells (N, T), at the largest alpha and beta.
        alpha: that alpha.
        beta: that beta.
        runs: how many there were.
    """

    disagreement: float
    arms: int
    longest: int
    cells: int
    better: dict[int, dict[str, int]]
    worse: dict[int, dict[str, int]]
    won: dict[tuple[int, float], dict[str, Won]]
    quoted: dict[tuple[int, int], MatchedGaps]
    alpha: float
    beta: float
    runs: int

    @property
    def text(self) -> str:
        """All of it in words."""
        totals = [
            f"T = {t}, of {self.cells} cells (alpha, beta, N), "
            + ", ".join(
                f"better than {'the ' * (rival == CONTENDERS[1])}{rival} in {better[rival]} and "
                f"worse in {self.worse[t][rival]}"
                for rival in CONTENDERS[1:]
            )
            for t, better in self.better.items()
        ]
        places = []
        for (t, beta), won in self.won.items():
            wins = " and ".join(f"{name} in {where.text}" for name, where in won.items())
            places.append(f"T = {t}, beta = {beta:g}, {wins or 'nobody'}")
        quoted = [
            f" alpha = {self.alpha:g}, beta = {self.beta:g}, N = {n:,}, T = {t}: {cell.text}."
            for (n, t), cell in self.quoted.items()
        ]
        return (
            "With exact preferences momentum and the matched beta differ by "
            f"{self.disagreement:.1g} of the gap at most (K = {self.arms}, T up to "
            f"{self.longest}). With finite data momentum is: {'; '.join(totals)}. Better than both "
            f"others, in cells (alpha, N): {'; '.join(places)}.{''.join(quoted)} ({self.runs:,} "
            "runs; better and worse: paired 95 % intervals, corrected for all cells and pairs; "
            "those of single gaps are not.)"
        )


def finding(data: xr.Dataset) -> MatchedBetaFinding:
    """That exact preferences know no difference; who wins how often; the gaps of a few cells."""
    gaps = contenders(data.suboptimality)
    shown = gaps.sel(iteration=_horizons(data))
    sure, won = better(shown), winners(shown)
    alpha, beta = float(data.alpha[-1]), float(data.beta[-1])
    momentum = CONTENDERS[0]

    def count(t: int, contender: str, rival: str) -> int:
        return int(sure.sel(iteration=t, contender=contender, rival=rival).sum())

    horizons = [int(t) for t in shown.iteration.values]
    return MatchedBetaFinding(
        disagreement=disagreement(data),
        arms=int(data.arms),
        longest=data.sizes["iteration"],
        cells=won.isel(iteration=0).size,
        better={t: {r: count(t, momentum, r) for r in CONTENDERS[1:]} for t in horizons},
        worse={t: {r: count(t, r, momentum) for r in CONTENDERS[1:]} for t in horizons},
        won={(t, float(b)): _won(won.sel(iteration=t, beta=b)) for t in horizons for b in won.beta},
        quoted={
            (n, t): _quoted(gaps.sel(alpha=alpha, beta=beta, samples=n, iteration=t))
            for n, t in QUOTED
            if n in data.samples and t in data.iteration
        },
        alpha=alpha,
        beta=beta,
        runs=data.suboptimality.isel(iteration=0).size,
    )


def _horizons(data: xr.Dataset) -> list[int]:
    """The lengths that are reported: those that the runs have, and their last."""
    longest = data.sizes["iteration"]
    return sorted({longest, *(t for t in HORIZONS if t <= longest)})


def _won(winner: xr.DataArray) -> dict[str, Won]:
    """Who wins somewhere, and where, of the cells (alpha, N)."""
    found = {}
    for index, name in enumerate(CONTENDERS):
        samples = winner.samples.broadcast_like(winner).values[(winner == index).values]
        if samples.size:
            found[name] = Won(samples.size, winner.size, int(samples.min()), int(samples.max()))
    return found


def _quoted(gaps: xr.DataArray) -> MatchedGaps:
    of = {name: gaps.sel(contender=name).values for name in CONTENDERS}
    momentum = CONTENDERS[0]
    return MatchedGaps(
        {name: mean_estimate(gap, unit="reward") for name, gap in of.items()},
        {rival: mean_estimate(of[momentum] - of[rival], unit="reward") for rival in CONTENDERS[1:]},
    )


def _four_digits(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.value:{sign}.4f} ± {(estimate.high - estimate.low) / 2:.4f}"


def draw(figure: Figure, data: xr.Dataset) -> None:
    """A row a beta: the gaps, that of momentum over its rivals', and who wins where."""
    figure.set_size_inches(7.0, 2.5 * data.sizes["beta"] + 1.2)
    horizons = _horizons(data)
    gaps = contenders(data.suboptimality).sel(iteration=horizons)
    alpha, t = float(data.alpha[-1]), SHOWN if SHOWN in horizons else horizons[-1]
    caption(
        figure,
        rf"$K = {int(data.arms)}$; left and middle: $\alpha = {alpha:g}$, $T = {t}$, bands: 95 % "
        f"intervals over {data.sizes['seed']} seeds, each point by itself;\nright: by intervals "
        "that are corrected for all cells and pairs",
    )
    panels = figure.subplots(data.sizes["beta"], 3, sharex=True, squeeze=False)
    for (left, middle, right), beta in zip(panels, data.beta.values, strict=True):
        here = gaps.sel(beta=beta)
        _draw_gaps(left, here.sel(alpha=alpha, iteration=t))
        _draw_ratios(middle, here.sel(alpha=alpha, iteration=t))
        _draw_winners(right, here)
        left.set_ylabel(rf"$\beta = {beta:g}$" "\ngap (reward)")
    for axes, title in zip(panels[0], ("gap", "gap, momentum / rival", "surely best"), strict=True):
        axes.set_title(title)
    for axes in panels[-1]:
        axes.set_xlabel("preference pairs, $N$")
    handles = [Patch(color=colour) for colour in COLOURS]
    handles.append(Patch(facecolor="white", edgecolor="0.8"))
    figure.legend(handles, [*CONTENDERS, "undecided"], loc="outside lower center", ncols=4)


def _draw_gaps(axes, gaps: xr.DataArray) -> None:
    n = gaps.samples.values
    for name, colour in zip(CONTENDERS, COLOURS, strict=True):
        mean, half = mean_and_half(gaps.sel(contender=name))
        low = np.maximum(mean - half, mean / 10)  # the axis is logarithmic
        axes.fill_between(n, low, mean + half, color=colour, alpha=0.2, lw=0)
        axes.plot(n, mean, "o-", color=colour, markersize=3)
    axes.set(xscale="log", yscale="log")


def _draw_ratios(axes, gaps: xr.DataArray) -> None:
    n = gaps.samples.values
    for name, colour in zip(CONTENDERS[1:], COLOURS[1:], strict=True):
        pair = gaps.sel(contender=[CONTENDERS[0], name]).transpose("contender", "samples", "seed")
        low, high = bootstrap(ratio_of_means, pair)
        axes.fill_between(n, low, high, color=colour, alpha=0.2, lw=0)
        axes.plot(n, ratio_of_means(pair.values), "o-", color=colour, markersize=3)
    axes.axhline(1.0, color="0.2", ls="--", lw=1)
    axes.set(xscale="log", yscale="log")


def _draw_winners(axes, gaps: xr.DataArray) -> None:
    """Rows: the lengths of the run, and within them alpha."""
    won = winners(gaps).transpose("iteration", "alpha", "samples")
    n = np.log10(won.samples.values)
    middle = (n[1:] + n[:-1]) / 2
    columns = 10 ** np.array([2 * n[0] - middle[0], *middle, 2 * n[-1] - middle[-1]])
    alphas = won.sizes["alpha"]
    rows = won.values.reshape(-1, won.sizes["samples"])
    axes.pcolormesh(
        columns,
        np.arange(len(rows) + 1),
        rows,
        cmap=ListedColormap(["white", *COLOURS]),
        vmin=-1.5,
        vmax=2.5,
        edgecolor="0.88",
        linewidth=0.6,
    )
    labels = [rf"$\alpha = {a:g}$" for a in won.alpha.values] * won.sizes["iteration"]
    axes.set_yticks(np.arange(len(rows)) + 0.5, labels, fontsize=8)
    for block, t in enumerate(won.iteration.values):
        at = (block + 0.5) * alphas
        axes.text(1.02, at, f"T = {t}", transform=axes.get_yaxis_transform(), va="center",
                  rotation=270, fontsize=8.5)  # fmt: skip
        if block:
            axes.axhline(block * alphas, color="0.3", lw=1)
    axes.set(xscale="log", ylim=(len(rows), 0))
    axes.grid(False)
