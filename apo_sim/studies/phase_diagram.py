"""Where momentum helps: over the number of labels N and of iterations T.

The extrapolation is chosen on one half of the seeds and judged on the other, so that the best of
several noisy means is not taken for an advantage.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, ScalarFormatter

from apo_sim.studies.intervals import mean_and_half, place
from apo_sim.sweep import sweep

ALPHAS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
SAMPLES = (10, 30, 100, 300, 1000, 3000, 10_000)
HORIZONS = 12


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    family: str = "uniform",
    arms: int = 10,
    beta: float = 5.0,
    iterations: int = 50,
    alphas: Sequence[float] = ALPHAS,
    samples: Sequence[int] = SAMPLES,
) -> xr.Dataset:
    """The gap, dimensions (momentum, alpha, samples, seed, iteration): momentum and its rival.

    The rival is plain iteration with the beta that takes the same path with exact preferences.

    Example:
        >>> data = measure(seeds=2, arms=3, iterations=2, alphas=[0.0, 0.5], samples=[100])
        >>> list(data.momentum.values)
        ['constant', 'matched_beta']
    """
    return sweep(
        family,
        momentum=["constant", "matched_beta"],
        alpha=list(alphas),
        samples=list(samples),
        arms=arms,
        beta=beta,
        iterations=iterations,
        seeds=seeds,
        seed=seed,
        variables=["suboptimality"],
        progress=progress,
        out=place(out, "gaps"),
    ).load()


def judged(gap: xr.DataArray) -> xr.Dataset:
    """The best extrapolation of every (N, T), and what it gains on seeds it was not chosen on.

    Args:
        gap: dimensions momentum, alpha, samples, seed, iteration; any of the iterations.

    Returns:
        Dimensions (samples, iteration): `best`; `over_none` and `over_matched`, differences of
        gaps, positive where momentum is better, and half their 95 % intervals; `relative_none`,
        `relative_matched`; `largest`, the relative gain of the largest alpha, and `hurts`.
    """
    chosen_on, judged_on = gap.isel(seed=slice(0, None, 2)), gap.isel(seed=slice(1, None, 2))
    best = chosen_on.sel(momentum="constant").mean("seed").idxmin("alpha")
    apo = judged_on.sel(momentum="constant", alpha=best)
    none = judged_on.sel(momentum="constant", alpha=0.0)
    matched = judged_on.sel(momentum="matched_beta", alpha=best)
    strongest = judged_on.sel(momentum="constant", alpha=gap.alpha.max())
    found = {"best": best}
    for name, rival in (("none", none), ("matched", matched)):
        mean, half = mean_and_half(rival - apo)
        found |= {f"over_{name}": mean, f"half_{name}": half}
        found[f"relative_{name}"] = mean / rival.mean("seed")
    mean, half = mean_and_half(none - strongest)
    found |= {"largest": mean / none.mean("seed"), "hurts": mean + half < 0}
    return xr.Dataset(
        {n: v.drop_vars(["momentum", "alpha"], errors="ignore") for n, v in found.items()}
    )


def horizons(data: xr.Dataset) -> xr.DataArray:
    """The gap at a dozen lengths of a run, evenly spread over their logarithms."""
    longest = data.sizes["iteration"]
    shown = np.unique(np.geomspace(1, longest, HORIZONS).round().astype(int))
    return data.suboptimality.sel(iteration=shown)


def finding(data: xr.Dataset) -> str:
    """In which region momentum beats none, and the matched beta too; where it hurts."""
    found = judged(horizons(data))
    none, both = _surely(found)
    cells = found.best.size
    runs = data.suboptimality.isel(iteration=0).size
    largest = float(data.alpha.max())
    text = (
        f"beta = {float(data.beta):g}, K = {int(data.arms)}: the best alpha beats alpha = 0 in "
        f"{int(none.sum())} of {cells} cells (N, T), and the matched beta too in {int(both.sum())}"
    )
    if bool(both.any()):
        at = found.relative_matched.where(both).argmax(...)
        cell = found.isel(at)
        half = cell.half_matched / cell.over_matched * cell.relative_matched
        text += (
            f", most at N = {cell.samples:g}, T = {cell.iteration:g}: alpha = {cell.best:g} leaves "
            f"a gap {100 * cell.relative_matched:.0f} % ± {100 * half:.0f} % below the matched "
            f"beta's; all of them have N >= {_least(both, 'samples')} and "
            f"T >= {_least(both, 'iteration')}"
        )
    text += f"; alpha = {largest:g} is worse than none in {int(found.hurts.sum())}"
    if bool(found.hurts.any()):
        text += f", all with T >= {_least(found.hurts, 'iteration')}"
    return f"{text} ({runs:,} runs, 95 % intervals a cell)."


def _surely(found: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Where momentum is better than none, and where it is better than the matched beta too."""
    none = found.over_none > found.half_none
    return none, none & (found.over_matched > found.half_matched)


