"""How the statistical error scales with N, with T and with 1/(1 - alpha): exponents, measured.

The statistical error is how far a run on sampled preferences is from the run on exact ones: in the
policy and in the gap. Lemma C.1 bounds the first, at given coverage and R, by a multiple of
N^(-1/2) T/(1 - alpha): it adds up the errors of all updates as if they all had the same sign.
Independent errors average instead, which takes a factor T^(1/2) away and leaves the step: while the
policy hardly moves, both errors grow like the total weight gamma_T. Two regimes show it: a beta so
large that the policy hardly moves, so that all updates err alike, and a usual one. With labels that
share their random numbers between iterations, the control, errors cannot average.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apo_sim import theory
from apo_sim.estimate import Estimate
from apo_sim.registry import Family
from apo_sim.statistics import CONFIDENCE, bootstrap, log_log_slope, several
from apo_sim.studies.caption import caption
from apo_sim.studies.kept import place
from apo_sim.sweep import sweep

ALPHAS = (0.0, 0.3, 0.6, 0.8, 0.9)
BETAS = (1e4, 5.0)
SAMPLES = (300.0, 1000.0, 3000.0, 10_000.0)
DRAWS = ("fresh", "shared")
# The number of pairs where T or alpha varies.
USUAL = 1000.0
HORIZONS = 7


class Size(NamedTuple):
    """A measure of the statistical error.

    Attributes:
        label: what it is.
        colour: of its lines.
        paper: its exponents in N, T and 1/(1 - alpha) by the paper's bounds.
        averaged: whether it is the error of an average of rewards, not of their sum.
    """

    label: str
    colour: str
    paper: tuple[float, float, float]
    averaged: bool


# Lemma C.1, for the policy and so for its gap. The averaged reward is off by no more than the
# rewards that it averages, each of which obeys Lemma D.1.
OF_POLICY, OF_REWARD = (-0.5, 1.0, 1.0), (-0.5, 0.0, 0.0)
SIZES = {
    "paper_statistics": Size("2 DTV to the exact policy", "C3", OF_POLICY, False),
    "paper_difference": Size("gap less the exact run's", "C4", OF_POLICY, False),
    "average_error": Size("averaged reward", "C2", OF_REWARD, True),
}
AXES = {"samples": "N", "iteration": "T", "alpha": "1/(1 - alpha)"}


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    family: str | Family = "uniform",
    arms: int = 10,
    iterations: int = 20,
    alphas: Sequence[float] = ALPHAS,
    betas: Sequence[float] = BETAS,
    samples: Sequence[float] = SAMPLES,
    draws: Sequence[str] = DRAWS,
) -> xr.Dataset:
    """Three measures of the error, dimensions (draws, beta, alpha, samples, seed, iteration).

    Example:
        >>> small = {"arms": 3, "iterations": 4, "draws": ["fresh"], "samples": [100.0]}
        >>> data = measure(seeds=2, betas=[5.0], **small)
        >>> dict(data.paper_difference.sizes)
        {'draws': 1, 'beta': 1, 'alpha': 5, 'samples': 1, 'seed': 2, 'iteration': 4}
    """
    return sweep(
        family,
        draws=list(draws),
        beta=list(betas),
        alpha=list(alphas),
        samples=list(samples),
        arms=arms,
        iterations=iterations,
        seeds=several(seeds),
        seed=seed,
        variables=["paper_optimisation", *SIZES],
        progress=progress,
        out=place(out, "errors"),
    ).load()


def line(data: xr.Dataset, axis: str) -> xr.DataArray:
    """The errors along an axis of `AXES`, the other two fixed.

    N and T vary at the first alpha, N and alpha at the last iteration, T and alpha at the N
    nearest to `USUAL`.

    Returns:
        Dimensions (point, measure, draws, beta, seed); the coordinate of `point` is N, T or
        1/(1 - alpha).

    Example:
        >>> data = measure(seeds=2, arms=3, iterations=4, draws=["fresh"])
        >>> line(data, "alpha").point.values.round(2)
        array([ 1.  ,  1.43,  2.5 ,  5.  , 10.  ])
    """
    usual = data.sel(samples=USUAL, method="nearest")
    if axis == "samples":
        chosen = data.isel(alpha=0, iteration=-1)
    elif axis == "iteration":
        shown = np.geomspace(1, data.sizes["iteration"], HORIZONS).round().astype(int)
        chosen = usual.isel(alpha=0).sel(iteration=np.unique(shown))
    else:
        chosen = usual.isel(iteration=-1)
    found = {name: abs(chosen[name]) for name in SIZES}
    found["average_error"] = np.sqrt(chosen.average_error)
    points = 1 / (1 - chosen.alpha) if axis == "alpha" else chosen[axis]
    together = xr.Dataset(found).to_array("measure").rename({axis: "point"})
    return together.assign_coords(point=points.values).transpose(
        "point", "measure", "draws", "beta", "seed"
    )


def exponents(data: xr.Dataset, axis: str, confidence: float = CONFIDENCE) -> xr.Dataset:
    """Slopes of the logarithm of the mean error, with ends of bootstrap intervals.

    Args:
        data: what `measure` returns.
        axis: one of `AXES`.
        confidence: of each interval.

    Returns:
        `exponent`, `low` and `high`, dimensions (measure, draws, beta).

    Example:
        >>> data = measure(seeds=40, arms=3, iterations=4, betas=[1e4], draws=["fresh"])
        >>> slope = exponents(data, "samples").sel(measure="average_error")
        >>> round(slope.exponent.item(), 1)
        -0.5
    """
    errors = line(data, axis)
    return _with_interval(_Slope(errors.point.values), errors, confidence)


def what_sharing_adds(data: xr.Dataset) -> xr.Dataset:
    """Exponent in T with shared labels minus that with fresh ones, dimensions (measure, beta)."""
    errors = line(data, "iteration").sel(draws=["fresh", "shared"])
    slope = _Slope(errors.point.values)
    errors = errors.transpose("point", "draws", ...)

    def added(values: np.ndarray) -> np.ndarray:
        fresh, shared = slope(values)
        return shared - fresh

    return _with_interval(added, errors, CONFIDENCE, without="draws")


class _Slope(NamedTuple):
    """From errors (points, ..., seeds) to the exponents of their means (...)."""

    points: np.ndarray

    def __call__(self, errors: np.ndarray) -> np.ndarray:
        return log_log_slope(self.points, errors.mean(axis=-1))


def _with_interval(
    statistic: Any, errors: xr.DataArray, confidence: float, without: str = "point"
) -> xr.Dataset:
    # So many that several lie beyond each end.
    draws = 1000 if confidence <= CONFIDENCE else 4000
    low, high = bootstrap(statistic, errors, draws=draws, confidence=confidence)
    like = errors.isel({name: 0 for name in {"point", "seed", without}}, drop=True)
    values = {"exponent": statistic(errors.values), "low": low, "high": high}
    return xr.Dataset({name: like.copy(data=value) for name, value in values.items()})


def independent(data: xr.Dataset, axis: str, name: str) -> float:
    """The exponent if all updates erred independently and alike: from the weights alone.

    Example:
        >>> data = measure(seeds=2, arms=3, iterations=4, draws=["fresh"])
        >>> round(independent(data, "iteration", "paper_statistics"), 3)
        0.5
    """
    if axis == "samples":
        return -0.5
    points = line(data, axis).point.values
    alphas = data.alpha.values if axis == "alpha" else data.alpha.values[:1]
    weights = np.array([theory.weights(float(a), data.sizes["iteration"]) for a in alphas])
    # The weights of a shorter run are the first of a longer one's.
    error, total = np.sqrt(np.cumsum(weights**2, axis=1)), np.cumsum(weights, axis=1)
    error = error / total if SIZES[name].averaged else error
    along = error[:, -1] if axis == "alpha" else error[0, points - 1]
    return float(log_log_slope(points, along))


@dataclass(frozen=True)
class ErrorExponent:
    """One cell of the table.

    Attributes:
        fresh: the exponent where every iteration has its own labels.
        shared: where all iterations share them.
        paper: by the paper's bounds.
        independent: of independent errors.
    """

    fresh: Estimate
    shared: Estimate
    paper: float
    independent: float

    @property
    def side(self) -> int:
        """1 or -1 where the interval of `fresh` lies above or below the paper's, or else 0."""
        return int(self.fresh.low > self.paper) - int(self.fresh.high < self.paper)


