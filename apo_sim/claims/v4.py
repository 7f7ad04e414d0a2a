"""V4: with many more labels than iterations, does the optimisation error dominate?"""

import dataclasses
import functools

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims._studies import worst
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies import tradeoff
from apo_sim.studies.intervals import mean_and_half

ARMS, ITERATIONS, ALPHA = 5, 20, 0.3
BETAS = (0.1, 1.0, 5.0)
SAMPLES = (30, 200, 2_000, 20_000)
HORIZONS = (3, 10, 20)
MANY = 100  # N >> T, read as N >= 100 T


@claim(
    id="V4",
    title="With N far above T, optimisation dominates",
    source="reviews",
    statement=r"Whenever $N \ge 100\,T$ the statistical error $|\mathrm{gap}(\hat\pi_T) - "
    r"\mathrm{gap}(\pi^*_T)|$ is smaller than the optimisation error $\mathrm{gap}(\pi^*_T)$, on "
    r"average, so that momentum helps.",
    control="the two errors swapped",
)
def optimisation_dominates(study: Study) -> Finding:
    r"""Map which error dominates, and whether momentum helps, over N, T and beta.

    Problem: random bandits of five arms, alpha = 0.3 against 0, N up to 20,000, T = 3, 10 and 20,
    beta = 0.1, 1 and 5 (two of them the paper's own).

    Method: paired comparisons over seeds in every cell with N >= 100 T; the verdict is the worst.

    Guarantee: statistical. What decides is beta: with a small one the exact policy has converged
    after a step or two, and sampling is all that is left.

    Reference: the authors' answers in the paper's reviews.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V4").source
        'reviews'
    """
    data = _measured(study.pick(80, 2000), study.sweep_seed())
    with_momentum = data.sel(alpha=ALPHA)
    cells = [
        with_momentum.sel(beta=beta, samples=n, iteration=t)
        for beta in BETAS
        for n in SAMPLES
        for t in HORIZONS
        if n >= MANY * t
    ]
    findings = [_dominates(cell, study.wrong) for cell in cells]
    findings.sort(key=lambda finding: -float(finding.measured or 0.0))
    kept = sum(finding.verdict == "holds" for finding in findings)
    usual = with_momentum.sel(beta=BETAS[0], samples=2_000, iteration=HORIZONS[0])
    signs = _signs(data.suboptimality)
    return dataclasses.replace(
        worst(findings),
        instances=data.suboptimality.isel(iteration=0).size,
        note=f"It holds in {kept} of {len(findings)} cells with N >= {MANY} T; shown is the worst. "
        rf"At $\beta = {BETAS[0]:g}$, N = 2,000, T = {HORIZONS[0]} the statistical error is "
        f"{_mean(abs(usual.paper_difference))}, the optimisation error "
        f"{_mean(usual.paper_optimisation)}. "
        f"Momentum helps in {int(np.sum(signs < 0))}, hurts in {int(np.sum(signs > 0))} and makes "
        f"no difference that {data.sizes['seed']} seeds show in {int(np.sum(signs == 0))} of all "
        f"{signs.size} cells.",
        draw=lambda figure: _draw(figure, data.suboptimality, signs),
    )


@functools.lru_cache(maxsize=1)
def _measured(seeds: int, seed: int) -> xr.Dataset:
    """The paper's split for every beta, at the lengths that are judged."""
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


def _dominates(cell: xr.Dataset, swapped: bool) -> Finding:
    """Whether the statistical error is the smaller one in a cell, run by run."""
    pair = abs(cell.paper_difference).values, cell.paper_optimisation.values
    return judge.compare(
        *(pair[::-1] if swapped else pair),
        unit="statistical minus optimisation error (reward)",
        witness={
            "beta": float(cell.beta),
            "samples": int(cell.samples),
            "iterations": int(cell.iteration),
            "statistical_error": pair[0].mean(),
            "optimisation_error": pair[1].mean(),
        },
    )


def _mean(values: xr.DataArray) -> str:
    mean, half = mean_and_half(values)
    return f"{mean:.5f} ± {half:.5f}"


def _signs(gap: xr.DataArray) -> np.ndarray:
    """-1 where momentum surely lowers the mean gap, 1 where it raises it; (beta, samples, T)."""
    mean, half = mean_and_half(gap.sel(alpha=ALPHA) - gap.sel(alpha=0.0))
    sure = (mean > half).astype(int) - (mean < -half).astype(int)
    return sure.transpose("beta", "samples", "iteration").values


def _draw(figure: Figure, gap: xr.DataArray, signs: np.ndarray) -> None:
    means = gap.mean("seed").transpose("alpha", "beta", "samples", "iteration")
    change = np.log2((means.sel(alpha=ALPHA) / means.sel(alpha=0.0)).values)
    panels = figure.subplots(1, len(BETAS), sharey=True)
    images = []
    for b, axes in enumerate(panels):
        image = axes.imshow(change[b].T, cmap="PuOr_r", vmin=-1.5, vmax=1.5, aspect="auto")
        images.append(image)
        for n, t in np.ndindex(*change[b].shape):
            word = {-1: "helps", 1: "hurts", 0: "?"}[signs[b, n, t]]
            text = f"{2.0 ** change[b, n, t]:.2f}\n{word}"
            colour = "white" if abs(change[b, n, t]) > 0.8 else "0.15"
            axes.text(n, t, text, ha="center", va="center", fontsize=7.5, color=colour)
        axes.set_xticks(range(len(SAMPLES)), [f"{n:,}" for n in SAMPLES], fontsize=7.5)
        axes.set_yticks(range(len(HORIZONS)), [str(t) for t in HORIZONS])
        axes.grid(False)
        axes.set(xlabel="pairs an iteration, $N$", title=rf"$\beta = {BETAS[b]:g}$")
    panels[0].set(ylabel="iterations $T$")
    bar = figure.colorbar(images[0], ax=list(panels), ticks=[-1, 0, 1], shrink=0.9)
    bar.set_label(rf"gap, $\alpha = {ALPHA}$ over $\alpha = 0$")
    bar.set_ticklabels(["half", "same", "twice"])
