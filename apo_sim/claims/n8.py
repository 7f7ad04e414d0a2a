"""N8: how the R of Assumption 4.3 grows when all pairs of visited policies count."""

import dataclasses
import functools

import numpy as np
import xarray as xr

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.statistics import mean_estimate
from apo_sim.studies import boundedness
from apo_sim.studies.boundedness import ALPHAS, SHOWN, log10_factor, slopes
from apo_sim.studies.wording import plus_minus

TOLERANCE = 0.05


@claim(
    id="N8",
    title="R over all pairs grows with T/(1 − α)",
    source="ours",
    statement=(
        r"DPO with exact Bradley-Terry preferences: the least $R$ of Assumption 4.3 over all pairs "
        r"of visited policies grows as $$R \sim \bigl(\max_y r^* - \min_y r^*\bigr)\,"
        r"\frac{T}{1-\alpha},$$ so that no $R$ serves every $T$, and the factor "
        r"$1/\sigma'(1+R)$ of the statistical bounds is exponential in $T/(1-\alpha)$."
    ),
    control=r"$\alpha$'s sign flipped",
    scope=Scope(
        "for all",
        "random bandits of uniform rewards, uniform reference",
        arms=5,
        iterations="100 quick, 1,000 full",
        beta=1.0,
        samples="exact",
        alpha=ALPHAS,
    ),
)
def growing_bound(study: Study) -> Finding:
    r"""Measure how fast the R of all visited pairs grows: the honest form of Assumption 4.3.

    Problem: the run moves from the reference towards the best arm by the weight gamma_T, so
    reference and last policy differ by beta gamma_T times the range of the rewards. Assumption 4.3
    (A4.3) asks for one R over all pairs; this is the least that a run needs.

    Method: exact runs on random bandits; the slope of R against T/(1 - alpha) over the second
    half of a run, in units of the range of the rewards, for every bandit and alpha. Sampled runs
    for comparison.

    Guarantee: tight, a slope of one. Two things soften it. The secant slope of the sigmoid in
    place of 1/sigma'(1 + R) is linear in R, not exponential. And with N pairs an iteration R all
    but levels off: an arm that is not drawn any more is not pushed down any further.

    Reference: ours; Assumption 4.3 and Theorem 4.4 of the paper.

    Example:
        >>> data = boundedness.measure(seeds=2, iterations=40, alphas=[0.0], samples=[])
        >>> bool(abs(slopes(data).bound - 1).max() < 0.1)
        True
    """
    data = _runs(study.pick(32, 128), study.pick(100, 1000), study.sweep_seed())
    right = data.sel(alpha=list(ALPHAS))
    judged = right
    if study.wrong:
        flipped = data.sel(alpha=[-alpha for alpha in ALPHAS])
        judged = flipped.assign_coords(alpha=list(ALPHAS))
    exact = slopes(judged).bound.sel(samples=np.inf).transpose("alpha", "seed")
    updates = data.sizes["iteration"]
    last = right.bound_of_all_pairs.sel(samples=np.inf, alpha=SHOWN).isel(iteration=-1)
    digits = [log10_factor(float(last.mean()), flavour) for flavour in ("printed", "sharp")]
    sampled = slopes(right).bound.sel(samples=boundedness.SAMPLES[1], alpha=SHOWN)
    rates = [plus_minus(mean_estimate(e.values)) for e in (exact.mean("alpha"), sampled)]
    finding = judge.identity(
        exact.values - 1,
        TOLERANCE,
        witness=lambda worst: {
            "alpha": ALPHAS[worst // exact.sizes["seed"]],
            "slope": exact.values.ravel()[worst],
        },
        unit="slope over range of the rewards, minus one",
        note=(
            rf"Over {data.sizes['seed']} bandits $R$ over all pairs grows at "
            rf"{rates[0]} of the claimed rate: at $\alpha = {SHOWN}$, "
            rf"$T = {updates}$ the factor is $10^{{{digits[0]:.0f}}}$ as printed, where the "
            rf"secant of the sigmoid would do, with $10^{{{digits[1]:.1f}}}$. With "
            rf"sampled preferences ($N = 10^4$) the same slope is {rates[1]}: arms "
            r"that are drawn no more are not pushed down, and $R$ all but levels off, higher for "
            r"larger $N$."
        ),
        draw=lambda figure: boundedness.draw(figure, right),
    )
    facts = {
        "slope": float(exact.mean()),
        "slope with N = 10,000": float(sampled.mean()),
        f"decimal digits of the factor at T = {updates}": digits[0],
    }
    return dataclasses.replace(finding, facts=facts)


# The control flips the sign of alpha: one sweep has both signs.
@functools.lru_cache(maxsize=1)
def _runs(seeds: int, iterations: int, seed: int) -> xr.Dataset:
    both = sorted({sign * alpha for alpha in ALPHAS for sign in (1, -1)})
    return boundedness.measure(
        seeds=seeds, seed=seed, iterations=iterations, alphas=both, progress=False
    )
