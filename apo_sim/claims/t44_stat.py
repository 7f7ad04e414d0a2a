"""Theorem 4.4's statistical term: how far from saying anything it is, once repaired."""

import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import judge
from apo_sim.claims._studies import (
    Setting,
    constants,
    log10_samples_needed,
    log10_tv_bound,
    mean_band,
    sampled,
    uniform_bandits,
)
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study

ARMS, ITERATIONS, FIT, DELTA = 5, 20, 2.0, 0.05
SAMPLES = (2_000, 20_000)
ALPHAS = (0.0, 0.3, 0.9)
BETAS = (1.0, 3.0, 10.0, 30.0, 100.0)
HORIZONS = (3, 20)


@claim(
    id="T4.4-stat",
    title="The statistical term says something",
    source="paper",
    statement=r"With $\kappa_t$ repaired (two separate maxima, see LC.1) and probability at least "
    r"$1 - \delta$: $$D_{TV}(\hat\pi_T, \pi^*_T) \le \frac{1}{\sigma'(1+R)} "
    r"\sqrt{\frac{2\,T \sum_t \kappa_t \log(T|\Pi|/\delta)}{N \beta^2 (1-\alpha)^2}},$$ "
    r"and this is below what holds without data, $\tanh(\gamma_T (R_0 + 1)/2)$ for rewards "
    r"fitted within $[-R_0, R_0]$.",
    control=r"the bound divided by $10^{12}$",
)
def statistical_term(study: Study) -> Finding:
    r"""Hold the repaired statistical bound against the measured distance and the trivial one.

    Problem: random bandits of five arms, uniform rewards and reference; N = 2,000 and 20,000 (the
    sizes of the paper's experiments), T = 3 and 20, alpha in {0, 0.3, 0.9}, beta from 1 to 100.

    Method: coverage and R are those that each run met, which favours the bound (the lemma asks
    for the R of the whole class); log|Pi| is the metric entropy of the table. The trivial bound
    uses only that |r_t| <= R_0 and |r*| <= 1.

    Guarantee: holds, vacuous throughout at these N.

    Reference: Theorem 4.4 and Lemma C.1 of the paper; trivial bound ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("T4.4-stat").title
        'The statistical term says something'
    """
    seeds = study.pick(40, 400)
    settings = [
        Setting(float(n), beta, alpha) for n in SAMPLES for alpha in ALPHAS for beta in BETAS
    ]
    bandits = uniform_bandits(study.subkey(0), seeds, ARMS)
    runs = sampled(study.subkey(1), settings, bandits, ITERATIONS, reward_bound=FIT)
    shape = (len(HORIZONS), len(SAMPLES), len(ALPHAS), len(BETAS))
    measured, log_bound, trivial, needed, failures = [], [], [], [], 0
    for horizon in HORIZONS:
        for row, setting in enumerate(settings):
            met = constants(runs, row, setting.beta, horizon)
            arguments = (met.log_corrected, setting, met.reward_bound)
            entropy = theory.tabular_entropy(ARMS, setting.samples, met.reward_bound.max())
            logs = log10_tv_bound(*arguments, float(entropy), DELTA, "corrected")
            logs = logs - (12.0 if study.wrong else 0.0)
            distance = runs.paper_statistics[row, :, horizon - 1] / 2
            failures += int(np.sum(distance > 10.0**logs))
            without = np.tanh(runs.gamma[row, 0, horizon - 1] * (FIT + 1) / 2)
            needs = log10_samples_needed(*arguments, ARMS, DELTA, "corrected", float(without))
            measured.append(distance)
            log_bound.append(np.median(logs))
            trivial.append(without)
            needed.append(np.median(needs))
    mean, low, high = mean_band(np.array(measured))
    bound = 10.0 ** np.array(log_bound)
    worst = int(np.argmax(mean / bound))
    orders = (np.array(log_bound) - np.log10(trivial)).reshape(shape)
    log_needed = np.array(needed).reshape(shape)
    return judge.upper_bound(
        mean,
        bound,
        trivial=trivial,
        interval=(low[worst], high[worst]),
        unit="total variation",
        instances=mean.size * seeds,
        witness=lambda i: {"distance": mean[i], "bound": bound[i]},
        note=rf"{failures} of {mean.size * seeds} runs exceed it. At $N = {SAMPLES[0]}$ it is "
        rf"above what holds without data by $10^{{{orders[:, 0].min():.1f}}}$ at best and "
        rf"$10^{{{orders[:, 0].max():.0f}}}$ at worst; it says something from "
        rf"$N = 10^{{{log_needed.min():.1f}}}$ (T = 3, nothing has moved yet) to "
        rf"$10^{{{log_needed.max():.0f}}}$ on.",
        draw=lambda figure: _draw(figure, orders[:, 0], log_needed[:, 0]),
    )


def _draw(figure: Figure, orders: np.ndarray, log_needed: np.ndarray) -> None:
    left, right = figure.subplots(1, 2)
    colours = ("C5", "C4", "C3")
    for h, (horizon, style) in enumerate(zip(HORIZONS, ("--", "-"), strict=True)):
        for a, (alpha, colour) in enumerate(zip(ALPHAS, colours, strict=True)):
            label = rf"$\alpha = {alpha:g}$, T = {horizon}"
            left.plot(BETAS, orders[h, a], style, marker="o", color=colour, label=label)
            right.plot(BETAS, log_needed[h, a], style, marker="o", color=colour)
    left.set(xscale="log", yscale="log", xlabel=r"proximal weight $\beta$")
    left.set(ylabel=f"orders of magnitude, N = {SAMPLES[0]:,}", title="bound above the trivial one")
    right.set(xscale="log", yscale="log", xlabel=r"proximal weight $\beta$")
    right.set(ylabel=r"$\log_{10} N$", title="pairs an iteration needed")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", handlelength=4)
