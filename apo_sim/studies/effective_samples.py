"""How many updates the averaged reward averages: the formula of N5 and the errors measured.

The policy is the reference times exp(gamma r), r being the average of the rewards learned with the
weights of momentum. If the updates err independently and alike, the mean square error of r is that
of one update over T_eff = (sum w)^2/sum w^2. With a beta so large that the policy hardly moves they
do; where it moves, late updates cover other arms than early ones. With labels that share their
random numbers between iterations, the control, nothing averages and T_eff is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from apo_sim import theory
from apo_sim.estimate import Estimate
from apo_sim.registry import Family
from apo_sim.statistics import bootstrap, several
from apo_sim.studies.caption import caption
from apo_sim.studies.kept import place
from apo_sim.sweep import sweep

ALPHAS = (0.0, 0.6, 0.9, 0.99)
BETAS = (1e4, 5.0)
DRAWS = ("fresh", "shared")
# So many that the bias of the estimator, which no average removes, is small beside its noise.
SAMPLES = 30_000.0
# What N5 says the inflation of the error cannot exceed.
LARGEST = 2 / 3**0.5
HORIZONS = 9


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    family: str | Family = "uniform",
    arms: int = 10,
    samples: float = SAMPLES,
    iterations: int = 40,
    alphas: Sequence[float] = ALPHAS,
    betas: Sequence[float] = BETAS,
    draws: Sequence[str] = DRAWS,
) -> xr.Dataset:
    """Mean square errors of updates and of their average, (draws, beta, alpha, seed, iteration).

    Example:
        >>> data = measure(seeds=2, arms=3, iterations=4, draws=["fresh"])
        >>> first = data.isel(iteration=0)
        >>> bool(abs(first.update_error - first.average_error).max() < 1e-12)
        True
    """
    return sweep(
        family,
        draws=list(draws),
        beta=list(betas),
        alpha=list(alphas),
        arms=arms,
        samples=samples,
        iterations=iterations,
        seeds=several(seeds),
        seed=seed,
        variables=["update_error", "average_error"],
        progress=progress,
        out=place(out, "errors"),
    ).load()


def errors(data: xr.Dataset) -> xr.Dataset:
    """Mean square errors after some numbers of updates T.

    Returns:
        `average`, of the averaged reward, and `hoped`, one T-th of the mean over the updates,
        which the average of T independent ones would have; dimensions as the data.

    Example:
        >>> found = errors(measure(seeds=2, arms=3, iterations=4, draws=["fresh"]))
        >>> found.average.dims
        ('draws', 'beta', 'alpha', 'seed', 'iteration')
    """
    shown = np.geomspace(2, data.sizes["iteration"], HORIZONS).round().astype(int)
    hoped = data.update_error.cumsum("iteration") / data.iteration**2
    return xr.Dataset({"average": data.average_error, "hoped": hoped}).sel(
        iteration=np.unique(shown)
    )


def inflation(found: xr.Dataset) -> xr.Dataset:
    """How much larger the error of the averaged reward is than that of T independent updates.

    It is (T/T_eff)^(1/2): 1 without momentum if errors are independent and alike, and T^(1/2) if
    they do not average at all.

    Args:
        found: what `errors` returns, or some cells of it.

    Returns:
        `inflation`, `low` and `high` (95 % bootstrap), without the dimension `seed`.

    Example:
        >>> small = {"arms": 3, "iterations": 4, "draws": ["fresh"], "betas": [1e4]}
        >>> found = errors(measure(seeds=20, alphas=[0.0], **small))
        >>> one = inflation(found)
        >>> bool((one.low < 1).all() and (1 < one.high).all())
        True
    """
    parts = [found[name].transpose(..., "seed") for name in ("average", "hoped")]
    low, high = bootstrap(_root_of_ratio, *parts)
    values = {"inflation": _root_of_ratio(*(p.values for p in parts)), "low": low, "high": high}
    like = parts[0].isel(seed=0, drop=True)
    return xr.Dataset({name: like.copy(data=value) for name, value in values.items()})


def _root_of_ratio(average: np.ndarray, hoped: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(average.mean(axis=-1) / hoped.mean(axis=-1)))


def worst(found: xr.Dataset) -> xr.Dataset:
    """The inflation where it is largest over alpha and T, on seeds that did not choose the place.

    Args:
        found: what `errors` returns, for one kind of draws and one beta.

    Example:
        >>> data = measure(seeds=20, arms=3, iterations=4, alphas=[0.0, 0.9], draws=["fresh"])
        >>> cell = worst(errors(data).sel(draws="fresh", beta=5.0))
        >>> bool(cell.low <= cell.inflation <= cell.high)
        True
    """
    chosen_on, judged_on = (found.isel(seed=slice(half, None, 2)) for half in (0, 1))
    ratio = chosen_on.average.mean("seed") / chosen_on.hoped.mean("seed")
    return inflation(judged_on.isel(ratio.argmax(["alpha", "iteration"])))


def formula(
    alphas: Sequence[float] | np.ndarray, iterations: Sequence[int] | np.ndarray
) -> xr.DataArray:
    """The inflation by T_eff = (sum w)^2/sum w^2, dimensions (alpha, iteration).

    Example:
        >>> round(float(formula([0.9], [10])[0, 0]), 3)
        1.087
    """
    t = np.asarray(iterations)
    # The weights of a shorter run are the first of a longer one's.
    weights = np.array([theory.weights(float(alpha), int(t.max())) for alpha in alphas])
    squared, total = np.cumsum(weights**2, axis=1), np.cumsum(weights, axis=1)
    values = np.sqrt(t * squared[:, t - 1]) / total[:, t - 1]
    return xr.DataArray(values, {"alpha": list(alphas), "iteration": list(iterations)})


@dataclass(frozen=True)
class LargestInflation:
    """The inflation in the worst cell, which other seeds chose.

    Attributes:
        inflation: (T/T_eff)^(1/2), as measured.
        alpha: extrapolation of the cell.
        iterations: its T.
        by_formula: what the weights say.
    """

    inflation: Estimate
    alpha: float
    iterations: int
    by_formula: float

    @property
    def effective_updates(self) -> float:
        """T_eff, by the inflation measured."""
        return self.iterations / self.inflation.value**2

    @property
    def side(self) -> int:
        """1 or -1 where the interval lies above or below `LARGEST`, and 0 where it does not."""
        return int(self.inflation.low > LARGEST) - int(self.inflation.high < LARGEST)

    @property
    def text(self) -> str:
        """It in words, with 2/sqrt(3) and 1/(1 - alpha)."""
        side = {-1: "below", 0: "not told from", 1: "above"}[self.side]
        return (
            f"{self.inflation:.3f}, {side} 2/sqrt(3) = {LARGEST:.3f}, at alpha = {self.alpha:g} "
            f"and T = {self.iterations}, where the formula says {self.by_formula:.3f}, "
            f"1/(1 - alpha) is {1 / (1 - self.alpha):.3g} and T_eff is {self.effective_updates:.1f}"
        )


@dataclass(frozen=True)
class AveragedUpdates:
    """How well the updates of one beta average.

    Attributes:
        fresh: the largest inflation with labels of their own.
        shared: with labels that all iterations share.
        inside: in how many of the cells the formula is within the interval.
        cells: pairs of alpha and T.
        off: by which share the inflation differs from the formula at most.
        plain: the inflation of the longest run at the least alpha.
        plain_alpha: that alpha.
        plain_iterations: its T.
    """

    fresh: LargestInflation
    shared: LargestInflation
    inside: int
    cells: int
    off: float
    plain: Estimate
    plain_alpha: float
    plain_iterations: int

    @property
    def text(self) -> str:
        """It in words."""
        return (
            f"the largest is {self.fresh.text}. The formula is within the interval in "
            f"{self.inside} of {self.cells} cells and off by {100 * self.off:.0f} % at most; at "
            f"alpha = {self.plain_alpha:g}, T = {self.plain_iterations} the inflation is "
            f"{self.plain:.3f}. Control, labels shared between iterations: the largest is "
            f"{self.shared.text}."
        )


@dataclass(frozen=True)
class EffectiveSamplesFinding:
    """How many updates the averaged reward averages.

    Attributes:
        arms: K.
        samples: N.
        alpha: the largest.
        updates: the largest T.
        runs: how many there were.
        by_beta: for each proximal weight.
    """

    arms: int
    samples: float
    alpha: float
    updates: int
    runs: int
    by_beta: dict[float, AveragedUpdates]

    @property
    def text(self) -> str:
        """All of it in words, a line each beta."""
        return "\n".join(
            [
                "Error of the averaged reward over that of independent updates of equal weight, "
                f"(T/T_eff)^(1/2), at K = {self.arms}, N = {self.samples:,.0f}, alpha up to "
                f"{self.alpha:g}, T up to {self.updates} ({self.runs:,} runs, 95 % bootstrap "
                "intervals; the largest is chosen on half of the seeds and measured on the other).",
                *(f"beta = {beta:,g}: {found.text}" for beta, found in self.by_beta.items()),
            ]
        )


def finding(data: xr.Dataset) -> EffectiveSamplesFinding:
    """The largest inflation in each regime, against 2/sqrt(3) and 1/(1 - alpha)."""
    found = errors(data)
    return EffectiveSamplesFinding(
        arms=int(data.arms),
        samples=float(data.samples),
        alpha=float(data.alpha[-1]),
        updates=data.sizes["iteration"],
        runs=data.average_error.isel(iteration=0).size,
        by_beta={
            float(beta): _averaging(*(found.sel(beta=beta, draws=kind) for kind in DRAWS))
            for beta in data.beta.values
        },
    )


def _averaging(fresh: xr.Dataset, shared: xr.Dataset) -> AveragedUpdates:
    cells = inflation(fresh)
    expected = formula(cells.alpha.values, cells.iteration.values)
    inside = (cells.low <= expected) & (expected <= cells.high)
    none = cells.isel(alpha=0, iteration=-1)
    return AveragedUpdates(
        fresh=_largest(fresh),
        shared=_largest(shared),
        inside=int(inside.sum()),
        cells=inside.size,
        off=float(abs(cells.inflation / expected - 1).max()),
        plain=_estimate(none, fresh),
        plain_alpha=float(none.alpha),
        plain_iterations=int(none.iteration),
    )


def _largest(found: xr.Dataset) -> LargestInflation:
    cell = worst(found)
    alpha, t = float(cell.alpha), int(cell.iteration)
    judged_on = found.isel(seed=slice(1, None, 2))
    return LargestInflation(
        _estimate(cell, judged_on), alpha, t, float(formula([alpha], [t])[0, 0])
    )


def _estimate(cell: xr.Dataset, of: xr.Dataset) -> Estimate:
    value, low, high = (float(cell[name]) for name in ("inflation", "low", "high"))
    return Estimate(value, low, high, "ratio", of.sizes["seed"])


def draw(figure: Figure, data: xr.Dataset) -> None:
    """Against alpha at the end, and against T for each beta."""
    found = errors(data)
    caption(
        figure,
        f"K = {int(data.arms)}, N = {float(data.samples):,.0f}; bars: 95 % bootstrap intervals "
        f"over {data.sizes['seed']:,} seeds, each point by itself",
    )
    panels = figure.subplots(1, 1 + data.sizes["beta"])
    over_alpha(panels[0], found.isel(beta=0))
    for axes, beta in zip(panels[1:], data.beta.values, strict=True):
        over_t(axes, found.sel(beta=beta))
    panels[-1].legend(loc="upper left")


def over_alpha(axes: Axes, found: xr.Dataset) -> None:
    """The inflation after the last update, with the formula and by what momentum steps farther."""
    last = found.isel(iteration=-1)
    alphas, t = last.alpha.values, int(last.iteration)
    fine = np.linspace(0.0, alphas[-1], 100)
    axes.plot(fine, 1 / (1 - fine), "--", color="C1", label=r"step length, $1/(1-\alpha)$")
    for kind, colour, label in (("shared", "0.5", "labels shared"), ("fresh", "C0", "measured")):
        if kind in last.draws:
            _points(axes, alphas, inflation(last.sel(draws=kind)), colour, label, "")
    axes.plot(fine, formula(fine, [t])[:, 0], color="C2", label=r"$(T/T_{\mathrm{eff}})^{1/2}$")
    axes.axhline(LARGEST, color="0.3", ls=":", lw=1.2, label=r"$2/\sqrt{3}$")
    axes.set(yscale="log", xlabel=r"extrapolation $\alpha$", ylabel="inflation of the error")
    axes.set_title(f"{_beta(last)}, T = {t}")
    axes.legend(loc="upper left")


def over_t(axes: Axes, found: xr.Dataset) -> None:
    """The inflation over T for some alphas, with the lines of the formula."""
    t = found.iteration.values
    fine = np.arange(1, t[-1] + 1)
    shown = sorted({0, found.sizes["alpha"] // 2, found.sizes["alpha"] - 1})
    highest = 1.0
    for index, colour in zip(shown, ("C0", "C4", "C3"), strict=False):
        alpha = float(found.alpha[index])
        cells = inflation(found.sel(draws="fresh").isel(alpha=index))
        highest = max(highest, float(cells.high.max()))
        axes.plot(fine, formula([alpha], fine)[0], color=colour, lw=1.2)
        _points(axes, t, cells, colour, rf"$\alpha = {alpha:g}$", ":")
    axes.axhline(LARGEST, color="0.3", ls=":", lw=1.2)
    axes.text(1.0, LARGEST, r"$2/\sqrt{3}$", color="0.3", va="bottom", fontsize=8)
    axes.set(xscale="log", xlabel="iterations, $T$", title=f"{_beta(found)}; lines: formula")
    axes.set_yscale("log" if highest > 2 else "linear")
    for axis in (axes.xaxis, axes.yaxis) if highest > 2 else (axes.xaxis,):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")


def _points(
    axes: Axes, x: np.ndarray, cells: xr.Dataset, colour: str, label: str, line: str
) -> None:
    middle = cells.inflation.values
    ends = np.array([middle - cells.low.values, cells.high.values - middle])
    axes.errorbar(x, middle, ends, fmt=f"o{line}", color=colour, label=label, ms=4, lw=1.2)


def _beta(found: xr.Dataset) -> str:
    return f"β = {float(found.beta):,g}"
