"""The two errors over the iterations: what optimisation still lacks, and what finite data add.

The gap is split in two ways. The paper's goes through the run with exact preferences: its gap, and
the rest. N4's goes through the average of the rewards learned: what a run on it would still lose,
and what is wrong with it. Noise may also help, so the size of the statistical part is averaged.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apo_sim.studies.intervals import bootstrap, mean_and_half, place, ratio_of_means
from apo_sim.sweep import sweep

ALPHAS = (0.0, 0.3, 0.6, 0.9)
SAMPLES = (100, 1000, 10_000)
SPLITS = {
    "the paper's split": ("paper_optimisation", "paper_difference"),
    "split by the average reward (N4)": ("optimisation", "statistics"),
}


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    family: str = "uniform",
    arms: int = 10,
    beta: float = 5.0,
    iterations: int = 40,
    alphas: Sequence[float] = ALPHAS,
    samples: Sequence[int] = SAMPLES,
) -> xr.Dataset:
    """Both splits of the gap, dimensions (alpha, samples, seed, iteration).

    Example:
        >>> data = measure(seeds=2, arms=3, iterations=4, samples=[100])
        >>> gap = data.suboptimality - data.optimisation - data.statistics
        >>> bool(abs(gap).max() < 1e-12)
        True
    """
    parts = [part for names in SPLITS.values() for part in names]
    return sweep(
        family,
        alpha=list(alphas),
        samples=list(samples),
        arms=arms,
        beta=beta,
        iterations=iterations,
        seeds=seeds,
        seed=seed,
        variables=["suboptimality", *parts],
        progress=progress,
        out=place(out, "tradeoff"),
    ).load()


def finding(data: xr.Dataset) -> str:
    """What the largest alpha does to the errors at the end."""
    last = data.isel(iteration=-1)
    ends = [float(data.alpha[0]), float(data.alpha[-1])]
    sentences = []
    for name, parts in SPLITS.items():
        texts = []
        for kind, part in zip(("optimisation", "statistics"), parts, strict=True):
            for n in data.samples.values[:1] if part == "paper_optimisation" else data.samples:
                pair = abs(last[part].sel(samples=n, alpha=ends[::-1]))
                low, high = bootstrap(ratio_of_means, pair)
                where = "" if part == "paper_optimisation" else f" at N = {int(n):,}"
                point = ratio_of_means(pair.transpose("alpha", "seed").values)
                texts.append(f"{kind}{where} × {point:.2g} [{low:.2g}, {high:.2g}]")
        sentences.append(f"{name}: {', '.join(texts)}")
    runs = data.suboptimality.isel(iteration=0).size
    return (
        f"After {data.sizes['iteration']} iterations, alpha = {ends[1]:g} in place of "
        f"{ends[0]:g} changes the mean sizes of the errors. "
        f"{'; '.join(sentences)} ({runs:,} runs, 95 % bootstrap intervals)."
    )


def draw(figure: Figure, data: xr.Dataset) -> None:
    """A row a split, a column a number of labels; the errors over t for every alpha."""
    figure.set_size_inches(7.0, 5.6)
    columns = data.sizes["samples"]
    panels = figure.subplots(len(SPLITS), columns, sharex=True, sharey=True, squeeze=False)
    t = data.iteration.values
    for row, (name, (optimisation, statistics)) in zip(panels, SPLITS.items(), strict=True):
        for axes, n in zip(row, data.samples.values, strict=True):
            here = data.sel(samples=n)
            for colour, alpha in enumerate(data.alpha.values):
                lost = abs(here[optimisation].sel(alpha=alpha)).mean("seed")
                axes.plot(t, lost, "--", color=f"C{colour}", lw=1.2)
                centre, half = mean_and_half(abs(here[statistics].sel(alpha=alpha)))
                axes.plot(t, centre, color=f"C{colour}")
                band = np.maximum(centre - half, 1e-12), centre + half
                axes.fill_between(t, *band, color=f"C{colour}", alpha=0.2, lw=0)
            axes.set(xscale="log", yscale="log", ylim=(1e-4, 2.0))
            axes.set_title(f"N = {int(n):,}")
        row[0].set_ylabel(f"{name}\n(units of the reward)", fontsize=8.5)
    for axes in panels[-1]:
        axes.set_xlabel("iterations, $t$")
    lines = [Line2D([], [], color=f"C{i}") for i in range(data.sizes["alpha"])]
    kinds = [Line2D([], [], color="0.3", ls="--", lw=1.2), Line2D([], [], color="0.3")]
    figure.legend(
        [*lines, *kinds],
        [*(rf"$\alpha = {alpha:g}$" for alpha in data.alpha.values), "optimisation", "statistics"],
        loc="outside lower center",
        ncols=6,
    )
