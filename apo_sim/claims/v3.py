"""V3: averaging the updates against extrapolating them."""

import dataclasses
import functools

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import softmax

from apo_sim.claims import judge
from apo_sim.claims._studies import Setting, sampled, uniform_bandits
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.estimate import Estimate
from apo_sim.statistics import percentile_ends, resampled_rows
from apo_sim.studies.caption import caption

ARMS, BETAS, ALPHA, ITERATIONS = 10, (1.0, 5.0), 0.9, 20
HORIZONS, JUDGED, FEWER = (3, 10, 20), 100, 10
PLANTED = 0.5
EXTRAPOLATION, AVERAGING, FEW_LABELS = range(3)


@claim(
    id="V3",
    title="Averaging controls the error, extrapolation amplifies it",
    source="reviews",
    statement=r"At equal $\gamma_T$ the moving average $h_t = \alpha h_{t-1} + (1-\alpha)\,"
    r"(\hat\pi_t - \pi_{t-1})$ leaves a smaller mean statistical error $|\mathrm{gap} - "
    r"\mathrm{gap}^*|$ than extrapolation by $\alpha$ ($\mathrm{gap}^*$: with exact preferences; "
    rf"$\alpha = {ALPHA}$, $N = {JUDGED}$).",
    control="averaging given a tenth of the labels",
    power=f"the mean difference set to {100 * PLANTED:.0f} % of extrapolation's error, in "
    "averaging's favour, in every cell; its scatter left as it is",
    scope=Scope(
        "where",
        "random bandits, uniform rewards and reference",
        arms=ARMS,
        iterations=HORIZONS,
        beta=BETAS,
        samples=JUDGED,
        alpha=ALPHA,
    ),
)
def averaging_against_extrapolation(study: Study) -> Finding:
    r"""Map where averaged updates have a smaller statistical error than extrapolated ones.

    Problem: averaging with beta (1 - alpha) gives every reward the weight that extrapolation with
    beta gives it (N19), so that with exact preferences the two are one path, and no reward is
    amplified in one and not in the other. What is left, and is compared here, is who collects the
    data: averaging its own output, extrapolation the policy one step beyond.

    Method: the distance of the gap from that of exact preferences, paired over seeds (same
    bandit, same keys), at two beta after 3, 10 and 20 updates; Student's intervals corrected for
    the six cells.

    Guarantee: statistical. At equal beta averaging is slower by 1 - alpha, which is its whole
    advantage in noise.

    Reference: the paper's reviews; MoVI (Vieillard et al. 2020) for the average.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V3").source
        'reviews'
    """
    error = _measured(dataclasses.replace(study, variant="stated"))
    cells = {}
    for row, beta in enumerate(BETAS):
        for place, t in enumerate(HORIZONS):
            here = error[row, :, :, place]
            averaged = here[FEW_LABELS if study.wrong else AVERAGING]
            difference = averaged - here[EXTRAPOLATION]
            if study.planted:
                difference += -difference.mean() - PLANTED * here[EXTRAPOLATION].mean()
            cells[f"β = {beta:g}, T = {t}"] = difference
    facts = _facts(error)
    early, late = (
        facts[f"averaging over extrapolation, β = {BETAS[0]:g}, T = {t}"]
        for t in (HORIZONS[0], HORIZONS[-1])
    )
    return judge.where(
        judge.estimates(cells),
        unit="cells where averaging has the smaller statistical error",
        instances=error.shape[0] * 2 * error.shape[2],
        facts=facts,
        note=r"Both weigh every reward alike (N19); they differ by who collects the data. "
        rf"At $\beta = {BETAS[0]:g}$ averaging's error is {early:.2f} times extrapolation's at T = "
        f"{HORIZONS[0]} and {late:.1f} times at T = {HORIZONS[-1]}, over {error.shape[2]:,} seeds.",
        draw=lambda figure: _draw(figure, error),
    )


