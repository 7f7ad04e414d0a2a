"""How far a run strays: its least log-probability, and the R of Assumption 4.3 over all pairs.

Exact preferences are kept as infinitely many samples, beside finite numbers of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apo_sim import theory
from apo_sim.errors import InvalidArgument
from apo_sim.estimate import Estimate
from apo_sim.problems import Bandit
from apo_sim.registry import FAMILIES
from apo_sim.statistics import bootstrap, mean_and_half, mean_estimate, several
from apo_sim.studies._limit import sweep_to_limit
from apo_sim.studies.caption import caption
from apo_sim.studies.wording import plus_minus
from apo_sim.sweep import replicate_problem

ALPHAS = (0.0, 0.3, 0.6, 0.9)
SAMPLES = (1e2, 1e4, 1e6)
VARIABLES = ("least_log_probability", "bound_of_all_pairs", "bound_of_update")
SHOWN = 0.3  # the extrapolation of the panel that compares numbers of samples


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    arms: int = 5,
    beta: float = 1.0,
    iterations: int = 1000,
    alphas: Sequence[float] = ALPHAS,
    samples: Sequence[float] = SAMPLES,
) -> xr.Dataset:
    """How far the runs stray, dimensions (samples, alpha, seed, iteration), and their rewards.

    Returns:
        The series, of which `samples` = inf has exact preferences, and `reward_range`, max r* -
        min r* of the bandit that every seed meets.

    Example:
        >>> data = measure(seeds=2, arms=3, iterations=4, alphas=[0.5], samples=[])
        >>> data.samples.values.tolist(), dict(data.reward_range.sizes)
        ([inf], {'seed': 2})
    """
    if iterations < 4:
        raise InvalidArgument(
            "iterations", iterations, "is too short for two doublings", "pass at least 4"
        )
    data = sweep_to_limit(
        FAMILIES["uniform"],
        samples=samples,
        momentum="unrestricted",
        alpha=list(alphas),
        arms=arms,
        beta=beta,
        iterations=iterations,
        seeds=several(seeds),
        seed=seed,
        variables=VARIABLES,
        progress=progress,
        out=out,
    )
    return data.assign(reward_range=("seed", _reward_ranges(seeds, seed, arms)))


def _reward_ranges(seeds: int, seed: int, arms: int) -> np.ndarray:
    def one(replicate: jax.Array) -> jax.Array:
        problem, _ = replicate_problem(FAMILIES["uniform"], seed, replicate, 1, arms)
        assert isinstance(problem, Bandit)
        return jnp.ptp(problem.reward)

    return np.asarray(jax.vmap(one)(jnp.arange(seeds)))


def slopes(data: xr.Dataset) -> xr.Dataset:
    """Growth an update over the second half of a run, in units of what N7 and N8 predict.

    Returns:
        Dimensions (samples, alpha, seed): `log_probability`, of -log pi_hat(y) of the least
        likely arm, over range / (beta (1 - alpha)); `bound`, of R over all pairs, over
        range / (1 - alpha).
    """
    late = _increment(data, 2, 1) / (_at(data, 1) - _at(data, 2))
    unit = data.reward_range / (1 - data.alpha)
    return xr.Dataset(
        {
            "log_probability": -late.least_log_probability / unit * data.beta,
            "bound": late.bound_of_all_pairs / unit,
        }
    )


def growth_exponent(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The power of T behind a growth over two doublings of T: 1 if linear, 0 if logarithmic.

    Args:
        before: growth from T/4 to T/2, with the seeds, to average over, last.
        after: growth from T/2 to T, alike.

    Example:
        >>> bool(growth_exponent(np.array([25.0]), np.array([50.0])) == 1.0)
        True
    """
    return np.asarray(np.log2(after.mean(axis=-1) / before.mean(axis=-1)))


def exponent(data: xr.Dataset, alpha: float) -> Estimate:
    """Growth exponent of -log pi_hat with exact preferences."""
    exact = -data.least_log_probability.sel(samples=np.inf, alpha=alpha)
    before, after = _increment(exact, 4, 2), _increment(exact, 2, 1)
    low, high = map(float, bootstrap(growth_exponent, before, after))
    value = float(growth_exponent(before.values, after.values))
    return Estimate(value, low, high, "power of T", data.sizes["seed"])


