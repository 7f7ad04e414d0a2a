"""Remark 4.5: alpha trades optimisation error against statistical error."""

import functools

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies import scaling_exponents
from apo_sim.studies.intervals import bootstrap, log_log_slope

SAMPLES, BETA, LARGE = 1000.0, 5.0, 1e4
TOLERANCE = 0.25  # on the exponent: finite T keeps the weights short of 1/(1 - alpha)


@claim(
    id="R4.5",
    title="Momentum trades optimisation for statistics",
    source="paper",
    statement=r"As $\alpha$ grows, the optimisation error falls like $1 - \alpha$ and the "
    r"statistical error, the part of the gap that sampling causes, rises like $1/(1-\alpha)$: "
    r"an exponent of 1.",
    control="the statistical error of every run replaced by that of its run without momentum",
    errata=r"The factor $1/(1-\alpha)$ is that of a bound. In the gap itself, after 20 "
    r"iterations at $\beta = 5$, the statistical part does not rise with $\alpha$: it falls. "
    r"(It rises early in a run, by a factor of about 2, and late where $\alpha$ is large.) A total "
    r"variation to the exact policy does rise where $\beta$ is so large that the policy has "
    r"hardly moved, and there any longer step raises it as well.",
)
def trade_off(study: Study) -> Finding:
    r"""Measure both errors of the gap against alpha and fit their exponents in 1/(1 - alpha).

    Problem: random bandits of ten arms, N = 1,000, T = 20, the usual beta and a very large one:
    a part of the sweep of `apo_sim.studies.scaling_exponents`.

    Method: N4's exact split of the gap (mean absolute statistical part) and the paper's (gap of
    the exact policy, and 2 DTV between the sampled and the exact one). Exponent: slope of log mean
    error on log 1/(1 - alpha); bootstrap over seeds, which are paired across alpha.

    Guarantee: the exponent of the statistical part at beta = 5 is held against 1.

    Reference: Remark 4.5 of the paper.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("R4.5").source
        'paper'
    """
    data = _measured(study.pick(100, 1000), study.sweep_seed())
    if study.wrong:
        plain = data.statistics.isel(alpha=0, drop=True)
        data = data.assign(statistics=plain.broadcast_like(data.statistics))
    found = scaling_exponents.exponents(data, "alpha").sel(draws="fresh")
    in_gap, distance, far = (
        _numbers(found.sel(measure=name, beta=beta))
        for name, beta in (
            ("statistics", BETA),
            ("paper_statistics", BETA),
            ("paper_statistics", LARGE),
        )
    )
    usual = data.sel(beta=BETA, draws="fresh").isel(samples=0, iteration=-1)
    measured, low, high = in_gap
    runs = data.statistics.isel(iteration=0).size
    word = "falls" if high < 0 else "rises" if low > 0 else "neither falls nor rises for sure"
    return judge.close(
        measured,
        (low, high),
        1.0,
        TOLERANCE,
        unit=r"exponent in 1/(1 - alpha)",
        instances=runs,
        witness={
            "alpha": data.alpha.values,
            "beta": BETA,
            "mean_optimisation": usual.paper_optimisation.mean("seed").values,
            "mean_statistics": abs(usual.statistics).mean("seed").values,
        },
        note=rf"At $\beta = {BETA:g}$, N = {SAMPLES:,.0f} and T = {data.sizes['iteration']} the "
        rf"statistical part of the gap (N4) {word} as $\alpha$ grows, with an exponent of "
        rf"{_text(in_gap)}, while the optimisation error has {_text(_of_optimisation(usual))} and "
        rf"2 DTV to the exact policy {_text(distance)}. The last is {_text(far)} at "
        rf"$\beta = {LARGE:,g}$ ({runs:,} runs, {data.sizes['seed']:,} a setting, 95 % bootstrap "
        rf"intervals, tolerance {TOLERANCE:g}).",
        draw=lambda figure: _draw(figure, data),
    )


@functools.lru_cache(maxsize=1)
def _measured(seeds: int, seed: int) -> xr.Dataset:
    return scaling_exponents.measure(
        seeds=seeds,
        seed=seed,
        progress=False,
        betas=(LARGE, BETA),
        samples=(SAMPLES,),
        draws=("fresh",),
    )


def _numbers(cell: xr.Dataset) -> tuple[float, float, float]:
    return float(cell.exponent), float(cell.low), float(cell.high)


def _of_optimisation(usual: xr.Dataset) -> tuple[float, float, float]:
    """Exponent and interval of the gap with exact preferences; what is random is the problem."""
    errors = usual.paper_optimisation.transpose("alpha", "seed")
    x = 1 / (1 - usual.alpha.values)

    def slope(values: np.ndarray) -> np.ndarray:
        return log_log_slope(x, values.mean(axis=-1))

    low, high = bootstrap(slope, errors)
    return float(slope(errors.values)), float(low), float(high)


def _text(numbers: tuple[float, float, float]) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(*numbers)


def _draw(figure: Figure, data: xr.Dataset) -> None:
    panels = figure.subplots(1, 2, sharey=True)
    for axes, beta in zip(panels, (BETA, LARGE), strict=True):
        scaling_exponents.panel(axes, data, "alpha", beta)
        axes.set_title(f"β = {beta:,g}, N = {SAMPLES:,.0f}, T = {data.sizes['iteration']}")
    panels[1].set_ylabel("")
    figure.legend(
        handles=scaling_exponents.legend(shared=False), loc="outside lower center", ncols=3
    )