def _least(where: xr.DataArray, name: str) -> str:
    return f"{where[name].where(where).min().item():g}"


def draw(figure: Figure, data: xr.Dataset) -> None:
    """Best alpha, its two gains, and where the largest alpha hurts."""
    found = judged(horizons(data))
    alphas = data.alpha.values
    figure.set_size_inches(7.0, 6.0)
    figure.suptitle(
        rf"$\beta = {float(data.beta):g}$, $K = {int(data.arms)}$; "
        "a dot: the 95 % interval excludes zero",
        x=0.02,
        ha="left",
        fontsize=9.5,
    )
    (first, second), (third, fourth) = figure.subplots(2, 2, sharex=True, sharey=True)
    n, t = found.samples.values, found.iteration.values

    def panel(axes, values, title, **colours):
        grid = _edges(n), _edges(t)
        values = values.transpose("iteration", "samples").values
        image = axes.pcolormesh(*grid, values, rasterized=True, **colours)
        axes.set(xscale="log", yscale="log", title=title)
        axes.grid(False)
        return image

    middle = (alphas[1:] + alphas[:-1]) / 2
    steps = [2 * alphas[0] - middle[0], *middle, 2 * alphas[-1] - middle[-1]]
    image = panel(
        first, found.best, r"best $\alpha$", norm=BoundaryNorm(steps, 256), cmap="cividis"
    )
    bar = figure.colorbar(image, ax=first)
    bar.set_ticks(alphas, labels=[f"{a:g}" for a in alphas])
    bar.minorticks_off()
    none, both = _surely(found)
    for axes, name, title, sure in (
        (second, "relative_none", r"gain over $\alpha = 0$", none),
        (third, "relative_matched", r"gain over the matched $\beta$", both),
        (fourth, "largest", rf"gain of $\alpha = {alphas[-1]:g}$ over 0", found.hurts),
    ):
        norm = Normalize(-100.0, 100.0)
        image = panel(axes, 100 * found[name], title, norm=norm, cmap="RdBu")
        bar = figure.colorbar(image, ax=axes, extend="min")
        bar.ax.yaxis.set_major_formatter(PercentFormatter(decimals=0))
        y, x = np.nonzero(sure.transpose("iteration", "samples").values)
        axes.plot(n[x], t[y], ".", color="0.1", markersize=4)
    for axes in (third, fourth):
        axes.set_xlabel("preference pairs an iteration, $N$")
    for axes in (first, third):
        axes.set_ylabel("iterations, $T$")
        axes.set_yticks(t[:: max(len(t) // 6, 1)])
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.minorticks_off()


def _edges(values: np.ndarray) -> np.ndarray:
    """Borders of cells around values on a logarithmic axis."""
    logs = np.log(values)
    middle = (logs[1:] + logs[:-1]) / 2
    return np.exp([2 * logs[0] - middle[0], *middle, 2 * logs[-1] - middle[-1]])
