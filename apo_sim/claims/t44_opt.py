"""Theorem 4.4, optimisation term: the gap with exact preferences."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import instances, judge
from apo_sim.claims.registry import claim
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
    control=r"only $p$ below the threshold, where (C.8) is true, and the bound divided by two",
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
    counted beside it.

    Guarantee: false for p > 1/(1 + e^(1/e)); below, loose by a factor that grows towards small
    p only slowly. Log(1/p)/gamma always holds; W_0((1 - p)/(e p))/gamma is sharp.

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
    judged = np.flatnonzero(p[: GRID.size] < THRESHOLD) if study.wrong else np.arange(GRID.size)
    return judge.upper_bound(
        (gamma * gap)[judged],
        (gamma * printed)[judged] / (2 if study.wrong else 1),
        witness=lambda worst: (
            tried.witness(int(judged[worst]))
            | {"p": p[judged[worst]], "gap": gap[judged[worst]], "bound": printed[judged[worst]]}
        ),
        unit="gamma times reward",
        instances=p.size,
        note=f"{violates.sum():,} of {violates.size:,} random bandits violate (C.8), all with "
        f"$p$ above {p[random][violates].min():.3f} (threshold {THRESHOLD:.3f}). Over all bandits "
        rf"the gap is at most {(gap / gibbs).max():.3f} of $\log(1/p)/\gamma_T$ and "
        f"{(gap / sharp).max():.6f} of the sharp bound.",
        draw=_figure(p, gap * gamma),
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
