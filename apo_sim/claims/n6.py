"""N6: with few labels, momentum beats its matched plain control."""

import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import judge
from apo_sim.claims._studies import Setting, mean_band, sampled, uniform_bandits, worst
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study

ALPHA, BETA = 0.9, 5.0
SAMPLES = (30, 100, 300, 1000, 10_000, 100_000)
SMALL = (100, 300, 1000)  # where the claim is made
FEW, FAST = 30, 1.0  # the pairs and the beta at which momentum loses to plain updates


@claim(
    id="N6",
    title="With few labels, momentum beats a matched smaller beta",
    source="ours",
    statement=r"At equal $\gamma_T$, equal labels, $\beta = 5$, $\alpha = 0.9$ and $N$ from 100 to "
    r"1,000: $$E\,\mathrm{gap}(\text{APO}) < E\,\mathrm{gap}(\text{plain, } "
    r"\beta_t = \beta\tfrac{1-\alpha}{1-\alpha^{t+1}}),$$ because momentum puts its small weights "
    r"on the late updates, whose data cover little.",
    control="the two methods swapped",
)
def beats_matched(study: Study) -> Finding:
    r"""Compare momentum with plain updates that accumulate the same gamma, seed by seed.

    Problem: random bandits, uniform rewards and reference. With exact preferences both methods
    are the same path (N1), so that whatever differs comes from the data.

    Method: paired differences of the gap over seeds (same bandit, same keys), Student's interval;
    the verdict is that of the worst of the three N.

    Guarantee: statistical. Momentum is not always good: with few labels and a small beta it loses
    to plain updates at the same beta.

    Reference: ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N6").source
        'ours'
    """
    arms, iterations, seeds = study.pick((5, 20, 200), (10, 20, 300))
    matched = np.asarray(theory.matched_beta(ALPHA, BETA, iterations))
    settings = [
        s for n in SAMPLES for s in (Setting(n, BETA, ALPHA), Setting(n, matched), Setting(n, BETA))
    ]
    lost = [Setting(FEW, FAST, ALPHA), Setting(FEW, FAST)]
    bandits = uniform_bandits(study.subkey(0), seeds, arms)
    runs = sampled(study.subkey(1), settings + lost, bandits, iterations)
    final = runs.gap[:, :, -1]
    gaps = final[: len(settings)].reshape(len(SAMPLES), 3, seeds)
    findings = []
    for n in SMALL:
        apo, control, _ = gaps[SAMPLES.index(n)]
        pair = (control, apo) if study.wrong else (apo, control)
        findings.append(
            judge.compare(
                *pair,
                unit="gap, momentum minus matched (reward)",
                witness={"samples": n, "momentum": apo.mean(), "matched": control.mean()},
                note=_note(n, arms, iterations, gaps, final[len(settings) :]),
                draw=lambda figure: _draw(figure, gaps),
            )
        )
    return worst(sorted(findings, key=lambda finding: -float(finding.measured or 0.0)))


def _note(n: int, arms: int, iterations: int, gaps: np.ndarray, lost: np.ndarray) -> str:
    apo, matched, plain = gaps[SAMPLES.index(n)].mean(axis=1)
    low, high = judge.mean_interval(lost[0] - lost[1])
    return (
        f"Shown is the least clear of the three, N = {n}: gap {apo:.4f} with momentum, "
        f"{matched:.4f} matched, {plain:.4f} plain (K = {arms}, T = {iterations}). "
        rf"With N = {FEW} and $\beta = {FAST:g}$ momentum differs from plain updates by "
        f"{np.mean(lost[0] - lost[1]):+.3f} [{low:+.3f}, {high:+.3f}]."
    )


def _draw(figure: Figure, gaps: np.ndarray) -> None:
    left, right = figure.subplots(1, 2)
    series = ((0, "C0", rf"momentum, $\alpha = {ALPHA}$"), (1, "0.5", "plain, matched weight"))
    for index, colour, label in (*series, (2, "C4", r"plain, same $\beta$")):
        mean, low, high = mean_band(gaps[:, index])
        left.fill_between(SAMPLES, low, high, color=colour, alpha=0.25, lw=0)
        left.plot(SAMPLES, mean, "o-", color=colour, label=label)
    left.set(xscale="log", yscale="log", xlabel="preference pairs an iteration, $N$")
    left.set(ylabel="gap (reward)", title="mean gap", ylim=(gaps.mean(axis=2).min() / 4, None))
    left.legend(loc="lower left")
    mean, low, high = mean_band(gaps[:, 0] - gaps[:, 1])
    right.fill_between(SAMPLES, low, high, color="C0", alpha=0.25, lw=0)
    right.plot(SAMPLES, mean, "o-", color="C0")
    right.axhline(0.0, color="0.5", ls="--", lw=1)
    right.text(SAMPLES[-1], 0.0, "the same", color="0.4", ha="right", va="bottom", fontsize=8)
    right.set(xscale="log", xlabel="preference pairs an iteration, $N$")
    right.set(ylabel="gap (reward)", title="momentum minus matched, paired")
