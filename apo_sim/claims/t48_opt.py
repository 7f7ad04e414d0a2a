"""Theorem 4.8, optimisation term: the total variation with exact preferences."""

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

MASSES = np.array([1e-9, 1e-4, 0.01, 0.1, 0.4, 0.6, 0.95])
# The figure: mass of the best arm, reward gap, proximal weight, and how far it looks.
P, GAP, BETA, HORIZON = 0.1, 0.5, 1.0, 60
ALPHAS = (0.0, 0.6)


@claim(
    id="T4.8-opt",
    title="Total variation of exact preferences",
    source="paper",
    statement=r"With exact preferences, reference mass $p$ on the best arm and a reward gap of "
    r"$\Delta$: $$\mathrm{TV}(\hat\pi_T, \pi^*) \le \sqrt{\frac{e^{-\gamma_T\Delta}}{2\,p}}.$$",
    scope=Scope(
        "for all",
        "any rewards in [-1, 1] and references, random and climbed to, with $p$ from "
        f"{MASSES[0]:g} to 0.999",
        arms=instances.ARMS,
        iterations=f"1 to {instances.ITERATIONS}",
        beta="from 0.03 to 30",
        samples="exact",
        alpha="from 0 to 0.999",
    ),
    control="the bound divided by two",
)
def printed_total_variation(study: Study) -> Finding:
    r"""Judge TV(pi_hat_T, pi*) <= sqrt(exp(-gamma_T Delta) / (2 p)) with exact preferences.

    Problem: the largest mass off the best arm, relative to the bound, over rewards, references
    and how far the run has come.

    Guarantee: holds, and is not tight: Pinsker's inequality costs half of the exponent. For
    p < 1/2 the ratio is largest, sqrt((1 - p)/2), where gamma Delta = log((1 - p)/p), and falls
    to 0 from there on. N3 has the sharp bound, with the whole exponent.

    Reference: Theorem 4.8 of the paper, through (C.9).

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("T4.8-opt").errata is None
        True
    """
    log_p = np.log(MASSES).repeat(3)
    climbed, _ = instances.climb(study, _log_ratio, log_p, steps=study.pick(quick=400, full=2000))
    drawn = instances.random(study.rng(0), study.pick(quick=20_000, full=500_000))
    tried = instances.join(climbed, drawn)
    solution = instances.solve(tried)
    gap, log_p_star = tried.gap[:, None], tried.log_p[:, None]
    bound = np.asarray(theory.tv_printed(None, gap, solution.gamma, log_p_star=log_p_star))
    bound = bound / 2 if study.wrong else bound
    exponents, draw = _long_run()
    finding = judge.upper_bound(
        solution.tv,
        bound,
        trivial=1.0,
        witness=lambda worst: tried.witness(*divmod(worst, instances.ITERATIONS)),
        unit="total variation",
        instances=tried.alpha.size,
        note=r"Not tight: measured, $-\log\mathrm{TV}$ grows by "
        f"{exponents[0]:.3f} for every unit of "
        rf"$\gamma_T\Delta$, the bound's by {exponents[1]:.3f}; N3 has the whole exponent. "
        f"The bound exceeds 1, and says nothing, in {np.mean(bound >= 1):.0%} of the runs tried.",
        draw=draw,
    )
    return dataclasses.replace(
        finding,
        facts={
            "exponent in gamma Delta, measured": float(exponents[0]),
            "exponent in gamma Delta, bound": float(exponents[1]),
            "share of runs where the bound says nothing": float(np.mean(bound >= 1)),
        },
    )


def _log_ratio(bandit: Any, solution: Any) -> Any:
    bound = theory.log_tv_printed(
        None, bandit.gap[0], solution.gamma[-1], log_p_star=bandit.log_best_ref[0]
    )
    return jnp.log(solution.tv[-1]) - bound


def _long_run():
    """Exponents in gamma Delta, measured and printed, and the figure of the same runs."""
    chosen = instances.two_level(np.full(2, np.log(P)), GAP, np.array(ALPHAS), BETA)
    solution = instances.solve(chosen, iterations=HORIZON)
    printed, sharp = (
        np.asarray(bound(P, GAP, solution.gamma)) for bound in (theory.tv_printed, theory.sharp_tv)
    )
    late = slice(HORIZON // 2, None)
    weight = solution.gamma[0, late] * GAP
    exponents = [-judge.slope(weight, np.log(tv[0, late]))[0] for tv in (solution.tv, printed)]
    t = np.arange(1, HORIZON + 1)

    def draw(figure: Figure) -> None:
        for axes, alpha, *curves in zip(
            figure.subplots(1, 2, sharey=True), ALPHAS, solution.tv, printed, sharp, strict=True
        ):
            measured, upper, best = curves
            axes.plot(t, upper, color="C1", label="Theorem 4.8, printed")
            axes.plot(t, best, color="C2", label="sharp (N3)")
            axes.plot(t[::3], measured[::3], "o", color="C0", markersize=3.5, label="run")
            axes.axhline(1, color="0.5", linestyle=":", linewidth=1)
            axes.set(yscale="log", ylim=(1e-22, 30), xlabel="updates $T$")
            axes.set_title(rf"$\alpha = {alpha:g}$, $p = {P:g}$, $\Delta = {GAP:g}$")
            axes.set(xlim=(0, HORIZON))
        first, second = figure.axes
        first.set_ylabel("total variation to the optimal policy")
        first.legend(loc="lower left")
        second.text(16, 2.0, "1: says nothing above", color="0.4", fontsize=8)

    return exponents, draw
