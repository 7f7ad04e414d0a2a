"""N20: ExPO's extrapolation multiplies the noise of the log-odds."""

import dataclasses
import functools

import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims._studies import Runs, Setting, sampled, uniform_bandits
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.estimate import Estimate
from apo_sim.statistics import percentile_ends, resampled_rows
from apo_sim.studies.caption import caption

ARMS, BETA, ALPHAS, SAMPLES = 5, 5.0, (0.3, 0.6, 0.9), (100, 1000)
TOLERANCE = 1e-9
UPDATES = 20  # of the runs, so that they share a compiled program with other claims; one is used


@claim(
    id="N20",
    title="ExPO multiplies the noise by 1 + α",
    source="ours",
    statement=r"Extrapolating $\hat\pi_1$ once from $\pi_{\mathrm{ref}}$ multiplies the sampling "
    r"error of every log-odds by $1 + \alpha$: with $\pi_1 \propto \hat\pi_1(\hat\pi_1/"
    r"\pi_{\mathrm{ref}})^\alpha$ and $\pi^*_1$, $\hat\pi^*_1$ the same for exact preferences, "
    r"$$\log\frac{\pi_1(y)}{\pi_1(y')} - \log\frac{\pi^*_1(y)}{\pi^*_1(y')} = (1+\alpha)\Bigl["
    r"\log\frac{\hat\pi_1(y)}{\hat\pi_1(y')} - \log\frac{\hat\pi^*_1(y)}{\hat\pi^*_1(y')}\Bigr].$$",
    control=r"the noise of $\hat\pi_1$ as it is",
    scope=Scope(
        "for all",
        "random bandits, uniform rewards and reference, any data",
        arms=ARMS,
        iterations=1,
        beta=BETA,
        samples=SAMPLES,
        alpha=ALPHAS,
    ),
)
def noise_of_expo(study: Study) -> Finding:
    r"""Judge the sampling error of the log-odds before and after one extrapolation.

    Problem: one update on sampled preferences; the largest difference of the two sides over all
    arms, relative to the largest error of a log-odds of the run.

    Method: both policies of a run against those of exact preferences, whose log-odds are
    r*/beta and (1 + alpha) r*/beta.

    Guarantee: an identity, and no more than step length: one plain update at beta/(1 + alpha) has
    the same policy from the same labels (ExPO). What it does to the gap is measured.

    Reference: ours; ExPO is of Zheng et al. 2024.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N20").source
        'ours'
    """
    runs = _sampled(dataclasses.replace(study, variant="stated"))
    factors = np.repeat([1 + alpha for alpha in ALPHAS], len(SAMPLES))[:, None, None]
    exact = _centred(runs.true_reward / BETA)
    before = _centred(runs.log_policy[:, :, 1]) - exact
    after = _centred(runs.behaviour[:, :, 1]) - factors * exact
    expected = before if study.wrong else factors * before
    largest = np.abs(after).max(axis=2, keepdims=True)
    error = np.abs(after - expected) / np.maximum(largest, np.finfo(float).tiny)
    facts = _facts(runs)
    strongest, few = ALPHAS[-1], SAMPLES[-1]
    ratio, low, high = facts[f"error of the gap, α = {strongest}, N = {few}"].figures
    return dataclasses.replace(
        judge.identity(
            error,
            TOLERANCE,
            witness=lambda worst: {"alpha": ALPHAS[worst // error[: len(SAMPLES)].size]},
            instances=after.shape[0] * after.shape[1],
            note=rf"The mean error of the gap grows nearly as much: at $\beta = {BETA:g}$, "
            rf"N = {few:,}, $\alpha = {strongest}$ by {ratio:.3f} [{low:.3f}, {high:.3f}] in place "
            f"of {1 + strongest:g} ({after.shape[1]} bandits, bootstrap intervals corrected for "
            f"{after.shape[0]} cells).",
            draw=lambda figure: _draw(figure, before, after),
        ),
        facts=facts,
    )


# The claim and its control look at the same runs.
@functools.lru_cache(maxsize=1)
def _sampled(study: Study) -> Runs:
    settings = [Setting(n, BETA, alpha) for alpha in ALPHAS for n in SAMPLES]
    bandits = uniform_bandits(study.subkey(0), study.pick(200, 2_000), ARMS)
    return sampled(study.subkey(1), settings, bandits, UPDATES)


def _centred(log_policy: np.ndarray) -> np.ndarray:
    """Log-odds of every arm against the mean of all, (..., K)."""
    return log_policy - log_policy.mean(axis=-1, keepdims=True)


def _facts(runs: Runs) -> dict[str, Estimate]:
    """By how much the mean error of the gap grows, with ends of intervals for all cells at once."""
    names = [f"error of the gap, α = {alpha}, N = {n}" for alpha in ALPHAS for n in SAMPLES]
    confidence = judge.together(len(names))
    best = runs.true_reward.max(axis=1, keepdims=True)

    def gap(log_policy: np.ndarray) -> np.ndarray:
        return (np.exp(log_policy) * (best - runs.true_reward)).sum(axis=-1)

    def exact(beta: float) -> np.ndarray:
        logits = runs.true_reward / beta
        return gap(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))

    found = {}
    rows = resampled_rows(best.size, draws=4000)
    for place, name in enumerate(names):
        alpha = ALPHAS[place // len(SAMPLES)]
        before = np.abs(gap(runs.log_policy[place, :, 1]) - exact(BETA))
        after = np.abs(gap(runs.behaviour[place, :, 1]) - exact(BETA / (1 + alpha)))
        ratios = after[rows].mean(axis=1) / before[rows].mean(axis=1)
        low, high = map(float, percentile_ends(ratios, confidence))
        found[name] = Estimate(float(after.mean() / before.mean()), low, high, "ratio", best.size)
    return found


def _draw(figure: Figure, before: np.ndarray, after: np.ndarray) -> None:
    caption(
        figure,
        f"K = {ARMS}, β = {BETA:g}, one update; a dot: one arm of one bandit, N = {SAMPLES[0]}; "
        "lines: the identity",
    )
    panels = figure.subplots(1, len(ALPHAS), sharex=True, sharey=True)
    for place, (axes, alpha) in enumerate(zip(panels, ALPHAS, strict=True)):
        row = place * len(SAMPLES)
        x, y = before[row].ravel(), after[row].ravel()
        axes.plot(x, y, ".", color="C0", ms=3, alpha=0.5)
        ends = np.array([x.min(), x.max()])
        axes.plot(ends, (1 + alpha) * ends, color="C2", lw=1)
        axes.set(xlabel=r"error of a log-odds, $\hat\pi_1$", title=rf"$\alpha = {alpha:g}$")
    panels[0].set_ylabel(r"the same after extrapolation, $\pi_1$")
