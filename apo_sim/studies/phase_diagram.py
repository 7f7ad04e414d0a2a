"""Where momentum helps: over the number of labels N and of iterations T.

The extrapolation is chosen on one half of the seeds and judged on the other, so that the best of
several noisy means is not taken for an advantage. A comparison judges many cells (N, T) side by
side: its intervals are corrected for their number, so that they cover all cells at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, ScalarFormatter

from apo_sim.errors import InvalidArgument
from apo_sim.estimate import Estimate
from apo_sim.registry import Family
from apo_sim.statistics import CONFIDENCE, mean_and_half, several
from apo_sim.studies.caption import caption
from apo_sim.studies.kept import place
from apo_sim.sweep import sweep

ALPHAS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
SAMPLES = (10, 30, 100, 300, 1000, 3000, 10_000)
HORIZONS = 12
# What is held against what: a momentum and its rival.
COMPARISONS = ("none", "matched", "largest")
# Face colour and words of a mark, by the sign of a difference whose interval excludes zero.
MARKS = {
    1: ("0.1", "gain: the interval lies above zero"),
    -1: ("white", "harm: the interval lies below zero"),
}


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    family: str | Family = "uniform",
    arms: int = 10,
    beta: float = 5.0,
    iterations: int = 50,
    alphas: Sequence[float] = ALPHAS,
    samples: Sequence[int] = SAMPLES,
) -> xr.Dataset:
    """The gap of momentum and its rival, (beta_schedule, alpha, samples, seed, iteration).

    The rival is plain iteration with the beta that takes the same path with exact preferences.

    Example:
        >>> data = measure(seeds=4, arms=3, iterations=2, alphas=[0.0, 0.5], samples=[100])
        >>> list(data.beta_schedule.values)
        ['constant', 'matched']
    """
    if iterations < 2:
        raise InvalidArgument(
            "iterations", iterations, "ends before momentum has acted", "pass at least 2"
        )
    return sweep(
        family,
        beta_schedule=["constant", "matched"],
        alpha=list(alphas),
        samples=list(samples),
        arms=arms,
        beta=beta,
        iterations=iterations,
        seeds=several(seeds, least=4),
        seed=seed,
        variables=["suboptimality"],
        progress=progress,
        out=place(out, "gaps"),
    ).load()


def judged(gap: xr.DataArray) -> xr.Dataset:
    """The best extrapolation of every (N, T), and what it gains on seeds it was not chosen on.

    Args:
        gap: dimensions beta_schedule, alpha, samples, seed, iteration; any of the iterations.

    Returns:
        Dimensions (samples, iteration): `best`, the alpha; and for each of `COMPARISONS` (the best
        alpha against none, the best against its matched beta, the largest against none) `over_*`,
        the rival's mean gap minus momentum's; `half_*`, half its 95 % interval, of which those of
        all cells hold at once (Bonferroni); `sign_*`, 1 or -1 where the interval lies above or
        below zero, else 0; and `gain_*`, the difference as a share of the rival's gap.
    """
    chosen_on, judged_on = gap.isel(seed=slice(0, None, 2)), gap.isel(seed=slice(1, None, 2))
    best = chosen_on.sel(beta_schedule="constant").mean("seed").idxmin("alpha")
    momentum = judged_on.sel(beta_schedule="constant")
    apo, none = momentum.sel(alpha=best), momentum.sel(alpha=0.0)
    matched = judged_on.sel(beta_schedule="matched", alpha=best)
    pairs = (apo, none), (apo, matched), (momentum.sel(alpha=gap.alpha.max()), none)
    found = {"best": best}
    for name, (one, rival) in zip(COMPARISONS, pairs, strict=True):
        difference = (rival - one).drop_vars(["beta_schedule", "alpha"], errors="ignore")
        mean, half = mean_and_half(difference, 1 - (1 - CONFIDENCE) / best.size)
        found |= {f"over_{name}": mean, f"half_{name}": half}
        found[f"sign_{name}"] = xr.where(abs(mean) > half, np.sign(mean), 0.0)
        found[f"gain_{name}"] = mean / rival.mean("seed")
    return xr.Dataset(
        {n: v.drop_vars(["beta_schedule", "alpha"], errors="ignore") for n, v in found.items()}
    )


def horizons(data: xr.Dataset) -> xr.DataArray:
    """The gap at some lengths of a run, evenly spread over their logarithms.

    Without the first: momentum acts from the second update on.
    """
    longest = data.sizes["iteration"]
    shown = np.unique(np.geomspace(1, longest, HORIZONS).round().astype(int))
    return data.suboptimality.sel(iteration=shown[1:])


@dataclass(frozen=True)
class Verdicts:
    """In how many cells (N, T) one side of a comparison is surely better, and surely worse."""

    better: int
    worse: int


@dataclass(frozen=True)
class LargestSaving:
    """The cell in which momentum saves most of the gap of its matched beta.

    Attributes:
        samples: N.
        iterations: T.
        alpha: the best one there.
        less: by how much smaller the gap is.
        share: of the rival's gap.
    """

    samples: float
    iterations: int
    alpha: float
    less: Estimate
    share: float


@dataclass(frozen=True)
class PhasesFinding:
    """Where momentum pays.

    Attributes:
        beta: proximal weight.
        arms: K.
        alpha: the largest.
        cells: (N, T).
        none: the best alpha against none.
        matched: the best alpha against its matched beta.
        both: in how many cells the best alpha surely beats either.
        largest: the largest alpha against none.
        saving: None where the best alpha never surely beats its matched beta.
        harmful_from: the least T at which the largest alpha is surely worse; None where there is
            none.
        runs: how many there were.
    """

    beta: float
    arms: int
    alpha: float
    cells: int
    none: Verdicts
    matched: Verdicts
    both: int
    largest: Verdicts
    saving: LargestSaving | None
    harmful_from: int | None
    runs: int

    @property
    def text(self) -> str:
        """All of it in words."""
        text = (
            f"beta = {self.beta:g}, K = {self.arms}: the best alpha beats alpha = 0 in "
            f"{self.none.better} of {self.cells} cells (N, T) and is worse in {self.none.worse}; "
            f"it beats its matched beta in {self.matched.better} ({self.both} of these are among "
            f"the former) and is worse in {self.matched.worse}"
        )
        if self.saving is not None:
            most = self.saving
            half = (most.less.high - most.less.low) / 2
            text += (
                f"; most of the matched beta's gap is saved at N = {most.samples:g}, T = "
                f"{most.iterations}: alpha = {most.alpha:g} leaves {most.less.value:.4f} ± "
                f"{half:.4f} less ({100 * most.share:.0f} %)"
            )
        text += (
            f"; alpha = {self.alpha:g} is better than none in {self.largest.better} and worse in "
            f"{self.largest.worse}"
        )
        if self.harmful_from is not None:
            text += f", all with T >= {self.harmful_from}"
        return (
            f"{text} ({self.runs:,} runs, alpha chosen on half of the seeds and judged on the "
            f"other; paired 95 % intervals, corrected for the {self.cells} cells of a comparison)."
        )


def finding(data: xr.Dataset) -> PhasesFinding:
    """Where momentum is better and worse than none, and than the matched beta."""
    found = judged(horizons(data))
    none, matched, largest = (found[f"sign_{name}"] for name in COMPARISONS)
    harmful = found.iteration.where(largest == -1).min()
    return PhasesFinding(
        beta=float(data.beta),
        arms=int(data.arms),
        alpha=float(data.alpha.max()),
        cells=found.best.size,
        none=_verdicts(none),
        matched=_verdicts(matched),
        both=int(((none == 1) & (matched == 1)).sum()),
        largest=_verdicts(largest),
        saving=_largest_saving(found, data.sizes["seed"] // 2) if (matched == 1).any() else None,
        harmful_from=None if harmful.isnull() else int(harmful),
        runs=data.suboptimality.isel(iteration=0).size,
    )


def _verdicts(sign: xr.DataArray) -> Verdicts:
    return Verdicts(int((sign == 1).sum()), int((sign == -1).sum()))


def _largest_saving(found: xr.Dataset, seeds: int) -> LargestSaving:
    cell = found.isel(found.gain_matched.where(found.sign_matched == 1).argmax(...))
    less, half = float(cell.over_matched), float(cell.half_matched)
    return LargestSaving(
        float(cell.samples),
        int(cell.iteration),
        float(cell.best),
        Estimate(less, less - half, less + half, "reward", seeds),
        float(cell.gain_matched),
    )


def draw(figure: Figure, data: xr.Dataset) -> None:
    """Best alpha, its two gains, and that of the largest alpha; marks where a sign is sure."""
    found = judged(horizons(data))
    alphas = data.alpha.values
    half = data.sizes["seed"] // 2
    figure.set_size_inches(7.0, 6.0)
    caption(
        figure,
        rf"$\beta = {float(data.beta):g}$, $K = {int(data.arms)}$. "
        "Gain: how far the mean gap lies below the rival's, in % of the rival's.\n"
        f"Marks: paired 95 % intervals of {half:,} seeds, corrected for the {found.best.size} "
        r"cells of a panel; best $\alpha$ chosen on the others.",
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
    for axes, name, title in zip(
        (second, third, fourth),
        COMPARISONS,
        (
            r"gain of best $\alpha$ over $\alpha = 0$",
            r"gain of best $\alpha$ over matched $\beta$",
            rf"gain of $\alpha = {alphas[-1]:g}$ over $\alpha = 0$",
        ),
        strict=True,
    ):
        norm = Normalize(-100.0, 100.0)
        image = panel(axes, 100 * found[f"gain_{name}"], title, norm=norm, cmap="RdBu")
        # No gap is below zero, so no gain is above 100 %.
        bar = figure.colorbar(image, ax=axes, extend="min")
        bar.ax.yaxis.set_major_formatter(PercentFormatter(decimals=0))
        signs = found[f"sign_{name}"].transpose("iteration", "samples").values
        for sign, (face, words) in MARKS.items():
            y, x = np.nonzero(signs == sign)
            axes.plot(n[x], t[y], "o", ms=3.5, mec="0.1", mfc=face, label=words)
    figure.legend(*second.get_legend_handles_labels(), loc="outside lower center", ncols=2)
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
