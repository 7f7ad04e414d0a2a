"""The two errors over the iterations: what optimisation still lacks, and what finite data add.

The gap of a run on sampled preferences is that of the run on exact ones, which is its optimisation
error, plus the rest, which is what sampling does to it. The rest may be negative, since noise may
also help, so that its size is averaged. (N4 splits the gap in another way, through the average of
the rewards learned; its second term is no effect of sampling.)

At equal beta momentum takes longer steps, so that its errors are also shown beside those of the
run without: while the policy has hardly moved the statistical error grows like gamma_T, the total
weight of a constant reward, and once the policy has converged the longer step costs nothing more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from apo_sim import theory
from apo_sim.estimate import Estimate
from apo_sim.registry import Family
from apo_sim.statistics import (
    CONFIDENCE,
    bootstrap,
    mean_and_half,
    ratio_estimate,
    several,
)
from apo_sim.studies.caption import caption
from apo_sim.studies.kept import place
from apo_sim.sweep import sweep

ALPHAS = (0.0, 0.3, 0.6, 0.9)
SAMPLES = (100, 1000, 10_000)
EARLY = 3  # the paper's number of iterations


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    family: str | Family = "uniform",
    arms: int = 10,
    beta: float = 5.0,
    iterations: int = 40,
    alphas: Sequence[float] = ALPHAS,
    samples: Sequence[int] = SAMPLES,
) -> xr.Dataset:
    """The gap and its two parts, dimensions (alpha, samples, seed, iteration).

    Example:
        >>> data = measure(seeds=2, arms=3, iterations=4, samples=[100])
        >>> rest = data.suboptimality - data.paper_optimisation - data.paper_difference
        >>> bool(abs(rest).max() < 1e-12)
        True
    """
    return sweep(
        family,
        alpha=list(alphas),
        samples=list(samples),
        arms=arms,
        beta=beta,
        iterations=iterations,
        seeds=several(seeds),
        seed=seed,
        variables=["suboptimality", "paper_optimisation", "paper_difference"],
        progress=progress,
        out=place(out, "tradeoff"),
    ).load()


def times_plain(data: xr.Dataset) -> xr.Dataset:
    """The mean size of the statistical error over that of the first alpha, at every t.

    Returns:
        `times` with ends of 95 % bootstrap intervals `low` and `high`, dimensions (alpha, samples,
        iteration); `step`, dimensions (alpha, iteration), is the ratio of the gamma_t.

    Example:
        >>> found = times_plain(measure(seeds=4, arms=3, iterations=4, samples=[100]))
        >>> bool((found.times.sel(alpha=0.0) == 1).all()), round(float(found.step[-1, -1]), 2)
        (True, 2.26)
    """
    errors = abs(data.paper_difference).transpose("alpha", "samples", "iteration", "seed")

    def times(values: np.ndarray) -> np.ndarray:
        means = values.mean(axis=-1)
        return means / means[0]

    low, high = bootstrap(times, errors, draws=400)
    values = {"times": times(errors.values), "low": low, "high": high}
    like = errors.isel(seed=0, drop=True)
    weights = [theory.weights(float(a), data.sizes["iteration"]) for a in data.alpha]
    gamma = np.cumsum(weights, axis=1)
    step = like.isel(samples=0, drop=True).copy(data=gamma / gamma[0])
    return xr.Dataset({n: like.copy(data=v) for n, v in values.items()} | {"step": step})


@dataclass(frozen=True)
class Growth:
    """By what the largest alpha multiplies both errors at a horizon, and the step gamma_T.

    Attributes:
        step: what gamma_T is multiplied by.
        optimisation: what the gap of exact preferences is.
        statistical: what the mean distance of the gap from that is, by N.
    """

    step: float
    optimisation: Estimate
    statistical: dict[int, Estimate]


def growths(data: xr.Dataset) -> dict[int, Growth]:
    """What the largest alpha does, early and at the end, by T; intervals that cover together."""
    horizons = sorted({min(EARLY, data.sizes["iteration"]), data.sizes["iteration"]})
    each = 1 - (1 - CONFIDENCE) / (len(horizons) * (1 + data.sizes["samples"]))
    step = times_plain(data).step.isel(alpha=-1)

    def times(part: xr.DataArray) -> Estimate:
        pair = abs(part.isel(alpha=[-1, 0])).transpose("alpha", "seed")
        return ratio_estimate(pair, confidence=each, draws=4000)

    return {
        t: Growth(
            float(step.sel(iteration=t)),
            times(here.paper_optimisation.isel(samples=0)),
            {int(n): times(here.paper_difference.sel(samples=n)) for n in data.samples.values},
        )
        for t in horizons
        for here in [data.sel(iteration=t)]
    }


@dataclass(frozen=True)
class TradeoffFinding:
    """What momentum does to both errors.

    Attributes:
        alphas: the largest, and the one that it is held against.
        beta: proximal weight of both.
        growths: by T.
        runs: how many there were.
    """

    alphas: tuple[float, float]
    beta: float
    growths: dict[int, Growth]
    runs: int

    @property
    def text(self) -> str:
        """All of it in words."""
        sentences = []
        for t, growth in self.growths.items():
            errors = [f"× {each:.2g} at N = {n:,}" for n, each in growth.statistical.items()]
            sentences.append(
                f"T = {t}: gamma_T × {growth.step:.2g}, optimisation error × "
                f"{growth.optimisation:.2g}, statistical error {', '.join(errors)}"
            )
        return (
            f"alpha = {self.alphas[0]:g} in place of {self.alphas[1]:g} at the same beta = "
            f"{self.beta:g} changes the gap of exact preferences (the optimisation error) and the "
            f"mean distance of the gap from it (the statistical error). {'; '.join(sentences)} "
            f"({self.runs:,} runs, 95 % bootstrap intervals, corrected for their number)."
        )


def finding(data: xr.Dataset) -> TradeoffFinding:
    """What the largest alpha does to both errors, early and at the end."""
    return TradeoffFinding(
        (float(data.alpha[-1]), float(data.alpha[0])),
        float(data.beta),
        growths(data),
        data.suboptimality.isel(iteration=0).size,
    )


def draw(figure: Figure, data: xr.Dataset) -> None:
    """A column a number of labels; above both errors over t, below what alpha multiplies one by."""
    figure.set_size_inches(7.0, 5.8)
    caption(
        figure,
        rf"$K = {int(data.arms)}$, $\beta = {float(data.beta):g}$; bands: 95 % intervals over "
        f"{data.sizes['seed']:,} seeds, each point by itself",
    )
    top, bottom = figure.subplots(
        2, data.sizes["samples"], sharex=True, sharey="row", squeeze=False
    )
    found = times_plain(data)
    for above, below, n in zip(top, bottom, data.samples.values, strict=True):
        _errors(above, data.sel(samples=n))
        _times(below, found.sel(samples=n))
        above.set_title(f"N = {int(n):,}")
        below.set_xlabel("iterations, $t$")
    top[0].set_ylabel("error (units of the reward)")
    bottom[0].set_ylabel(rf"times that of $\alpha = {float(data.alpha[0]):g}$")
    lines = [Line2D([], [], color=f"C{i}") for i in range(data.sizes["alpha"])]
    kinds = [Line2D([], [], color="0.3", ls=style) for style in ("-", "--", ":")]
    figure.legend(
        [*lines, *kinds],
        [
            *(rf"$\alpha = {alpha:g}$" for alpha in data.alpha.values),
            "statistical error",
            "optimisation error",
            r"step length $\gamma_t$",
        ],
        loc="outside lower center",
        ncols=4,
    )


def _errors(axes: Axes, data: xr.Dataset) -> None:
    t = data.iteration.values
    for colour, alpha in enumerate(data.alpha.values):
        here = data.sel(alpha=alpha)
        lost = here.paper_optimisation.mean("seed")
        axes.plot(t, lost, "--", color=f"C{colour}", lw=1.2)
        centre, half = mean_and_half(abs(here.paper_difference))
        axes.plot(t, centre, color=f"C{colour}")
        axes.fill_between(t, centre - half, centre + half, color=f"C{colour}", alpha=0.2, lw=0)
    axes.set(xscale="log", yscale="log", ylim=(1e-4, 2.0))


def _times(axes: Axes, found: xr.Dataset) -> None:
    t = found.iteration.values
    for colour, alpha in enumerate(found.alpha.values):
        here = found.sel(alpha=alpha)
        axes.fill_between(t, here.low, here.high, color=f"C{colour}", alpha=0.2, lw=0)
        axes.plot(t, here.times, color=f"C{colour}")
        axes.plot(t, here.step, ":", color=f"C{colour}", lw=1.4)
    axes.set(xscale="log", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