# The claim and its controls look at the same runs.
@functools.lru_cache(maxsize=1)
def _measured(study: Study) -> np.ndarray:
    """Statistical errors (beta, rule, seeds, T): extrapolation, averaging, that with few labels."""
    settings = [
        setting
        for beta in BETAS
        for setting in (
            Setting(JUDGED, beta, ALPHA),
            Setting(JUDGED, beta * (1 - ALPHA), ALPHA, "averaging"),
            Setting(FEWER, beta * (1 - ALPHA), ALPHA, "averaging"),
        )
    ]
    bandits = uniform_bandits(study.subkey(0), study.pick(1000, 6_000), ARMS)
    runs = sampled(study.subkey(1), settings, bandits, ITERATIONS)
    shown = np.array(HORIZONS)
    # Averaging outputs the policies that it collects data from.
    averaging = np.array([setting.rule == "averaging" for setting in settings])
    outputs = np.where(averaging[:, None, None, None], runs.behaviour, runs.log_policy)
    gamma = runs.gamma[np.flatnonzero(~averaging)].repeat(3, axis=0)[..., shown - 1, None]
    reward = runs.true_reward[None, :, None]
    exact = softmax(gamma * reward + runs.log_ref[None, :, None], axis=-1)
    error = np.abs(np.sum((np.exp(outputs[:, :, shown]) - exact) * reward, axis=-1))
    return error.reshape(len(BETAS), 3, *error.shape[1:])


def _facts(error: np.ndarray) -> dict[str, Estimate]:
    """The ratio of the mean errors, with intervals for all cells at once."""
    seeds = error.shape[2]
    rows = resampled_rows(seeds, draws=4000)
    confidence = judge.together(len(BETAS) * len(HORIZONS))
    found = {}
    for row, beta in enumerate(BETAS):
        for place, t in enumerate(HORIZONS):
            first, second = error[row, AVERAGING, :, place], error[row, EXTRAPOLATION, :, place]
            ratios = first[rows].mean(axis=1) / second[rows].mean(axis=1)
            low, high = map(float, percentile_ends(ratios, confidence))
            found[f"averaging over extrapolation, β = {beta:g}, T = {t}"] = Estimate(
                float(first.mean() / second.mean()), low, high, "ratio", seeds
            )
    return found


def _draw(figure: Figure, error: np.ndarray) -> None:
    """Mean errors of both rules, and the ratio."""
    caption(
        figure,
        f"K = {ARMS}, α = {ALPHA}, N = {JUDGED}; means over {error.shape[2]:,} seeds; bars: 95 % "
        "bootstrap intervals, corrected for the six cells",
    )
    left, right = figure.subplots(1, 2)
    x, facts = np.arange(len(HORIZONS)), _facts(error)
    handles = []
    for row, (beta, colour) in enumerate(zip(BETAS, ("C3", "C0"), strict=True)):
        for rule, style, label in (
            (EXTRAPOLATION, "o-", "extrapolation"),
            (AVERAGING, "s--", "averaging"),
        ):
            left.plot(x, error[row, rule].mean(axis=0), style, color=colour, ms=5)
            label = rf"{label}, $\beta = {beta:g}$"
            handles.append(
                Line2D([], [], color=colour, ls=style[1:], marker=style[0], ms=5, label=label)
            )
        ratios = np.array(
            [
                facts[f"averaging over extrapolation, β = {beta:g}, T = {t}"].figures
                for t in HORIZONS
            ]
        ).T
        ends = [ratios[0] - ratios[1], ratios[2] - ratios[0]]
        right.errorbar(x + 0.1 * (row - 0.5), ratios[0], ends, fmt="o", color=colour)
    right.axhline(1.0, color="0.6", lw=1)
    for axes in (left, right):
        axes.set(xlabel="updates $T$", xlim=(-0.5, len(HORIZONS) - 0.5))
        axes.set_xticks(x, [str(t) for t in HORIZONS])
    left.set(ylabel="reward", title="statistical error of the gap", yscale="log")
    right.set(title="averaging over extrapolation")
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
