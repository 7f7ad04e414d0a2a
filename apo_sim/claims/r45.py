"""Remark 4.5: alpha trades optimisation error against statistical error."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apo_sim import theory
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.estimate import Estimate
from apo_sim.statistics import bootstrap, log_log_slope
from apo_sim.studies import scaling_exponents
from apo_sim.studies.caption import caption

ARMS, SAMPLES = 10, 1000.0
BETAS, HORIZONS, ALPHAS = (1e4, 100.0, 5.0), (20, 100), (0.0, 0.6, 0.9)
QUANTITIES = {"paper_statistics": "2 DTV", "paper_difference": "gap"}
TOLERANCE = 0.25  # on the exponent
DRAWS = 4000  # of the bootstrap: the intervals of twelve cells have thin tails


@claim(
    id="R4.5",
    title="Momentum trades optimisation for statistics",
    source="paper",
    statement=r"At equal $\beta$ the statistical error rises with $\alpha$ like $1/(1-\alpha)$, in "
    r"a run of $T$ updates like $\gamma_T$, which comes to $T/(\beta(1-\alpha))$: an exponent of 1 "
    rf"to within {TOLERANCE}. The error is the mean of $2\,D_{{\mathrm{{TV}}}}(\hat\pi_T, "
    r"\pi^*_T)$ or of $|\mathrm{gap}(\hat\pi_T) - \mathrm{gap}(\pi^*_T)|$, $\pi^*_T$ the policy of "
    r"exact preferences.",
    control="the error of the run without momentum in place of each",
    power=r"the error of a run without momentum, of another seed, times $\gamma_T(\alpha)/"
    r"\gamma_T(0)$ in place of each: an error that grows exactly like the step",
    errata=r"The factor $1/(1-\alpha)$ is the step length, and it is real until the policy has "
    r"converged: while $\gamma_T\Delta \ll 1$ both errors grow like $\gamma_T$. Afterwards a "
    r"longer step costs less than that, and nothing in the gap at $\beta = 5$, $T = 20$; only a "
    r"proof that adds up all errors with one sign goes on charging it.",
    scope=Scope(
        "where",
        "random bandits, uniform rewards and reference",
        arms=ARMS,
        iterations=HORIZONS,
        beta=BETAS,
        samples=SAMPLES,
        alpha=ALPHAS,
    ),
)
def trade_off(study: Study) -> Finding:
    r"""Fit the exponents with which both statistical errors grow as alpha lengthens the step.

    Problem: the same bandits, keys and beta for every alpha, so that a larger one takes longer
    steps; three beta and two lengths of the run, from a policy that has hardly moved
    (gamma_T = 0.002 without momentum) to one that has converged (gamma_T = 20).

    Method: the slope of the logarithm of the mean error on that of gamma_T, over alpha; bootstrap
    over seeds, which are paired across alpha, corrected for the twelve cells. A cell is a yes if
    the exponent is 1 within the tolerance.

    Guarantee: statistical. First-order theory (N18) has the error of the gap grow like
    gamma_T / T_eff^(1/2) while the policy has hardly moved.

    Reference: Remark 4.5 of the paper.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("R4.5").source
        'paper'
    """
    data = _measured(study.pick(200, 600), study.sweep_seed())
    errors = _changed(_errors(data), study)
    found = _exponents(errors)
    runs = data.paper_difference.isel(iteration=0).size
    finding = judge.where(
        found,
        low=1 - TOLERANCE,
        high=1 + TOLERANCE,
        unit=r"cells where the exponent in gamma_T is 1",
        instances=runs,
        facts=_facts(data, found),
    )
    first, late = HORIZONS
    settled = _growth(data, "paper_difference", BETAS[-1], first)
    note = (
        rf"$\alpha = {ALPHAS[-1]}$ in place of 0 at $\beta = {BETAS[0]:,g}$, T = {late} multiplies "
        rf"$\gamma_T$ by {_step(late):.1f}, 2 DTV to the exact policy by "
        f"{_growth(data, 'paper_statistics', BETAS[0], late):.1f} and the error of the gap by "
        f"{_growth(data, 'paper_difference', BETAS[0], late):.1f}; at $\\beta = {BETAS[-1]:g}$, "
        rf"T = {first}, where the policy has converged, $\gamma_T$ by {_step(first):.1f} and the "
        f"error of the gap by {settled:.2f}. The optimisation error falls by "
        f"{100 * _fall(data, BETAS[0], late):.0f} % in the first case and by "
        f"{100 * _fall(data, BETAS[-1], first):.0f} % in the second."
    )
    return dataclasses.replace(finding, note=note, draw=lambda figure: _draw(figure, data))


@functools.lru_cache(maxsize=1)
def _measured(seeds: int, seed: int) -> xr.Dataset:
    data = scaling_exponents.measure(
        seeds=seeds,
        seed=seed,
        progress=False,
        arms=ARMS,
        iterations=HORIZONS[-1],
        alphas=ALPHAS,
        betas=BETAS,
        samples=(SAMPLES,),
        draws=("fresh",),
    )
    return data.sel(draws="fresh").isel(samples=0).sel(iteration=list(HORIZONS))


def _errors(data: xr.Dataset) -> xr.DataArray:
    """The sizes of both errors, dimensions (iteration, alpha, quantity, beta, seed)."""
    both = abs(data[list(QUANTITIES)]).to_array("quantity")
    return both.transpose("iteration", "alpha", "quantity", "beta", "seed")


def _changed(errors: xr.DataArray, study: Study) -> xr.DataArray:
    """The errors as measured, without any growth, or with growth in step with gamma_T."""
    if not (study.wrong or study.planted):
        return errors
    plain = errors.isel(alpha=0, drop=True)
    if study.wrong:
        return plain.broadcast_like(errors).transpose(*errors.dims)
    # A run of another seed for every alpha: errors that are as noisy as the measured ones.
    order = study.rng(1)
    columns = [plain.values[..., order.permutation(plain.sizes["seed"])] for _ in ALPHAS]
    steps = np.array([[_step(t, alpha) for alpha in ALPHAS] for t in HORIZONS])
    return errors.copy(data=np.stack(columns, axis=1) * steps[:, :, None, None, None])


def _exponents(errors: xr.DataArray) -> dict[str, Estimate]:
    """The exponent in gamma_T of every cell, with intervals that cover all of them at once."""
    cells = errors.isel(alpha=0, seed=0).size
    found = {}
    for t in HORIZONS:
        slope = functools.partial(_slope, np.array([_step(t, alpha) for alpha in ALPHAS]))
        here = errors.sel(iteration=t)
        ends = bootstrap(slope, here, draws=DRAWS, confidence=judge.together(cells))
        exponents = slope(here.transpose(..., "seed").values)
        for place in np.ndindex(exponents.shape):
            quantity, beta = here.quantity.values[place[0]], here.beta.values[place[1]]
            found[_name(str(quantity), float(beta), t)] = _exponent(
                exponents[place], ends[0][place], ends[1][place], here.sizes["seed"]
            )
    return found


def _exponent(value: Any, low: Any, high: Any, seeds: int) -> Estimate:
    return Estimate(float(value), float(low), float(high), "exponent", seeds)


def _slope(steps: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Of errors (alpha, ..., seed): the exponents of their means in the step."""
    return log_log_slope(steps, errors.mean(axis=-1))