@dataclass(frozen=True)
class ExponentsFinding:
    """Exponents of the mean statistical error.

    Attributes:
        arms: K.
        samples: the least and the largest N.
        updates: the largest T.
        stretch: the least and the largest 1/(1 - alpha).
        alpha: the least extrapolation.
        exponents: by beta, axis and measure; their intervals cover together.
        added: what sharing labels adds to the exponent in T of the averaged reward, by beta.
        runs: how many there were.
        seeds: a point.
    """

    arms: int
    samples: tuple[float, float]
    updates: int
    stretch: tuple[float, float]
    alpha: float
    exponents: dict[tuple[float, str, str], ErrorExponent]
    added: dict[float, Estimate]
    runs: int
    seeds: int

    @property
    def text(self) -> str:
        """A table of exponents, and for each beta what they say, a line each."""
        return "\n".join([self._what(), *self._table(), *map(self._of_beta, self.added)])

    def _what(self) -> str:
        n, x = self.samples, self.stretch
        return (
            f"Exponents of the mean statistical error, K = {self.arms}: N from {n[0]:,.0f} to "
            f"{n[-1]:,.0f}, T from 1 to {self.updates}, 1/(1 - alpha) from {x[0]:g} to "
            f"{x[-1]:.3g}; the others at N = {USUAL:,.0f}, T = {self.updates}, alpha = "
            f"{self.alpha:g} ({self.runs:,} runs, {self.seeds:,} a point; 95 % bootstrap "
            "intervals, corrected for the cells of the table; < and >: the interval lies below or "
            "above the paper's exponent)."
        )

    def _table(self) -> list[str]:
        betas = "".join(f"{f'beta = {beta:,g}':>25}" for beta in self.added)
        rows = [f"{'':42}{'paper':>6}{'indep.':>8}{betas}"]
        for axis, label in AXES.items():
            for name, size in SIZES.items():
                cells = [self.exponents[beta, axis, name] for beta in self.added]
                row = f"{label:>14}  {size.label:26}{cells[0].paper:6.2f}"
                row += f"{cells[0].independent:8.2f}"
                row += "".join(f"{_text(c.fresh):>23} {' ><'[c.side]}" for c in cells)
                rows.append(row.rstrip())
        return rows

    def _of_beta(self, beta: float) -> str:
        def of(axis: str, name: str) -> ErrorExponent:
            return self.exponents[beta, axis, name]

        of_policy, of_gap = (
            f"like T^{_text(of('iteration', name).fresh)} and "
            f"(1/(1 - alpha))^{_text(of('alpha', name).fresh)}"
            for name in ("paper_statistics", "paper_difference")
        )
        added, averaged = self.added[beta], of("iteration", "average_error")
        word = "told apart" if added.low > 0 else "not told apart"
        return (
            f"beta = {beta:,g}: 2 DTV to the exact policy goes {of_policy}, the distance of the "
            f"gap from the exact run's {of_gap}, the paper's bound like T^1 and "
            "(1/(1 - alpha))^1. Control, labels shared between iterations: the averaged reward "
            f"errs like T^{_text(averaged.shared)}, in place of T^{_text(averaged.fresh)}, a "
            f"difference of {_text(added)}, {word}, and 2 DTV goes like "
            f"T^{_text(of('iteration', 'paper_statistics').shared)}."
        )


