"""V4: with many more labels than iterations, does the optimisation error dominate?"""

import functools

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.statistics import mean_estimate
from apo_sim.studies import tradeoff
from apo_sim.studies.caption import caption

ARMS, ALPHA = 5, 0.3
BETAS = (0.1, 0.3, 1.0, 5.0)
SAMPLES = (30, 200, 2_000, 20_000)
HORIZONS = (3, 10, 20)
MANY = 100  # N >> T, read as N >= 100 T
PLANTED = 0.5


@claim(
    id="V4",
    title="With N far above T, optimisation dominates",
    source="reviews",
    statement=rf"With momentum of $\alpha = {ALPHA}$ and $N \ge {MANY}\,T$ the mean statistical "
    r"error $|\mathrm{gap}(\hat\pi_T) - \mathrm{gap}(\pi^*_T)|$ is smaller than the mean "
    r"optimisation error $\mathrm{gap}(\pi^*_T)$.",
    control="the optimisation error after infinitely many updates, which is 0",
    power=f"{PLANTED:g} of reward added to the optimisation error of every run",
    scope=Scope(
        "where",
        f"random bandits, uniform rewards and reference, N at least {MANY} T",
        arms=ARMS,
        iterations=HORIZONS,
        beta=BETAS,
        samples=SAMPLES[2:],
        alpha=ALPHA,
    ),
)
def optimisation_dominates(study: Study) -> Finding:
    r"""Map which of the two errors is the larger one, over N, T and beta.

    Problem: the paper's extrapolation and number of updates, longer runs, N up to its 20,000, and
    four beta, two of them the paper's own.

    Method: paired differences over seeds in every cell with N >= 100 T, Student's intervals
    corrected for the number of cells. Whether momentum helps there is V4-gain.

    Guarantee: statistical. What decides is beta: with a small one the exact policy has converged
    after a step or two, and sampling is all that is left.

    Reference: the authors' answers in the paper's reviews.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V4").source
        'reviews'
    """
    data = measured(study.pick(300, 2000), study.sweep_seed()).sel(alpha=ALPHA)
    statistical, optimisation = abs(data.paper_difference), data.paper_optimisation
    share = 0.0 if study.wrong else 1.0
    difference = statistical - share * optimisation - (PLANTED if study.planted else 0.0)
    cells = cells_of(difference, MANY)
    usual = {"beta": BETAS[0], "samples": SAMPLES[-1], "iteration": HORIZONS[0]}
    facts = {
        f"{name} error where the paper is": mean_estimate(error.sel(usual).values, unit="reward")
        for name, error in (("statistical", statistical), ("optimisation", optimisation))
    }
    left, lost = (error.value for error in facts.values())
    return judge.where(
        judge.estimates(cells),
        unit="cells where the optimisation error is the larger one",
        instances=len(cells) * data.sizes["seed"],
        facts=facts,
        note=rf"What decides is $\beta$: at the paper's setting, $\beta = {usual['beta']:g}$, "
        f"N = {usual['samples']:,}, T = {usual['iteration']}, the statistical error is {left:.4f} "
        f"and the optimisation error {lost:.4f}.",
        draw=lambda figure: _draw(figure, statistical, optimisation),
    )


@functools.lru_cache(maxsize=1)
def measured(seeds: int, seed: int) -> xr.Dataset:
    """Gap and errors for every beta, at the lengths that are judged; V4-gain looks at the same."""
    parts = [
        tradeoff.measure(
            seeds=seeds,
            seed=seed,
            progress=False,
            arms=ARMS,
            beta=beta,
            iterations=HORIZONS[-1],
            alphas=[0.0, ALPHA],
            samples=SAMPLES,
        )
        for beta in BETAS
    ]
    return xr.concat(parts, "beta").sel(iteration=list(HORIZONS))


def cells_of(values: xr.DataArray, least: float | int = 0) -> dict[str, np.ndarray]:
    """The samples of every cell (beta, T, N) with N >= `least` T, by the name that readers see."""
    return {
        f"β = {beta:g}, T = {t}, N = {n:,}": values.sel(beta=beta, samples=n, iteration=t).values
        for beta in BETAS
        for t in HORIZONS
        for n in SAMPLES
        if n >= least * t
    }


def _draw(figure: Figure, statistical: xr.DataArray, optimisation: xr.DataArray) -> None:
    caption(
        figure,
        f"K = {ARMS}, α = {ALPHA:g}; means over {statistical.sizes['seed']} seeds, statistical "
        "solid with dots, optimisation dashed",
    )
    panels = figure.subplots(1, len(BETAS), sharey=True)
    for axes, beta in zip(panels, BETAS, strict=True):
        for colour, t in enumerate(HORIZONS):
            where = {"beta": beta, "iteration": t}
            mean = statistical.sel(where).mean("seed")
            axes.plot(SAMPLES, mean, "o-", ms=3, color=f"C{colour}", label=f"T = {t}")
            lost = float(optimisation.sel(where).isel(samples=0).mean())
            axes.axhline(lost, color=f"C{colour}", ls="--", lw=1.2)
        axes.set(xscale="log", yscale="log", ylim=(1e-5, 1), title=rf"$\beta = {beta:g}$")
        axes.set_xlabel("pairs an iteration, $N$")
    panels[0].set_ylabel("error (reward)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