def _name(quantity: str, beta: float, iterations: int) -> str:
    return f"{QUANTITIES[quantity]}, β = {beta:,g}, T = {iterations}"


def _step(iterations: int, alpha: float = ALPHAS[-1]) -> float:
    """How many times gamma_T is that of a run without momentum."""
    return float(np.sum(theory.weights(alpha, iterations))) / iterations


def _growth(data: xr.Dataset, quantity: str, beta: float, iterations: int) -> float:
    """The mean error at the largest alpha over that without momentum."""
    means = abs(data[quantity]).sel(beta=beta, iteration=iterations).mean("seed")
    return float(means.isel(alpha=-1) / means.isel(alpha=0))


def _fall(data: xr.Dataset, beta: float, iterations: int) -> float:
    """By which share the largest alpha lowers the gap of exact preferences."""
    return 1 - _growth(data, "paper_optimisation", beta, iterations)


def _facts(data: xr.Dataset, found: Mapping[str, Estimate]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        f"growth of gamma_T, T = {t}": _step(t) for t in HORIZONS
    }  # fmt: skip
    for t in HORIZONS:
        for beta in BETAS:
            for quantity in QUANTITIES:
                name = _name(quantity, beta, t)
                facts[f"growth of {name}"] = _growth(data, quantity, beta, t)
                facts[f"exponent of {name}"] = found[name]
            lost = _growth(data, "paper_optimisation", beta, t)
            facts[f"growth of the optimisation error, β = {beta:,g}, T = {t}"] = lost
    return facts


def _draw(figure: Figure, data: xr.Dataset) -> None:
    """Both errors against the step, in units of those without momentum."""
    caption(
        figure,
        f"K = {ARMS}, N = {SAMPLES:,.0f}, $\\alpha$ from 0 to {ALPHAS[-1]}; bands: 95 % "
        f"bootstrap intervals over {data.sizes['seed']:,} seeds, each point by itself",
    )
    panels = figure.subplots(1, len(BETAS), sharey=True)
    errors = _errors(data)
    for axes, beta in zip(panels, BETAS, strict=True):
        for t, style in zip(HORIZONS, ("--", "-"), strict=True):
            x = np.array([_step(t, alpha) for alpha in ALPHAS])
            for name in QUANTITIES:
                colour = scaling_exponents.SIZES[name].colour
                here = errors.sel(iteration=t, beta=beta, quantity=name)
                low, high = bootstrap(_relative, here, draws=400)
                axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
                axes.plot(x, _relative(here.values), style, marker="o", ms=3, color=colour)
        ends = np.array([1.0, _step(HORIZONS[-1])])
        axes.plot(ends, ends, ":", color="0.3", zorder=1)
        axes.set(xscale="log", yscale="log", title=f"β = {beta:,g}")
        axes.set_xticks([1, 2, 5, 10], ["1", "2", "5", "10"], minor=False)
        axes.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"], minor=False)
        axes.minorticks_off()
        axes.set_xlabel(r"$\gamma_T$, times that of $\alpha = 0$")
    panels[0].set_ylabel(r"error, times that of $\alpha = 0$")
    lines = [
        Line2D([], [], color=scaling_exponents.SIZES[name].colour, label=label)
        for name, label in zip(
            QUANTITIES, ("2 DTV to the exact policy", "error of the gap"), strict=True
        )
    ]
    lines.append(Line2D([], [], color="0.3", ls=":", label=r"like $\gamma_T$"))
    lines += [
        Line2D([], [], color="0.3", ls=style, label=f"T = {t}")
        for t, style in zip(HORIZONS, ("--", "-"), strict=True)
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=5)


def _relative(errors: np.ndarray) -> np.ndarray:
    means = errors.mean(axis=-1)
    return means / means[0]
