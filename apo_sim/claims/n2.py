"""N2: the sharp constant of the 1/gamma bound on the gap."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import instances, judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study

# For the figure: gap against reward gap at these masses.
SHOWN = (1e-4, 0.01, 0.2)
SPREAD = np.linspace(0.1, 14.0, 40)


@claim(
    id="N2",
    title="Sharp constant of the gap bound",
    source="ours",
    statement=r"DPO with exact Bradley-Terry preferences, over all rewards whose best arm has "
    r"reference mass at least $p$: $$\sup\,\gamma_T\,\mathrm{gap}(\hat\pi_T) = "
    r"W_0\Bigl(\frac{1-p}{e\,p}\Bigr),$$ where $W_0$ is the Lambert function. Rewards on two "
    r"levels, $(1 + W_0)/\gamma_T$ apart, attain it.",
    control="the constant one per cent smaller",
    scope=Scope(
        "for all",
        "random and two-level bandits, and those an adversary climbs to; $p$ from $10^{-9}$ to "
        "0.999",
        arms=instances.ARMS,
        iterations=f"every T up to {instances.ITERATIONS}",
        beta="from 0.03 to 32",
        samples="exact",
        alpha="any in [0, 1)",
    ),
)
def gap_constant_is_sharp(study: Study) -> Finding:
    r"""Judge gamma_T gap(pi_hat_T) <= W_0((1 - p)/(e p)), and that it is attained.

    Problem: the largest gap that a policy proportional to pi_ref exp(gamma r*) can have, over
    rewards and references with mass p on the best arm. The loop measures gap and gamma; the
    right side knows p alone.

    Guarantee: tight for every p, by two-level rewards. An adversary that climbs over five arms
    ends there by itself.

    Reference: ours; it replaces (C.8) of the paper, log((1 - p)/p).

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N2").source
        'ours'
    """
    log_p = np.log([1e-9, 1e-4, 0.01, 0.1, 0.4, 0.6, 0.95])
    w = np.asarray(theory.sharp_gap(None, 1.0, log_p_star=log_p))
    gamma = float(theory.gamma(instances.ALPHA, instances.BETA, instances.ITERATIONS)[-1])
    exact = instances.two_level(log_p, (1 + w) / gamma)
    shown = instances.two_level(np.log(SHOWN).repeat(SPREAD.size), np.tile(SPREAD, 3) / gamma)
    climbed, trace = instances.climb(
        study, _log_gap, log_p.repeat(4), steps=study.pick(quick=400, full=2000)
    )
    drawn = instances.random(study.rng(0), study.pick(quick=20_000, full=500_000))
    tried = instances.join(exact, shown, climbed, drawn)
    solution = instances.solve(tried)
    measured = solution.gamma * solution.suboptimality
    constant = np.asarray(theory.sharp_gap(None, 1.0, log_p_star=tried.log_p))[:, None]
    constant = 0.99 * constant if study.wrong else constant
    attained = judge.identity((measured / constant)[: log_p.size, -1] - 1, 1e-9)
    reached = np.exp(trace) / w.repeat(4)
    curves = slice(log_p.size, log_p.size + shown.alpha.size)
    finding = judge.upper_bound(
        measured,
        constant,
        witness=lambda worst: tried.witness(*divmod(worst, instances.ITERATIONS)),
        unit="gamma times reward",
        instances=tried.alpha.size,
        note=f"Two-level rewards attain the constant to {attained.measured:.0e}. An adversary "
        f"that climbs from {climbed.alpha.size} random starts reaches at least "
        f"{reached[-1].min():.6f} of it, and never more.",
        draw=_figure(measured[curves, -1], constant[curves, 0], reached),
    )
    if finding.verdict == "holds" and attained.verdict == "fails":
        return attained
    return finding


def _log_gap(bandit: Any, solution: Any) -> Any:
    return jnp.log(solution.gamma[-1] * solution.suboptimality[-1])


def _figure(curves: np.ndarray, constants: np.ndarray, reached: np.ndarray):
    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        for index, p in enumerate(SHOWN):
            curve = curves[index * SPREAD.size : (index + 1) * SPREAD.size]
            peak = constants[index * SPREAD.size]
            left.plot(SPREAD, curve, color="C0")
            left.plot([0, 1 + peak], [peak, peak], color="C2", linestyle="--", linewidth=1.2)
            left.plot(1 + peak, peak, "o", color="C2")
            label = f"$p = {p:g}$" if p > 1e-3 else f"$p = 10^{{{np.log10(p):.0f}}}$"
            left.annotate(label, (1 + peak, peak), (4, 4), textcoords="offset points")
        left.plot([], [], color="C0", label="two-level rewards, run")
        left.plot([], [], "o--", color="C2", label="$W_0((1-p)/(e\\,p))$")
        left.set(xlabel=r"reward gap $\gamma\Delta$", ylabel=r"$\gamma\cdot$gap of the policy")
        left.set(xlim=(0, 14), ylim=(0, 8.5), title="Where the bound is attained")
        left.legend(loc="upper left")
        steps = np.arange(1, len(reached) + 1)
        right.plot(steps, reached, color="C0", alpha=0.35, linewidth=0.8)
        right.axhline(1.0, color="C2", linestyle="--", linewidth=1.2)
        right.set(xscale="log", xlabel="step of the adversary", ylim=(0, 1.05))
        right.set(ylabel=r"$\gamma\cdot$gap / $W_0$", title="The adversary finds it")

    return draw
