"""Theorem 4.4, optimisation term: the gap with exact preferences."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import instances, judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study

# Where W_0((1-p)/(e p)) = log((1-p)/p): above it (C.8) is too small.
THRESHOLD = 1 / (1 + np.exp(1 / np.e))
GRID = np.array([1e-6, 1e-4, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.42, 0.45, 0.5, 0.6, 0.75, 0.9])


@claim(
    id="T4.4-opt",
    title="Gap of exact preferences",
    source="paper",
    statement=r"With exact preferences and reference mass $p$ on the best arm, as the proof has it "
    r"in (C.8): $$\mathrm{gap}(\hat\pi_T) \le \frac{1}{\gamma_T}\log\frac{1-p}{p}, \qquad "
    r"\gamma_T = \frac{1}{\beta}\sum_{k=1}^{T}\frac{1-\alpha^k}{1-\alpha},$$ "
    r"which gives the rate $\tilde O((1-\alpha)\beta/T)$ of the theorem.",
    scope=Scope(
        "for all",
        "any rewards in [-1, 1] and references, climbed to and random, with $p$ from 1e-09 to "
        "0.999",
        arms=instances.ARMS,
        iterations=instances.ITERATIONS,
        beta="from 0.03 to 30",
        samples="exact",
        alpha="from 0 to 0.999",
    ),
    repair=r"the bound $\log(1/p)/\gamma_T$",
    control=r"the bound $\log(1/p)/(2\gamma_T)$",
    errata=r"(C.8) is too small for every $p > 1/(1 + e^{1/e}) \approx 0.409$, where the "
    r"function it integrates turns positive, and negative for $p > 1/2$. "
    r"$\log(1/p)/\gamma_T$ holds for every $p$, and the sharp constant is "
    r"$W_0((1-p)/(e\,p))$ (N2), so the theorem's rate stands. Its factor $1 - \alpha$ sets in for "
    r"$T \gg 1/(1-\alpha)$ only: after one update all $\alpha$ give the same policy.",
)
def printed_rate(study: Study) -> Finding:
    r"""Judge gap(pi_hat_T) <= log((1 - p)/p) / gamma_T with exact preferences.

    Problem: the largest gap over rewards and references with mass p on the best arm. An
    adversary climbs the gap through the loop at every p of a grid, and random bandits are
    tried beside it.

    Guarantee: false for p > 1/(1 + e^(1/e)); below, true, and loose by a factor that grows
    towards small p only slowly. Log(1/p)/gamma always holds; W_0((1 - p)/(e p))/gamma is sharp.

    Reference: Theorem 4.4 of the paper, (C.8) of its proof; the corrections are ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> "0.409" in describe("T4.4-opt").errata
        True
    """
    climbed, _ = instances.climb(
        study, _log_gap, np.log(GRID), steps=study.pick(quick=400, full=2000)
    )
    drawn = instances.random(study.rng(0), study.pick(quick=20_000, full=500_000))
    tried = instances.join(climbed, drawn)
    solution = instances.solve(tried)
    gap, gamma = solution.suboptimality[:, -1], solution.gamma[:, -1]
    printed, gibbs, sharp = (
        np.asarray(bound(None, gamma, log_p_star=tried.log_p))
        for bound in (theory.gap_printed, theory.gap_gibbs, theory.sharp_gap)
    )
    p = np.exp(tried.log_p)
    random = slice(GRID.size, None)
    violates = (gap - printed > 1e-9 * np.abs(printed))[random]
    bound = gibbs if study.repaired else gibbs / 2 if study.wrong else printed
    lowest = float(p[random][violates].min())
    note = (
        f"{violates.sum():,} of {violates.size:,} random bandits violate (C.8), all with "
        f"$p$ above {lowest:.3f} (threshold {THRESHOLD:.3f}). Over all bandits "
        rf"the gap is at most {(gap / gibbs).max():.3f} of $\log(1/p)/\gamma_T$ and "
        f"{(gap / sharp).max():.6f} of the sharp bound."
    )

    def judged(first: int, last: int) -> Finding:
        """The verdict on some of the bandits; of two that fail, the climbed one is reported."""
        return judge.upper_bound(
            (gamma * gap)[first:last],
            (gamma * bound)[first:last],
            witness=lambda worst: (
                tried.witness(first + worst)
                | {name: float(v[first + worst]) for name, v in figures.items()}
            ),
            unit="gamma times reward",
            instances=p.size,
            note=note,
            draw=_figure(p, gap * gamma),
        )

    figures = {"p": p, "gap": gap, "bound": bound}
    finding = judge.worst([judged(0, GRID.size), judged(GRID.size, p.size)])
    return dataclasses.replace(
        finding,
        facts={
            "random bandits that violate (C.8)": int(violates.sum()),
            "random bandits": violates.size,
            "smallest p of a violation": lowest,
            "threshold": THRESHOLD,
            "largest gap / (log(1/p) / gamma)": float((gap / gibbs).max()),
            "largest gap / sharp bound": float((gap / sharp).max()),
        },
    )


def _log_gap(bandit: Any, solution: Any) -> Any:
    return jnp.log(solution.gamma[-1] * solution.suboptimality[-1])


def _figure(p: np.ndarray, scaled: np.ndarray):
    line = np.linspace(0.005, 0.995, 400)
    printed, gibbs, sharp = (
        np.asarray(bound(line, 1.0))
        for bound in (theory.gap_printed, theory.gap_gibbs, theory.sharp_gap)
    )
    dots = np.arange(GRID.size, GRID.size + 3000)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axvspan(THRESHOLD, 1, color="C1", alpha=0.07, linewidth=0)
        axes.text(THRESHOLD + 0.01, 2.75, "here (C.8) is false", color="C1")
        axes.plot(p[dots], scaled[dots], ".", color="C0", alpha=0.35, markersize=3)
        axes.plot(line, printed, color="C1", label=r"(C.8), $\log((1-p)/p)$")
        axes.plot(line, gibbs, color="0.5", linestyle="--", label=r"$\log(1/p)$")
        axes.plot(line, sharp, color="C2", label=r"sharp, $W_0((1-p)/(e\,p))$")
        axes.plot(GRID, scaled[: GRID.size], "o", color="C0", label="worst bandit found, run")
        axes.plot([], [], ".", color="C0", alpha=0.5, label="random bandits, run")
        axes.legend(loc="upper right")
        axes.set(xlim=(0, 1), ylim=(-0.5, 3.0))
        axes.set(xlabel="$p$, reference mass of the best arm", ylabel=r"$\gamma_T\cdot$gap")

    return draw
