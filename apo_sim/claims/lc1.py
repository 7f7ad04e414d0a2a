"""Lemma C.1: the statistical error of the policy, with the coverage coefficient as printed."""

import dataclasses
import functools

import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims._studies import Setting
from apo_sim.claims._two_arms import (
    COVERAGE,
    FIT,
    GAP,
    Outcome,
    every_data_set,
    log_bound,
    two_arms,
)
from apo_sim.claims.adaptive import until_decided
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study

BETAS = np.array([0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.003])
# The lemma is judged where the printed bound is exceeded by a factor of some hundreds. At smaller
# beta the factor has no limit, so that there no constant in front of the bound would mend it.
JUDGED = 4
SAMPLES, DELTA, ALPHA, HORIZON = 5, 0.05, 0.0, 1
MISTAKE = 4.0  # decimal orders that the negative control takes off the repaired bound


@claim(
    id="LC.1",
    title="Statistical error of the policy, Bradley-Terry",
    source="paper",
    statement=r"With $\kappa_t = \max_{x,y} \hat\pi_T(y|x)\,\pi^*_T(y|x) / \pi_t(y|x)^2$ and "
    r"probability at least $1 - \delta$: "
    r"$$D_{TV}(\hat\pi_T, \pi^*_T) \le \frac{1}{\sigma'(1+R)} "
    r"\sqrt{\frac{T \sum_t \kappa_t \log(T|\Pi|/\delta)}{N \beta^2 (1-\alpha)^2}}.$$",
    scope=Scope(
        "with probability",
        rf"two arms, reward gap {GAP}, uniform reference, $\delta = {DELTA}$",
        arms=2,
        iterations=HORIZON,
        beta=BETAS[JUDGED],
        samples=SAMPLES,
        alpha=ALPHA,
    ),
    repair=r"$\kappa_t = \max_x \left[\max_y \frac{\pi^*_T}{\pi_t} \cdot \max_{y'} "
    r"\frac{\hat\pi_T}{\pi_t}\right]$, and the factor 2 of Lemma E.1 under the root",
    control=rf"the repaired bound divided by $10^{MISTAKE:.0f}$",
    defect=COVERAGE,
    errata=r"The lemma needs $\max_y \frac{\pi^*_T}{\pi_t} \cdot \max_{y'} "
    r"\frac{\hat\pi_T}{\pi_t}$, two maxima, where (4.1) takes one maximum of the product. With "
    r"(4.1) it is false: two arms, five pairs and a small $\beta$ put $\hat\pi_T$ and $\pi^*_T$ "
    r"on different arms while $\kappa_t \to 0$, far more often than $\delta$ allows.",
)
def policy_error(study: Study) -> Finding:
    r"""Judge how often the distance of a sampled run to the exact one exceeds Lemma C.1's bound.

    Problem: two arms, reward gap 1/2, uniform reference, T = 1, N = 5, beta = 0.02, and a finite
    class of policies, so that log|Pi| and R are literal and every assumption of the lemma holds.

    Method: `apo.run` over many seeds; the failure rate is held against delta with a
    Clopper-Pearson interval. Beside it, the probability of failure from all data sets there are,
    without a run.

    Guarantee: false as printed, by a factor that grows without limit as beta falls: a larger
    constant would not mend it. With two separate maxima (and the factor 2 of Lemma E.1) the same
    runs never exceed the bound, which is then far above 1.

    Reference: Lemma C.1 and (4.1) of the paper; the counterexample is ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("LC.1").source
        'paper'
    """
    return until_decided(study, functools.partial(_look, study), quick=200, full=5000)