def finding(data: xr.Dataset) -> ExponentsFinding:
    """A table of exponents, what it says of the policy and of its gap, and the control."""
    cells = len(AXES) * len(SIZES) * data.sizes["beta"]
    each = 1 - (1 - CONFIDENCE) / cells
    found = {axis: exponents(data, axis, each) for axis in AXES}
    added = what_sharing_adds(data).sel(measure="average_error")
    samples, stretch = data.samples.values, 1 / (1 - data.alpha.values)
    seeds = data.sizes["seed"]
    return ExponentsFinding(
        arms=int(data.arms),
        samples=(float(samples[0]), float(samples[-1])),
        updates=data.sizes["iteration"],
        stretch=(float(stretch[0]), float(stretch[-1])),
        alpha=float(data.alpha[0]),
        exponents={
            (float(beta), axis, name): ErrorExponent(
                fresh=_exponent(here.sel(draws="fresh"), seeds),
                shared=_exponent(here.sel(draws="shared"), seeds),
                paper=size.paper[column],
                independent=independent(data, axis, name),
            )
            for beta in data.beta.values
            for column, axis in enumerate(AXES)
            for name, size in SIZES.items()
            for here in [found[axis].sel(measure=name, beta=beta)]
        },
        added={float(beta): _exponent(added.sel(beta=beta), seeds) for beta in data.beta.values},
        runs=data.paper_difference.isel(iteration=0).size,
        seeds=seeds,
    )


