"""V3: averaging the updates against extrapolating them."""

import functools

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies import momentum_rules
from apo_sim.studies.intervals import mean_and_half

EXTRAPOLATION, AVERAGING = RULES = ("constant 0.9", "averaging 0.9")
JUDGED, FEWER = 300, 30


@claim(
    id="V3",
    title="Averaging controls the error, extrapolation amplifies it",
    source="reviews",
    statement=r"At equal $\gamma_T$ the moving average $h_t = \alpha h_{t-1} + (1-\alpha)\,"
    r"(\hat\pi_t - \pi_{t-1})$ leaves a smaller statistical error than extrapolation by $\alpha$.",
    control="averaging given a tenth of the labels",
)
def averaging_against_extrapolation(study: Study) -> Finding:
    r"""Compare the statistical error of averaged and of extrapolated updates, seed by seed.

    Problem: random bandits of ten arms, alpha = 0.9, T = 20. In both rules update i enters with
    a weight proportional to 1 - alpha^(T-i): averaging with beta (1 - alpha) passes through the
    very policies that extrapolation with beta outputs, and differs only in who collects the data.

    Method: the distance of the gap from that of exact preferences, which is the same for both
    rules, paired over seeds, N = 300 (`studies.momentum_rules`).

    Guarantee: statistical. At equal beta averaging is slower by 1 - alpha, which is its whole
    advantage in noise.

    Reference: the paper's reviews; MoVI (Vieillard et al. 2020) for the average.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V3").source
        'reviews'
    """
    data = _measured(study.pick(quick=100, full=2000), study.sweep_seed())
    error = momentum_rules.statistical_error(data)
    same = error.sel(equal="gamma")
    averaged = same.sel(rule=AVERAGING, samples=FEWER if study.wrong else JUDGED)
    extrapolated = same.sel(rule=EXTRAPOLATION, samples=JUDGED)
    ratio = momentum_rules.times(same.sel(samples=JUDGED), AVERAGING, EXTRAPOLATION)
    gap = data.gap.sel(samples=JUDGED).mean("seed")
    slow = float(gap.sel(rule=AVERAGING, equal="beta"))
    fast = float(gap.sel(rule=EXTRAPOLATION, equal="beta"))
    return judge.compare(
        averaged.values,
        extrapolated.values,
        unit="statistical error of the gap, averaging minus extrapolation (reward)",
        witness={
            "averaging": averaged.mean().item(),
            "extrapolation": extrapolated.mean().item(),
        },
        note=rf"At equal $\gamma_T$ and N = {JUDGED} averaging has {ratio} times the statistical "
        rf"error of extrapolation, over {data.sizes['seed']:,} seeds. At equal $\beta$ it moves "
        f"ten times less a step, and its gap is {slow:.3f} against {fast:.3f}.",
        draw=lambda figure: _draw(figure, error, data.gap),
    )


@functools.lru_cache(maxsize=1)
def _measured(seeds: int, seed: int) -> xr.Dataset:
    """The two rules of the study, for the claim and for its control."""
    return momentum_rules.measure(seeds=seeds, seed=seed, progress=False, rules=RULES)


def _draw(figure: Figure, error: xr.DataArray, gap: xr.DataArray) -> None:
    series = (
        ("C0", "extrapolation", EXTRAPOLATION, "gamma"),
        ("C4", r"averaging, same $\gamma_T$", AVERAGING, "gamma"),
        ("C5", r"averaging, same $\beta$", AVERAGING, "beta"),
    )
    panels = ((error, "statistical error of the gap"), (gap, "gap"))
    for axes, (values, label) in zip(figure.subplots(1, 2), panels, strict=True):
        for colour, name, rule, equal in series:
            mean, half = mean_and_half(values.sel(rule=rule, equal=equal))
            band = np.maximum(mean - half, 1e-12), mean + half
            axes.fill_between(values.samples, *band, color=colour, alpha=0.25, lw=0)
            axes.plot(values.samples, mean, "o-", color=colour, label=name)
        axes.set(xscale="log", yscale="log", xlabel="preference pairs an iteration, $N$")
        axes.set(ylabel="units of the reward", title=label)
    figure.axes[0].legend()
