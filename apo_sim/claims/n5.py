"""N5: at equal total weight momentum hardly inflates the error of what it averages."""

import functools
from dataclasses import replace

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies import effective_samples

# So large that the policy stays at the reference: every update then errs alike, independently.
BETA = 1e4
ARMS = 10


@claim(
    id="N5",
    title="Momentum averages at least three quarters of the updates",
    source="ours",
    statement=r"For every $\alpha \in [0, 1)$ and $T$: "
    r"$$T_{\mathrm{eff}} = \frac{(\sum_k w_k)^2}{\sum_k w_k^2} \ge \frac{3}{4}\,T.$$ So at equal "
    r"$\gamma_T$, with independent errors of equal size, momentum's uneven weights inflate the "
    r"error of the averaged reward $\bar r$ by at most $2/\sqrt{3} \approx 1.155$. (At equal "
    r"$\beta$ a run with momentum has the larger $\gamma_T$, and errs accordingly: R4.5.)",
    control="the errors of all updates are those of the first, so that they do not average",
    scope=Scope(
        "for all",
        "all weights of momentum; measured on random bandits whose policy hardly moves",
        arms=ARMS,
        iterations="from 1 to 2,000 and above",
        beta=BETA,
        samples=effective_samples.SAMPLES,
        alpha="from 0 to 1 - 1e-9",
    ),
)
def updates_are_averaged(study: Study) -> Finding:
    r"""Judge T_eff >= 3/4 T, exactly over alpha and T, and on the errors of sampled runs.

    Problem: the least T_eff / T over a grid of alpha up to 1 - 1e-9 and T up to thousands; and
    the sweep of `apo_sim.studies.effective_samples` at a beta that keeps the policy at the
    reference: the square of (error of one update) / (error of the averaged reward) is T_eff if
    the updates err independently.

    Method: the largest inflation over alpha and T, in a cell chosen on half of the seeds and
    measured on the other half; bootstrap over seeds.

    Guarantee: tight. The limit 3/4 is reached as alpha -> 1 and T -> infinity, since w_k -> k.
    This is the noise of an average, not that of a run at given beta, which takes longer steps
    with momentum. Where the policy moves, the errors are neither equal nor independent and N5
    says nothing.

    Reference: ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N5").source
        'ours'
    """
    alphas = 1.0 - np.geomspace(1.0, 1e-9, study.pick(60, 400))
    horizons = np.unique(np.geomspace(1, study.pick(2_000, 20_000), 40).astype(int))
    share = np.array([_share(alphas, int(t)) for t in horizons])
    largest = effective_samples.LARGEST
    exact = judge.upper_bound(1.0 / np.sqrt(share), largest, unit="inflation")
    data = _measured(study.effort, study.sweep_seed())
    if study.wrong:
        first = data.update_error.isel(iteration=0, drop=True)
        data = data.map(lambda errors: first.broadcast_like(errors))
    found = effective_samples.errors(data)
    cell = effective_samples.worst(found.sel(draws="fresh", beta=BETA))
    inflation, low, high = (float(cell[name]) for name in ("inflation", "low", "high"))
    alpha, t = float(cell.alpha), int(cell.iteration)
    runs = data.average_error.isel(iteration=0).size
    simulated = judge.close(
        inflation,
        (low, high),
        # The bound is one-sided; below it anything goes.
        largest / 2,
        largest / 2,
        witness={"alpha": alpha, "iterations": t, "inflation": inflation},
        note=rf"Measured, momentum inflates the error of the averaged reward by {inflation:.3f} "
        rf"[{low:.3f}, {high:.3f}] where that is worst ($\alpha = {alpha:g}$, T = {t}; {runs:,} "
        rf"runs, cell chosen on half of the seeds); the formula says "
        rf"{float(effective_samples.formula([alpha], [t])[0, 0]):.3f}. Exactly, the largest "
        rf"inflation over {share.size} pairs of $\alpha$ and $T$ is "
        rf"{1.0 / np.sqrt(share.min()):.6f}.",
        draw=lambda figure: _draw(figure, found, alphas),
        unit="inflation of the error",
        instances=runs + share.size,
    )
    facts = {"largest inflation, exactly": 1.0 / np.sqrt(share.min()), "measured": inflation}
    simulated = replace(simulated, bound=largest, ratio=inflation / largest, facts=facts)
    return judge.worst([simulated, exact])


@functools.lru_cache(maxsize=1)
def _measured(effort: str, seed: int) -> xr.Dataset:
    measure = functools.partial(
        effective_samples.measure,
        seed=seed,
        progress=False,
        arms=ARMS,
        betas=(BETA,),
        draws=("fresh",),
    )
    if effort == "full":
        return measure(seeds=4000)
    return measure(seeds=1000, iterations=12, alphas=(0.0, 0.9, 0.95))


def _share(alphas: np.ndarray, iterations: int) -> np.ndarray:
    """T_eff / T for every alpha, by the closed sums of w_k = (1 - alpha^k)/(1 - alpha)."""
    k = np.arange(1, iterations + 1)
    # expm1 and log1p keep 1 - alpha^k exact as alpha -> 1, where w_k -> k.
    with np.errstate(divide="ignore"):
        powers = -np.expm1(k * np.log(alphas)[:, None])
    return powers.sum(axis=1) ** 2 / (powers**2).sum(axis=1) / iterations


def _draw(figure: Figure, found: xr.Dataset, alphas: np.ndarray) -> None:
    left, right = figure.subplots(1, 2)
    effective_samples.over_alpha(left, found.sel(beta=BETA))
    for horizon, colour in ((3, "C5"), (10, "C4"), (100, "C3"), (2000, "C2")):
        right.plot(1 - alphas, _share(alphas, horizon), color=colour, label=f"T = {horizon}")
    right.axhline(0.75, color="0.5", ls="--", lw=1)
    right.set(xscale="log", xlabel=r"$1 - \alpha$", ylabel=r"$T_{\mathrm{eff}} / T$")
    right.set(title="exactly", ylim=(0.7, 1.02))
    right.legend()
