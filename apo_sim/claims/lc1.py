"""Lemma C.1: the statistical error of the policy, with the coverage coefficient as printed."""

import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims._studies import Setting
from apo_sim.claims._two_arms import GAP, two_arms
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study

BETAS = np.geomspace(0.2, 0.003, 9)
SAMPLES, DELTA = 5, 0.05


@claim(
    id="LC.1",
    title="Statistical error of the policy, Bradley-Terry",
    source="paper",
    statement=r"With $\kappa_t = \max_{x,y} \hat\pi_T(y|x)\,\pi^*_T(y|x) / \pi_t(y|x)^2$ and "
    r"probability at least $1 - \delta$: "
    r"$$D_{TV}(\hat\pi_T, \pi^*_T) \le \frac{1}{\sigma'(1+R)} "
    r"\sqrt{\frac{T \sum_t \kappa_t \log(T|\Pi|/\delta)}{N \beta^2 (1-\alpha)^2}}.$$",
    control=r"the bound divided by $10^6$ (the check must then count more failures, not fewer)",
    errata=r"The lemma needs $\max_y \frac{\pi^*_T}{\pi_t} \cdot \max_{y'} "
    r"\frac{\hat\pi_T}{\pi_t}$, two maxima, where (4.1) takes one maximum of the product. With "
    r"(4.1) it is false: two arms, five pairs and a small $\beta$ put $\hat\pi_T$ and $\pi^*_T$ "
    r"on different arms while $\kappa_t \to 0$, far more often than $\delta$ allows.",
)
def policy_error(study: Study) -> Finding:
    r"""Judge how often the distance of a sampled run to the exact one exceeds Lemma C.1's bound.

    Problem: two arms, reward gap 1/2, uniform reference, T = 1, N = 5, and a finite class of
    policies, so that log|Pi| and R are literal and every assumption of the lemma holds.

    Method: `apo.run` over many seeds; the failure rate is held against delta with a
    Clopper-Pearson interval, at the smallest of several beta.

    Guarantee: false as printed. With two separate maxima (and the factor 2 of Lemma E.1) the same
    runs never exceed the bound, which is then far above 1.

    Reference: Lemma C.1 and (4.1) of the paper; the counterexample is ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("LC.1").source
        'paper'
    """
    settings = [Setting(SAMPLES, float(beta)) for beta in BETAS]
    seeds = study.pick(200, 5000)
    outcomes = two_arms(study.key, seeds, settings, horizon=1, delta=DELTA)
    lowered = 6.0 if study.wrong else 0.0
    log_distance = np.log10([np.maximum(o.distance, 1e-300) for o in outcomes])
    printed = np.array([o.log_printed for o in outcomes]) - lowered
    corrected = np.array([o.log_corrected for o in outcomes])
    failures = np.sum(log_distance > printed, axis=1)
    repaired = int(np.sum(log_distance > corrected))
    last = outcomes[-1]
    return judge.failure_rate(
        int(failures[-1]),
        seeds,
        DELTA,
        witness={
            "reward": [GAP / 2, -GAP / 2],
            "reference": [0.5, 0.5],
            "beta": BETAS[-1],
            "samples": SAMPLES,
            "iterations": 1,
            "log_class_size": last.log_class,
            "reward_bound": last.reward_bound,
            "largest_distance": last.distance.max(),
            "log10_of_the_bound_there": printed[-1][np.argmax(last.distance)],
        },
        note=rf"With the two maxima apart, {repaired} of {corrected.size} runs exceed the bound, "
        rf"which is then never below $10^{{{corrected.min():.1f}}}$: repaired, but empty. The "
        r"class holds the policies that the data can lead to and the exact ones.",
        draw=lambda figure: _draw(figure, failures / seeds, seeds, printed, corrected),
    )


def _draw(figure: Figure, rates, seeds, printed, corrected) -> None:
    left, right = figure.subplots(1, 2)
    for logs, colour, label in (
        (printed, "C1", r"bound, printed $\kappa$"),
        (corrected, "C2", r"bound, corrected $\kappa$"),
    ):
        low, high = np.percentile(logs, [2.5, 97.5], axis=1)
        left.fill_between(BETAS, low, high, color=colour, alpha=0.25, lw=0)
        left.plot(BETAS, np.min(logs, axis=1), color=colour, label=label)
    left.axhline(0.0, color="0.5", ls="--", lw=1, label="largest possible distance")
    left.set(xscale="log", xlabel=r"proximal weight $\beta$", ylabel=r"$\log_{10}$ total variation")
    left.set(title="lowest bound met, and 95 % of runs", ylim=(max(printed.min(), -20), 8))
    left.invert_xaxis()
    left.legend(loc="lower left")
    ends = np.array([judge.clopper_pearson(round(r * seeds), seeds) for r in rates]).T
    right.fill_between(BETAS, *ends, color="C0", alpha=0.25, lw=0)
    right.plot(BETAS, rates, "o-", label="measured, 95 % interval")
    right.axhline(DELTA, color="C1", label=r"allowed, $\delta$")
    right.set(
        xscale="log", xlabel=r"proximal weight $\beta$", ylabel="share of runs above the bound"
    )
    right.set(title="failures of the printed lemma")
    right.invert_xaxis()
    right.legend(loc="upper left")
