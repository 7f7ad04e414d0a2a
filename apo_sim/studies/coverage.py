"""How far the statistical bound is from saying anything: coverage, R, and the N it would need.

Lemma C.1 with the constants that each run met: kappa_t in the printed and in the corrected
definition, R over all pairs of policies visited, and the metric entropy of the table for log|Pi|.
Exact preferences are kept as infinitely many samples, beside finite numbers of them.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, ScalarFormatter

from apo_sim import theory
from apo_sim.estimate import Estimate
from apo_sim.statistics import mean_and_half, mean_estimate, several
from apo_sim.studies._limit import sweep_to_limit
from apo_sim.studies.caption import caption
from apo_sim.studies.wording import plus_minus

ALPHAS = (0.0, 0.3, 0.9)
SAMPLES = (1e2, 1e3, 1e4)
HORIZONS = (3, 10, 30)
DELTA = 0.05
FLAVOURS: dict[theory.Flavour, str] = {
    "printed": "log_coverage_printed",
    "corrected": "log_coverage_corrected",
    "sharp": "log_coverage_corrected",
}


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    arms: int = 10,
    beta: float = 5.0,
    horizons: Sequence[int] = HORIZONS,
    alphas: Sequence[float] = ALPHAS,
    samples: Sequence[float] = SAMPLES,
) -> xr.Dataset:
    """What the bound needs of every run, and the N from which on it is below one.

    Returns:
        Dimensions (samples, iterations, alpha, seed, iteration), of which `samples` = inf has
        exact preferences: log kappa_t in both definitions for the policy after `iterations`
        updates, R, and `log10_needed`, without iteration and with the flavours of
        `theory.tv_statistical` in front.

    Example:
        >>> data = measure(seeds=2, arms=3, horizons=[2], alphas=[0.0], samples=[])
        >>> bool((data.log10_needed > 2).all())
        True
    """
    data = sweep_to_limit(
        "uniform",
        samples=samples,
        iterations=list(horizons),
        alpha=list(alphas),
        arms=arms,
        beta=beta,
        seeds=several(seeds),
        seed=seed,
        variables=["log_coverage_printed", "log_coverage_corrected", "bound_of_all_pairs"],
        progress=progress,
        out=out,
    )
    needed = [
        xr.concat([_log10_needed(data, t, f) for t in horizons], "iterations") for f in FLAVOURS
    ]
    flavours = xr.Variable("flavour", list(FLAVOURS))
    return data.assign(log10_needed=xr.concat(needed, flavours))


def _log10_needed(data: xr.Dataset, horizon: int, flavour: theory.Flavour) -> xr.DataArray:
    """Decimal logarithm of the N that brings the bound of every run of one length below one."""
    runs = data.sel(iterations=horizon).isel(iteration=slice(horizon))
    last = runs.bound_of_all_pairs.isel(iteration=-1, drop=True)
    log_coverage = runs[FLAVOURS[flavour]].transpose(*last.dims, "iteration")
    alpha = xr.broadcast(last.alpha, last)[0].transpose(*last.dims)
    logs = _log_needed(
        jnp.asarray(log_coverage.values.reshape(-1, horizon)),
        jnp.asarray(alpha.values.ravel()),
        jnp.asarray(last.values.ravel()),
        float(data.beta),
        int(data.arms),
        flavour,
    )
    return last.copy(data=np.asarray(logs).reshape(last.shape) / np.log(10.0)).rename("needed")


@functools.partial(jax.jit, static_argnames=("arms", "flavour"))
def _log_needed(log_coverage, alpha, bound, beta, arms: int, flavour: theory.Flavour) -> jax.Array:
    def one(log_coverage, alpha, bound):
        return theory.log_samples_needed_tabular(
            log_coverage, alpha, beta, bound, arms, DELTA, flavour=flavour
        )

    return jax.vmap(one)(log_coverage, alpha, bound)


def shares(data: xr.Dataset) -> xr.Dataset:
    """Orders of magnitude that the corrected bound's N owes to coverage, and to R.

    Returns:
        Dimensions as `log10_needed` without flavour: `coverage`, of the mean kappa_t, and
        `slope`, of 1/sigma'(1 + R)^2.
    """
    kappa = np.exp(data.log_coverage_corrected)
    bound = data.bound_of_all_pairs.max("iteration")
    slope = -2 * np.asarray(theory.log_slope(bound.values)) / np.log(10.0)
    return xr.Dataset(
        {"coverage": np.log10(kappa.mean("iteration")), "slope": bound.copy(data=slope)}
    )


def understated(data: xr.Dataset) -> xr.DataArray:
    """By how many orders of magnitude printed kappa_t is too small, at the worst t of each run."""
    short = data.log_coverage_corrected - data.log_coverage_printed
    return short.max("iteration") / np.log(10.0)


@dataclass(frozen=True)
class CoverageFinding:
    """How many labels the bound needs, and why so many.

    Logarithms are decimal, of numbers of labels or in orders of magnitude.

    Attributes:
        arms: K.
        beta: proximal weight.
        samples: the largest finite N, whose constants `needed` and the shares have; infinite where
            there is no finite one.
        fewest: the smallest.
        needed: log10 of the N at which the bound is one, by T, alpha and flavour; at the shortest
            and the longest run, the least and the largest alpha.
        with_exact_constants: the same of the corrected flavour, of the longest run and the largest
            alpha, with the constants of exact preferences.
        slope: what 1/sigma'(1 + R)^2 makes of the corrected one there.
        coverage: what kappa_t makes of it.
        enough: of the runs, in how many the bound is below one, by flavour.
        runs: of sampled preferences.
        understated: by how much the printed kappa_t is too small at the worst t, at the smallest
            N, the longest run and the largest alpha.
        seeds: runs a cell.
    """

    arms: int
    beta: float
    samples: float
    fewest: float
    needed: dict[tuple[int, float], dict[theory.Flavour, Estimate]]
    with_exact_constants: Estimate
    slope: Estimate
    coverage: Estimate
    enough: dict[theory.Flavour, int]
    runs: int
    understated: Estimate
    seeds: int

    @property
    def text(self) -> str:
        """All of it in words."""
        places = [
            f"{', '.join(f'{plus_minus(found)} {flavour}' for flavour, found in each.items())} at "
            f"T = {horizon}, alpha = {alpha:g}"
            for (horizon, alpha), each in self.needed.items()
        ]
        horizon, alpha = list(self.needed)[-1]
        return (
            f"beta = {self.beta:g}, K = {self.arms}, delta = {DELTA:g}, with the constants met at "
            f"N = {self.samples:g}: Lemma C.1 says something (bound below 1) from log10 N = "
            f"{'; '.join(places)} (corrected, with the constants of exact preferences: "
            f"{plus_minus(self.with_exact_constants)}). Of the last at that N, 1/sigma'(1 + R)^2 "
            f"makes {plus_minus(self.slope)} orders of magnitude and coverage "
            f"{plus_minus(self.coverage)}. The corrected bound is below 1 in "
            f"{self.enough['corrected']:,} of the {self.runs:,} runs of sampled preferences, the "
            f"sharp one in {self.enough['sharp']:,}. At N = {self.fewest:g}, T = {horizon}, "
            f"alpha = {alpha:g} the printed kappa_t is too small by "
            f"{plus_minus(self.understated)} orders of magnitude at the worst t "
            f"({self.seeds:,} runs a cell, 95 % intervals)."
        )


def finding(data: xr.Dataset) -> CoverageFinding:
    """The N needed, shortest and longest run; what of it is coverage; how often it is enough."""
    finite = data.isel(samples=slice(-1)) if data.sizes["samples"] > 1 else data
    sizes, needed = finite.samples, finite.log10_needed
    horizons, alphas = data.iterations.values, data.alpha.values
    worst = {"iterations": horizons[-1], "alpha": alphas[-1]}
    part = shares(finite.isel(samples=-1).sel(worst))
    limit = data.log10_needed.sel({**worst, "samples": np.inf, "flavour": "corrected"})
    enough = needed <= np.log10(sizes)
    return CoverageFinding(
        arms=int(data.arms),
        beta=float(data.beta),
        samples=float(sizes[-1]),
        fewest=float(sizes[0]),
        needed={
            (int(t), float(a)): {
                flavour: _orders(
                    needed.isel(samples=-1).sel(iterations=t, alpha=a, flavour=flavour)
                )
                for flavour in FLAVOURS
            }
            for t in (horizons[0], horizons[-1])
            for a in (alphas[0], alphas[-1])
        },
        with_exact_constants=_orders(limit),
        slope=_orders(part.slope),
        coverage=_orders(part.coverage),
        enough={flavour: int(enough.sel(flavour=flavour).sum()) for flavour in FLAVOURS},
        runs=enough.isel(flavour=0).size,
        understated=_orders(understated(finite.isel(samples=0).sel(worst))),
        seeds=data.sizes["seed"],
    )


def _orders(values: xr.DataArray) -> Estimate:
    return mean_estimate(values.values, unit="orders of magnitude")


def draw(figure: Figure, data: xr.Dataset) -> None:
    """kappa_t along the longest run for every alpha; the N needed against the length of a run."""
    caption(
        figure,
        rf"$\beta = {float(data.beta):g}$, $K = {int(data.arms)}$, $\delta = {DELTA:g}$; means of "
        f"the logarithms over {data.sizes['seed']:,} runs, bands and bars their 95 % intervals",
    )
    left, right = figure.subplots(1, 2)
    finite = data.isel(samples=slice(-1)) if data.sizes["samples"] > 1 else data
    longest = finite.isel(iterations=-1)
    t = longest.iteration.values
    for colour, alpha in enumerate(data.alpha.values):
        for style, name in (("-", "log_coverage_corrected"), ("--", "log_coverage_printed")):
            logs = longest[name].isel(samples=0).sel(alpha=alpha) / np.log(10.0)
            mean, half = mean_and_half(logs)
            left.plot(t - 1, mean, style, color=f"C{colour}", lw=1.4)
            left.fill_between(t - 1, mean - half, mean + half, color=f"C{colour}", alpha=0.2, lw=0)
        for style, flavour in (("-", "corrected"), ("--", "printed"), (":", "sharp")):
            here = finite.log10_needed.isel(samples=-1).sel(alpha=alpha, flavour=flavour)
            mean, half = mean_and_half(here)
            right.errorbar(
                data.iterations.values, mean, half, ls=style, marker="o", color=f"C{colour}", lw=1.4
            )
    small, large = (np.log10(float(finite.samples[i])) for i in (0, -1))
    right.axhline(large, color="0.4", lw=1.0)
    right.text(data.iterations[-1], large, "$N$ of the runs", color="0.3", ha="right", va="bottom")
    left.set_title(rf"Coverage on the way to $T = {t[-1]}$, $N = 10^{{{small:.0f}}}$")
    left.set(xlabel="update $t$", ylabel=r"$\log_{10}\kappa_t$")
    right.set_title(rf"$N$ for a bound below 1, runs at $N = 10^{{{large:.0f}}}$")
    right.set(xscale="log", yscale="log", xlabel="iterations, $T$", ylabel=r"$\log_{10} N$")
    right.set_xticks(data.iterations.values)
    for axis in (right.xaxis, right.yaxis):
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())
    alphas = [Line2D([], [], color=f"C{i}") for i in range(data.sizes["alpha"])]
    styles = [Line2D([], [], color="0.3", ls=style) for style in ("-", "--", ":")]
    figure.legend(
        [*alphas, *styles],
        [*(rf"$\alpha = {a:g}$" for a in data.alpha.values), "corrected", "printed", "sharp"],
        loc="outside lower center",
        ncols=6,
    )