def log10_factor(bound: float, flavour: theory.Flavour = "printed") -> float:
    """Decimal logarithm of what the statistical bounds pay for R.

    Example:
        >>> round(log10_factor(100.0)), round(log10_factor(100.0, "sharp"), 1)
        (44, 3.2)
    """
    return float(-theory.log_slope(bound, flavour) / np.log(10.0))


@dataclass(frozen=True)
class SampledGrowth:
    """What R and the least probability do with sampled preferences.

    Attributes:
        doubling: what the last doubling of T adds to -log of the least probability, in nats.
        rate: growth of R over that of exact preferences.
        last: R at the end.
        log10_factor: of 1/sigma'(1 + R) there.
    """

    doubling: Estimate
    rate: Estimate
    last: Estimate
    log10_factor: float


@dataclass(frozen=True)
class BoundednessFinding:
    """How far runs stray.

    Attributes:
        arms: K.
        beta: proximal weight.
        updates: T.
        alpha: extrapolation of `exponent`, of the factors and of `sampled`.
        exponent: power of T that -log of the least probability grows with, exactly.
        slope: that growth over what N7 predicts, mean over the alphas.
        bound: growth of R over range / (1 - alpha), mean over the alphas.
        log10_printed: of 1/sigma'(1 + R) at the end.
        log10_sharp: of what the secant of the sigmoid would pay there.
        sampled: by N.
        runs: how many there were.
        bandits: of each setting.
    """

    arms: int
    beta: float
    updates: int
    alpha: float
    exponent: Estimate
    slope: Estimate
    bound: Estimate
    log10_printed: float
    log10_sharp: float
    sampled: dict[float, SampledGrowth]
    runs: int
    bandits: int

    @property
    def text(self) -> str:
        """All of it in words."""
        text = (
            f"K = {self.arms}, beta = {self.beta:g}, T = {self.updates}: with exact preferences "
            f"-log of the least probability grows as T to the power {self.exponent:.3f} at alpha = "
            f"{self.alpha:g} (log T would be 0), at {plus_minus(self.slope)} of the slope Delta_y "
            f"/ (beta (1 - alpha)) of N7, and R over all pairs at {plus_minus(self.bound)} of "
            f"range * T / (1 - alpha): 1/sigma'(1 + R) reaches 10^{self.log10_printed:.0f} at "
            f"alpha = {self.alpha:g}, where the secant of the sigmoid would pay "
            f"10^{self.log10_sharp:.1f}."
        )
        for n, found in self.sampled.items():
            text += (
                f" At N = {n:g} the last doubling of T adds {plus_minus(found.doubling)} nats, R "
                f"grows at {plus_minus(found.rate)} of the exact rate and ends at "
                f"{plus_minus(found.last)} (10^{found.log10_factor:.1f})."
            )
        return f"{text} ({self.runs:,} runs, {self.bandits} bandits, 95 % intervals over bandits.)"


def finding(data: xr.Dataset) -> BoundednessFinding:
    """Linear or logarithmic, for exact and for sampled preferences; and what R then costs."""
    alpha, rates = _shown(data), slopes(data)
    exact = rates.sel(samples=np.inf).mean("alpha")
    last = data.bound_of_all_pairs.isel(iteration=-1).sel(alpha=alpha)
    reached = last.mean("seed")
    exactly = float(reached.sel(samples=np.inf))
    sampled = {}
    for n in data.samples.values[:-1]:
        lowest = data.least_log_probability.sel(samples=n, alpha=alpha)
        sampled[float(n)] = SampledGrowth(
            mean_estimate(-_increment(lowest, 2, 1).values, unit="nats"),
            mean_estimate(rates.bound.sel(samples=n, alpha=alpha).values, unit="exact rate"),
            mean_estimate(last.sel(samples=n).values, unit="R"),
            log10_factor(float(reached.sel(samples=n))),
        )
    return BoundednessFinding(
        arms=int(data.arms),
        beta=float(data.beta),
        updates=data.sizes["iteration"],
        alpha=alpha,
        exponent=exponent(data, alpha),
        slope=mean_estimate(exact.log_probability.values, unit="predicted slope"),
        bound=mean_estimate(exact.bound.values, unit="predicted slope"),
        log10_printed=log10_factor(exactly),
        log10_sharp=log10_factor(exactly, "sharp"),
        sampled=sampled,
        runs=data.bound_of_update.isel(iteration=0).size,
        bandits=data.sizes["seed"],
    )