def _exponent(cell: xr.Dataset, seeds: int) -> Estimate:
    value, low, high = (float(cell[name]) for name in ("exponent", "low", "high"))
    return Estimate(value, low, high, "exponent", seeds)


def _text(estimate: Estimate) -> str:
    # Adding zero takes the sign from a negative one.
    numbers = (round(figure, 2) + 0.0 for figure in estimate.figures)
    return "{:.2f} [{:.2f}, {:.2f}]".format(*numbers)


def draw(figure: Figure, data: xr.Dataset) -> None:
    """A row a beta, a column an axis; every error in units of its first point."""
    figure.set_size_inches(7.0, 5.6)
    caption(
        figure,
        f"K = {int(data.arms)}; bands: 95 % bootstrap intervals over {data.sizes['seed']:,} seeds, "
        "each point by itself",
    )
    grid = figure.subplots(data.sizes["beta"], len(AXES), sharey=True, sharex="col", squeeze=False)
    for row, beta in zip(grid, data.beta.values, strict=True):
        for axes, axis in zip(row, AXES, strict=True):
            panel(axes, data, axis, float(beta))
        row[0].set_ylabel(f"β = {beta:,g}\nerror / its first value")
        for axes in row[1:]:
            axes.set_ylabel("")
    for axes in grid[0]:
        axes.set_xlabel("")
    figure.legend(handles=legend("shared" in data.draws), loc="outside lower center", ncols=3)


def panel(axes: Axes, data: xr.Dataset, axis: str, beta: float) -> None:
    """The errors along one axis at one beta, with 95 % bands and the paper's slope."""
    errors = line(data, axis).sel(beta=beta)
    x = errors.point.values
    for name, size in SIZES.items():
        _relative(axes, errors.sel(measure=name, draws="fresh"), "-", size.colour)
    if axis == "iteration" and "shared" in data.draws:
        for name in ("paper_statistics", "average_error"):
            _relative(axes, errors.sel(measure=name, draws="shared"), ":", SIZES[name].colour)
    paper = OF_POLICY[list(AXES).index(axis)]
    axes.plot(x, (x / x[0]) ** paper, "--", color="C1", zorder=1)
    labels = {"samples": "preference pairs, $N$", "iteration": "iterations, $T$"}
    axes.set(xscale="log", yscale="log", xlabel=labels.get(axis, r"$1/(1-\alpha)$"))
    axes.set_ylabel("error / its first value")


def _relative(axes: Axes, errors: xr.DataArray, style: str, colour: str) -> None:
    def relative(values: np.ndarray) -> np.ndarray:
        means = values.mean(axis=-1)
        return means / means[0]

    errors = errors.transpose("point", "seed")
    x = errors.point.values
    low, high = bootstrap(relative, errors, draws=300)
    axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
    axes.plot(x, relative(errors.values), style, color=colour)


def legend(shared: bool) -> list[Line2D]:
    """The lines of a panel, with their labels."""
    lines = [Line2D([], [], color=size.colour, label=size.label) for size in SIZES.values()]
    lines.append(Line2D([], [], color="C1", ls="--", label="Lemma C.1, for the policy"))
    if shared:
        label = "control: labels shared"
        lines.append(Line2D([], [], color="0.3", ls=":", label=label))
    return lines
