"""Table 3: momentum from the policy before extrapolation, or from the one after."""

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
    worst,
)
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study

ARMS, ITERATIONS, SAMPLES, BETA = 5, 20, 300.0, 5.0
ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
RULES = ("extrapolation", "from behaviour")
STABLE = ALPHAS.index(0.3)


@claim(
    id="Tab3",
    title="Momentum from the output is more stable",
    source="paper",
    statement=r"Momentum $\hat\pi_{t+1} - \pi_t$ scatters more than $\hat\pi_{t+1} - \hat\pi_t$, "
    r"and of all $\alpha$ from 0.1 to 0.6 the steadiest is 0.3: the standard deviation over data "
    r"of the gap after two updates and extrapolations.",
    control="momentum from the output given a hundredth of the labels",
)
def steadier_momentum(study: Study) -> Finding:
    r"""Compare the scatter over data of the two variants of momentum, bandit by bandit.

    Problem: random bandits of five arms, N = 300, beta = 5; pi_2 after extrapolation, which is
    what the table evaluates.

    Method: many draws of the data for each bandit; the standard deviations of the gap on the same
    bandit are paired. Two parts, the scatter of the variants at alpha = 0.3 and alpha = 0.3
    against its rivals; the verdict is the worse.

    Guarantee: statistical, for bandits; the table is of one language model and one run a cell.

    Reference: Table 3 of the paper.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("Tab3").source
        'paper'
    """
    count, draws = study.pick((20, 8), (100, 40))
    reward, log_ref = uniform_bandits(study.subkey(0), count, ARMS)
    bandits = np.repeat(reward, draws, axis=0), np.repeat(log_ref, draws, axis=0)
    labels = {"extrapolation": SAMPLES / 100 if study.wrong else SAMPLES}
    settings = [Setting(labels.get(r, SAMPLES), BETA, a, r) for r in RULES for a in ALPHAS]
    runs = sampled(study.subkey(1), settings, bandits, ITERATIONS)
    regret = bandits[0].max(axis=1, keepdims=True) - bandits[0]
    gaps = np.einsum("sntk,nk->snt", np.exp(runs.behaviour), regret)
    gaps = gaps.reshape(len(RULES), len(ALPHAS), count, draws, ITERATIONS + 1)
    scatter = gaps.std(axis=3, ddof=1)  # (rules, alphas, bandits, T + 1)
    second = scatter[..., 2]
    best = [ALPHAS[i] for i in np.argmin(gaps[0].mean(axis=(1, 2)), axis=0)]
    rows = bootstrap(study.rng(2), count)
    steadiest = ALPHAS[int(np.argmin(second[0].mean(axis=1)))]
    ratio = second[1, STABLE].mean() / second[0, STABLE].mean()
    again = second[1, STABLE][rows].mean(axis=1) / second[0, STABLE][rows].mean(axis=1)
    behind, ahead = scatter[1, STABLE, :, 10], scatter[0, STABLE, :, 10]
    later = behind[rows].mean(axis=1) / ahead[rows].mean(axis=1)
    tenth = behind.mean() / ahead.mean()
    shared = {
        "unit": "standard deviation of the gap (reward)",
        "note": rf"From $\pi_t$ the scatter is {ratio:.2f} [{percentiles(again)[0]:.2f}, "
        rf"{percentiles(again)[1]:.2f}] times that from $\hat\pi_t$ at $\alpha = 0.3$, t = 2, "
        rf"and {tenth:.2f} [{percentiles(later)[0]:.2f}, {percentiles(later)[1]:.2f}] times "
        rf"at t = 10, where it is behind (it is plain iteration with $\beta/(1+\alpha)$). "
        rf"The steadiest $\alpha$ at t = 2 is {steadiest:g}, the best are "
        rf"{best[1]:g}, {best[2]:g}, {best[3]:g}, {best[10]:g} at t = 1, 2, 3, 10 "
        rf"({count} bandits, {draws} draws each).",
        "draw": lambda figure: _draw(figure, scatter),
    }
    witness = {"alphas": ALPHAS, "scatter": second.mean(axis=2)}
    rivals = [second[0, i] for i in range(len(ALPHAS)) if i != STABLE]
    findings = [judge.compare(second[0, STABLE], second[1, STABLE], witness=witness, **shared)]
    findings += [judge.compare(second[0, STABLE], r, witness=witness, **shared) for r in rivals]
    return worst(findings)


def _draw(figure: Figure, scatter: np.ndarray) -> None:
    for axes, t in zip(figure.subplots(1, 2), (2, 10), strict=True):
        for rule, (colour, label) in enumerate(
            (("C0", r"from $\hat\pi_t$ (the method)"), ("C1", r"from $\pi_t$"))
        ):
            mean, low, high = mean_band(scatter[rule, ..., t])
            axes.fill_between(ALPHAS, low, high, color=colour, alpha=0.2, lw=0)
            axes.plot(ALPHAS, mean, "o-", color=colour, label=label)
        axes.axvline(0.3, color="0.5", ls="--", lw=1)
        axes.set(xlabel=r"extrapolation $\alpha$", ylabel="scatter of the gap (reward)")
        axes.set(title=f"after {t} updates and extrapolations", ylim=(0, None))
        axes.legend(loc="lower left")