def draw(figure: Figure, data: xr.Dataset) -> None:
    """Least log-probability and R, exact for every alpha and sampled for one; what R costs."""
    figure.set_size_inches(7.0, 5.8)
    caption(
        figure,
        rf"$K = {int(data.arms)}$, $\beta = {float(data.beta):g}$; lines: means over "
        f"{data.sizes['seed']} bandits, bands at the lower left their 95 % intervals",
    )
    (first, second), (third, fourth) = figure.subplots(2, 2)
    t = data.iteration.values
    exact, one = data.sel(samples=np.inf), data.sel(alpha=_shown(data))
    for colour, alpha in enumerate(data.alpha.values):
        here = exact.sel(alpha=alpha)
        steps = t / (1 - alpha)
        colours = {"color": f"C{colour}", "label": rf"$\alpha = {alpha:g}$"}
        scaled = -here.least_log_probability * data.beta / data.reward_range
        first.loglog(steps, scaled.mean("seed"), **colours)
        second.loglog(steps, (here.bound_of_all_pairs / data.reward_range).mean("seed"), **colours)
    longest = t[-1] / (1 - float(data.alpha[-1]))
    for axes, name in (
        (first, r"$-\beta\log\,\min_y\hat\pi_T$ / range of $r^*$"),
        (second, "$R$ / range of $r^*$"),
    ):
        axes.loglog([1, longest], [1, longest], ":", color="0.3", lw=1.2, label="equality")
        axes.set(xlabel=r"$T\,/\,(1-\alpha)$", ylabel=name)
    origin = float(
        -(exact.least_log_probability * data.beta / data.reward_range).mean("seed")[0, 0]
    )
    reach = np.array([1.0, longest])
    logarithmic = r"$\propto 1 + \log(T/(1-\alpha))$"
    first.loglog(reach, origin * (1 + np.log(reach)), "--", color="0.6", lw=1.2, label=logarithmic)
    first.set_title("Exact: least log-probability")
    second.set_title("Exact: $R$ over all pairs")
    for axes in (first, second):
        axes.legend(loc="upper left", fontsize=7.5)
    handles = []
    for colour, n in zip(("C5", "C3", "C0", "0.4"), data.samples.values, strict=False):
        mean, half = mean_and_half(one.bound_of_all_pairs.sel(samples=n))
        style = ":" if np.isinf(n) else "-"
        third.loglog(t, mean, style, color=colour)
        third.fill_between(t, mean - half, mean + half, color=colour, alpha=0.25, lw=0)
        fourth.loglog(t, [log10_factor(r) for r in mean.values], style, color=colour)
        handles.append(Line2D([], [], color=colour, ls=style, label=_name(n)))
    third.set_title(rf"$R$ over all pairs, $\alpha = {_shown(data):g}$")
    third.set(xlabel="updates $T$", ylabel="$R$")
    fourth.set_title(r"What it costs: $1/\sigma'(1+R)$")
    fourth.set(xlabel="updates $T$", ylabel="orders of magnitude, at the mean $R$")
    for axes in (third, fourth):
        axes.legend(handles=handles, loc="upper left", fontsize=7.5)


def _at(data: xr.Dataset | xr.DataArray, part: int) -> int:
    """The iteration at one `part`-th of the run."""
    return data.sizes["iteration"] // part


def _increment(data: Any, start: int, end: int) -> Any:
    """Growth from one fraction of the run to another, each given by its denominator."""
    ends = [data.sel(iteration=_at(data, part), drop=True) for part in (start, end)]
    return ends[1] - ends[0]


def _shown(data: xr.Dataset) -> float:
    return float(data.alpha.sel(alpha=SHOWN, method="nearest"))


def _name(samples: float) -> str:
    return "exact" if np.isinf(samples) else rf"$N = 10^{{{np.log10(samples):.0f}}}$"