def _look(study: Study, seeds: int, confidence: float) -> Finding:
    outcomes = _runs(dataclasses.replace(study, variant="stated"), seeds)
    chosen = outcomes[JUDGED]
    failing = chosen.log_distance > log_bound(chosen, study, MISTAKE)
    printed, corrected = (
        np.array([getattr(o, name) for o in outcomes]) for name in ("log_printed", "log_corrected")
    )
    log_distance = np.array([o.log_distance for o in outcomes])
    above = int(np.sum(log_distance > corrected))
    excess = np.max(log_distance - printed, axis=1)
    exact = _exact(BETAS[JUDGED])
    at = int(np.argmax(failing))
    return dataclasses.replace(
        judge.failure_rate(
            int(failing.sum()),
            seeds,
            DELTA,
            confidence=confidence,
            witness={
                "reward": [GAP / 2, -GAP / 2],
                "reference": [0.5, 0.5],
                "beta": BETAS[JUDGED],
                "samples": SAMPLES,
                "iterations": HORIZON,
                "fitted_difference_at_most": 2 * FIT,
                "log_class_size": chosen.log_class,
                "reward_bound": chosen.reward_bound,
                "distance": chosen.distance[at],
                "log10_of_the_bound_there": log_bound(chosen, study, MISTAKE)[at],
            },
            note=rf"With the two maxima apart, {above} of {corrected.size} runs exceed the bound, "
            rf"which is then never below $10^{{{corrected.min():.1f}}}$: repaired, but empty. From "
            rf"all data sets there are, the probability of failure is {exact:.4f}. The "
            rf"printed bound is too small by $10^{{{excess[JUDGED]:.1f}}}$ here and by "
            rf"$10^{{{excess[-1]:.0f}}}$ at $\beta = {BETAS[-1]:g}$, so that no constant mends it.",
            draw=lambda figure: _draw(figure, outcomes),
        ),
        facts={
            "exact failure probability": exact,
            "orders by which the printed bound is too small": excess[JUDGED],
            f"the same at β = {BETAS[-1]:g}": excess[-1],
            "runs above the repaired bound": above,
            "runs held against the repaired bound": corrected.size,
            "log10 of the lowest repaired bound": corrected.min(),
        },
    )


# The variants of the check judge the same runs.
@functools.lru_cache(maxsize=4)
def _runs(study: Study, seeds: int) -> list[Outcome]:
    settings = [Setting(SAMPLES, float(beta), ALPHA) for beta in BETAS]
    found = two_arms(study.key, seeds, settings, [HORIZON], DELTA)
    return [outcome for (outcome,) in found]


def _exact(beta: float) -> float:
    """The probability that the printed bound fails, from every data set."""
    probability, outcome = every_data_set(Setting(SAMPLES, float(beta), ALPHA), DELTA)
    return float(probability[outcome.log_distance > outcome.log_printed].sum())


def _draw(figure: Figure, outcomes: list[Outcome]) -> None:
    left, right = figure.subplots(1, 2)
    for name, colour, label in (
        ("log_printed", "C1", r"printed $\kappa$"),
        ("log_corrected", "C2", r"corrected $\kappa$"),
    ):
        logs = np.array([getattr(outcome, name) for outcome in outcomes])
        left.fill_between(BETAS, logs.min(axis=1), logs.max(axis=1), color=colour, alpha=0.25, lw=0)
        left.plot(BETAS, logs.min(axis=1), color=colour, label=f"lowest bound, {label}")
    left.axhline(0.0, color="0.5", ls="--", lw=1, label="largest possible distance")
    left.axvline(BETAS[JUDGED], color="0.7", lw=1)
    left.set(xscale="log", xlabel=r"proximal weight $\beta$", ylabel=r"$\log_{10}$ total variation")
    left.set(title="bounds: all runs, and the lowest", ylim=(-20, 8))
    left.invert_xaxis()
    left.legend(loc="lower left")
    seeds = outcomes[0].gap.size
    failures = [int(np.sum(o.log_distance > o.log_printed)) for o in outcomes]
    rates = np.array(failures) / seeds
    ends = np.array([judge.clopper_pearson(count, seeds) for count in failures]).T
    fine = np.geomspace(BETAS[0], BETAS[-1], 100)
    exact = [_exact(beta) for beta in fine]
    right.plot(fine, exact, color="0.6", label="probability, from all data sets")
    right.errorbar(
        BETAS,
        rates,
        np.abs(ends - rates),
        fmt="o",
        color="C0",
        label="runs, 95 %, each β by itself",
    )
    right.axhline(DELTA, color="C1", label=r"allowed, $\delta$")
    right.axvline(BETAS[JUDGED], color="0.7", lw=1)
    right.text(BETAS[JUDGED] * 0.93, 0.12, "judged here", color="0.4")
    right.set(
        xscale="log", xlabel=r"proximal weight $\beta$", ylabel="share of runs above the bound"
    )
    right.set(title="failures of the printed lemma", ylim=(-0.01, 0.45))
    right.invert_xaxis()
    right.legend(loc="upper left")
