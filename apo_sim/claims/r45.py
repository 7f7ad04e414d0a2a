"""Remark 4.5: alpha trades optimisation error against statistical error."""

import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims._studies import (
    Setting,
    bootstrap,
    mean_band,
    percentiles,
    sampled,
    uniform_bandits,
)
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study

ARMS, ITERATIONS, SAMPLES = 5, 20, 1000.0
ALPHAS = (0.0, 0.3, 0.6, 0.8, 0.9)
BETAS = (2.0, 5.0, 20.0, 100.0)
SHOWN = BETAS.index(5.0)
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

    Problem: random bandits of five arms, N = 1,000, T = 20, several beta.

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
    seeds = study.pick(100, 2000)
    bandits = uniform_bandits(study.subkey(0), seeds, ARMS)
    settings = [Setting(SAMPLES, beta, alpha) for beta in BETAS for alpha in ALPHAS]
    runs = sampled(study.subkey(1), settings, bandits, ITERATIONS)

    def final(part: np.ndarray) -> np.ndarray:
        return np.abs(part[:, :, -1]).reshape(len(BETAS), len(ALPHAS), seeds)

    statistics = final(runs.statistics)
    if study.wrong:
        statistics = np.repeat(statistics[:, :1], len(ALPHAS), axis=1)
    parts = {
        "optimisation": final(runs.paper_optimisation),
        "statistics": statistics,
        "distance": final(runs.paper_statistics),
    }
    rows = bootstrap(study.rng(2), seeds, 400)
    fits = {name: _exponents(part, rows) for name, part in parts.items()}
    measured, low, high = fits["statistics"][:, SHOWN]
    texts = {n: "{:.2f} [{:.2f}, {:.2f}]".format(*fit[:, SHOWN]) for n, fit in fits.items()}
    far = "{:.2f} [{:.2f}, {:.2f}]".format(*fits["distance"][:, -1])
    return judge.close(
        measured,
        (low, high),
        1.0,
        TOLERANCE,
        unit=r"exponent in 1/(1 - alpha)",
        instances=len(settings) * seeds,
        witness={
            "alpha": ALPHAS,
            "beta": BETAS[SHOWN],
            "mean_optimisation": parts["optimisation"][SHOWN].mean(axis=1),
            "mean_statistics": parts["statistics"][SHOWN].mean(axis=1),
        },
        note=rf"At $\beta = {BETAS[SHOWN]:g}$ the exponents are {texts['optimisation']} "
        rf"(optimisation), {texts['statistics']} (statistical part of the gap, N4) and "
        rf"{texts['distance']} (2 DTV to the exact policy); the last is {far} at "
        rf"$\beta = {BETAS[-1]:g}$. Tolerance {TOLERANCE:g}.",
        draw=lambda figure: _draw(figure, parts, fits),
    )


def _exponents(part: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Slope and its interval for every beta, (3, betas)."""
    x = -np.log1p(-np.array(ALPHAS))
    x = x - x.mean()

    def slopes(log_mean: np.ndarray) -> np.ndarray:
        return np.tensordot(log_mean, x, axes=([1], [0])) / np.sum(x**2)

    point = slopes(np.log(part.mean(axis=2)))
    again = slopes(np.log(part[:, :, rows].mean(axis=3)))  # (betas, draws)
    return np.array([point, *np.array([percentiles(row) for row in again]).T])


def _draw(figure: Figure, parts, fits) -> None:
    left, right = figure.subplots(1, 2)
    x = 1 / (1 - np.array(ALPHAS))
    series = (
        ("optimisation", "C4", "optimisation"),
        ("statistics", "C0", "statistics, in the gap"),
        ("distance", "C3", "statistics, 2 DTV"),
    )
    for name, colour, label in series:
        mean, low, high = mean_band(parts[name][SHOWN])
        left.fill_between(x, low, high, color=colour, alpha=0.25, lw=0)
        left.plot(x, mean, "o-", color=colour, label=label)
        point, low, high = fits[name]
        right.fill_between(BETAS, low, high, color=colour, alpha=0.25, lw=0)
        right.plot(BETAS, point, "o-", color=colour)
    start = parts["statistics"][SHOWN, 0].mean()
    left.plot(x, start * x, color="C1", label="the remark: $1/(1-\\alpha)$")
    left.set(xscale="log", yscale="log", xlabel=r"$1/(1-\alpha)$", ylabel="error (reward)")
    left.set(title=rf"$\beta = {BETAS[SHOWN]:g}$, N = {SAMPLES:g}, T = {ITERATIONS}")
    left.legend(fontsize=7.5)
    right.axhline(1.0, color="C1")
    right.axhline(0.0, color="0.5", ls="--", lw=1)
    right.set(xscale="log", xlabel=r"proximal weight $\beta$", ylabel=r"exponent in $1/(1-\alpha)$")
    right.set(title="exponents")
