"""Would more iterations help? Long runs, with equal labels in every iteration, or in all.

Every beginning of a run is a run, so that one sweep over the labels N an iteration holds both
answers: the run with the N of the shortest budget, read at every length T, and the runs with
N = budget / T, each read at its own T.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apo_sim.estimate import Estimate
from apo_sim.registry import Family
from apo_sim.statistics import mean_and_half, several
from apo_sim.studies.caption import caption
from apo_sim.studies.kept import place
from apo_sim.sweep import sweep

ALPHAS = (0.0, 0.3, 0.9)
BETAS = (0.1, 1.0, 5.0)
FIRST = 3  # the length that the others are held against
BUDGET = 6000  # preference pairs in all
LENGTHS = (1, FIRST, 10, 20, 60, 200, 1000)


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    family: str | Family = "uniform",
    arms: int = 5,
    alphas: Sequence[float] = ALPHAS,
    betas: Sequence[float] = BETAS,
    lengths: Sequence[int] = LENGTHS,
    budget: int = BUDGET,
) -> xr.Dataset:
    """The gap, dimensions (alpha, beta, samples, seed, iteration), as long as the longest run.

    The samples are `budget` over each of the lengths, which are the coordinate `length`; three
    iterations must be among them, and every length must divide the budget.

    Example:
        >>> data = measure(seeds=4, arms=3, lengths=[3, 6], budget=60, betas=[1.0])
        >>> data.samples.values, data.length.values
        (array([20., 10.]), array([3, 6]))
    """
    data = sweep(
        family,
        alpha=list(alphas),
        beta=list(betas),
        samples=[budget / length for length in lengths],
        arms=arms,
        iterations=max(lengths),
        seeds=several(seeds, least=4),
        seed=seed,
        variables=["suboptimality"],
        progress=progress,
        out=place(out, "gaps"),
    )
    return data.assign_coords(length=("samples", list(lengths))).load()


def by_length(data: xr.Dataset) -> xr.DataArray:
    """The gap after T iterations, dimensions (budget, alpha, beta, seed, length).

    With the budget "each" every iteration has as many labels as the run of three; with "in all"
    all iterations together have as many as that run.
    """
    at = xr.DataArray(data.length.values, dims="length", coords={"length": data.length.values})
    n = xr.DataArray(data.samples.values, dims="length")
    gap = data.suboptimality
    parts = [
        gap.sel(samples=_of_first(data), iteration=at, drop=True),
        gap.sel(samples=n, iteration=at, drop=True),
    ]
    joined = xr.concat(parts, xr.Variable("budget", ["each", "in all"]), coords="minimal")
    return joined.transpose("budget", "alpha", "beta", "seed", "length")


def _of_first(data: xr.Dataset) -> float:
    """The labels an iteration of the run of three."""
    return float(data.samples[data.length == FIRST].item())


def judged(gap: xr.DataArray) -> xr.Dataset:
    """The best length, and what it and the longest change against three iterations.

    The best is chosen on one half of the seeds and judged on the other, so that the best of
    several noisy means is not taken for an advantage.

    Args:
        gap: dimensions seed, length and any others.

    Returns:
        Without seed and length: `best`; `change` and `of_longest`, differences of gaps, negative
        where three iterations are worse, with half their 95 % intervals `half`, `half_of_longest`.
    """
    best = gap.isel(seed=slice(0, None, 2)).mean("seed").idxmin("length")
    changes = gap - gap.sel(length=FIRST, drop=True)
    of_best = changes.isel(seed=slice(1, None, 2)).sel(length=best)
    change, half = mean_and_half(of_best.drop_vars("length"))
    of_longest, half_of_longest = mean_and_half(changes.sel(length=changes.length.max(), drop=True))
    return xr.Dataset(
        {
            "best": best,
            "change": change,
            "half": half,
            "of_longest": of_longest,
            "half_of_longest": half_of_longest,
        }
    )


@dataclass(frozen=True)
class BestLength:
    """The best number of iterations in one cell.

    Attributes:
        length: the best T.
        change: its gap less that of three iterations, on seeds that did not choose it.
    """

    length: int
    change: Estimate

    @property
    def answer(self) -> str:
        """Whether more than three iterations help."""
        if self.length <= FIRST:
            return "no"
        return "yes" if self.change.high < 0 else "undecided"


@dataclass(frozen=True)
class OfBudget:
    """What longer runs do with one budget of labels.

    Attributes:
        best: by beta and alpha.
        better: of these cells, in how many the longest run is surely better than three iterations.
        worse: in how many it is surely worse.
    """

    best: dict[tuple[float, float], BestLength]
    better: int
    worse: int


@dataclass(frozen=True)
class LongRunFinding:
    """Whether more than three iterations help.

    Attributes:
        arms: K.
        samples: pairs an iteration of the run of three.
        longest: the largest T.
        each: with as many pairs in every iteration.
        in_all: with as many in all as that run has.
        runs: how many there were.
    """

    arms: int
    samples: float
    longest: int
    each: OfBudget
    in_all: OfBudget
    runs: int

    @property
    def text(self) -> str:
        """All of it in words."""
        each = self._budget(f"With N = {self.samples:,.0f} new pairs in each iteration", self.each)
        in_all = self._budget(f"With {self.samples * FIRST:,.0f} pairs in all", self.in_all)
        return (
            f"Do more than {FIRST} iterations help? {each} {in_all} (K = {self.arms}, "
            f"{self.runs:,} runs, paired 95 % intervals, each by itself; the best T is chosen on "
            "one half of the seeds and judged on the other.)"
        )

    def _budget(self, rule: str, found: OfBudget) -> str:
        texts = []
        for beta in dict.fromkeys(beta for beta, _ in found.best):
            answers = ", ".join(
                f"{one.answer} at alpha = {alpha:g} (best T = {one.length:,}: "
                f"{one.change.value:+.3f} ± {(one.change.high - one.change.low) / 2:.3f})"
                for (of, alpha), one in found.best.items()
                if of == beta
            )
            texts.append(f"beta = {beta:g}: {answers}")
        return (
            f"{rule}: {'; '.join(texts)}. T = {self.longest:,} is better than T = {FIRST} in "
            f"{found.better} of {len(found.best)} cells, worse in {found.worse}."
        )


def finding(data: xr.Dataset) -> LongRunFinding:
    """Whether more than three iterations help, for every budget and beta; the best length."""
    gap = by_length(data)
    found = judged(gap)
    each, in_all = (
        _of_budget(found.sel(budget=budget), data.sizes["seed"] // 2)
        for budget in ("each", "in all")
    )
    return LongRunFinding(
        arms=int(data.arms),
        samples=_of_first(data),
        longest=int(gap.length.max()),
        each=each,
        in_all=in_all,
        runs=data.suboptimality.isel(iteration=0).size,
    )


def _of_budget(found: xr.Dataset, seeds: int) -> OfBudget:
    best = {}
    for beta in found.beta.values:
        for alpha in found.alpha.values:
            cell = found.sel(beta=beta, alpha=alpha)
            change, half = float(cell.change), float(cell.half)
            best[float(beta), float(alpha)] = BestLength(
                int(cell.best), Estimate(change, change - half, change + half, "reward", seeds)
            )
    return OfBudget(
        best,
        better=int((found.of_longest + found.half_of_longest < 0).sum()),
        worse=int((found.of_longest - found.half_of_longest > 0).sum()),
    )


def draw(figure: Figure, data: xr.Dataset) -> None:
    """A row a budget, a column a beta; the gap over T for every alpha."""
    figure.set_size_inches(7.0, 5.4)
    caption(
        figure,
        rf"$K = {int(data.arms)}$; means over {data.sizes['seed']:,} seeds, "
        "bands their 95 % intervals, each point by itself",
    )
    panels = figure.subplots(2, data.sizes["beta"], sharex=True, sharey=True, squeeze=False)
    each = data.suboptimality.sel(samples=_of_first(data), drop=True).rename(iteration="length")
    in_all = by_length(data).sel(budget="in all")
    # The last few runs that still go wrong make means below jump about.
    lowest = max(min(float(gap.mean("seed").min()) for gap in (each, in_all)), 1e-6)
    for row, gap, style in ((panels[0], each, "-"), (panels[1], in_all, "o-")):
        for axes, beta in zip(row, data.beta.values, strict=True):
            for colour, alpha in enumerate(data.alpha.values):
                mean, half = mean_and_half(gap.sel(beta=beta, alpha=alpha))
                band = mean - half, mean + half
                axes.fill_between(gap.length, *band, color=f"C{colour}", alpha=0.2, lw=0)
                axes.plot(gap.length, mean, style, color=f"C{colour}", lw=1.4, markersize=3.5)
            axes.axvline(FIRST, color="0.4", ls=":", lw=1.2)
            axes.set(xscale="log", yscale="log", ylim=(lowest / 2, 2.0))
    for axes, beta in zip(panels[0], data.beta.values, strict=True):
        axes.set_title(rf"$\beta = {beta:g}$")
    for axes in panels[-1]:
        axes.set_xlabel("iterations, $T$")
    n = _of_first(data)
    panels[0, 0].set_ylabel(f"{n:,.0f} pairs in each iteration\ngap (reward)", fontsize=8.5)
    panels[1, 0].set_ylabel(f"{n * FIRST:,.0f} pairs in all\ngap (reward)", fontsize=8.5)
    handles = [Line2D([], [], color=f"C{colour}") for colour in range(data.sizes["alpha"])]
    names = [rf"$\alpha = {alpha:g}$" for alpha in data.alpha.values]
    handles.append(Line2D([], [], color="0.4", ls=":", lw=1.2))
    names.append(f"T = {FIRST}")
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
