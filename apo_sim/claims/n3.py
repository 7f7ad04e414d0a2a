"""N3: the sharp bound on the total variation to the optimal policy."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import instances, judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study

SHOWN = 1e-3  # mass of the best arm in the figure


@claim(
    id="N3",
    title="Sharp bound on the total variation",
    source="ours",
    statement=r"DPO with exact Bradley-Terry preferences, for rewards whose best arm has "
    r"reference mass $p$ and leads by $\Delta$: $$\mathrm{TV}(\hat\pi_T, \pi^*) \le "
    r"\frac{1-p}{p\,e^{\gamma_T\Delta} + 1 - p}.$$ Rewards on two levels attain it for every "
    r"$p$, $\Delta$ and $\gamma_T$.",
    control="the bound one per cent smaller",
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
def sharp_total_variation(study: Study) -> Finding:
    r"""Judge TV(pi_hat_T, pi*) <= (1 - p)/(p exp(gamma_T Delta) + 1 - p), and attainment.

    Problem: the largest mass that a policy proportional to pi_ref exp(gamma r*) leaves off the
    best arm. It is summed over the other arms, since one minus the best arm's mass would lose
    all digits once the policy has converged.

    Guarantee: tight for every p, Delta and gamma, by two-level rewards.

    Reference: ours; it improves Theorem 4.8 of the paper, see T4.8-opt.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N3").source
        'ours'
    """
    log_p = np.log([1e-9, 1e-4, 0.01, 0.1, 0.4, 0.6, 0.95])
    gaps = np.geomspace(1e-3, 2.0, 30)
    exact = instances.two_level(log_p.repeat(gaps.size), np.tile(gaps, log_p.size))
    climbed, trace = instances.climb(
        study, _log_ratio, log_p.repeat(4), steps=study.pick(quick=400, full=4000)
    )
    drawn = instances.random(study.rng(0), study.pick(quick=20_000, full=500_000))
    shown = instances.with_mass(drawn.first(1500), SHOWN)
    tried = instances.join(exact, shown, climbed, drawn)
    solution = instances.solve(tried)
    gap, log_p_star = tried.gap[:, None], tried.log_p[:, None]
    bound = np.asarray(theory.sharp_tv(None, gap, solution.gamma, log_p_star=log_p_star))
    bound = 0.99 * bound if study.wrong else bound
    # Both sides vanish together; where a double runs out of digits there is nothing to compare.
    ratio = np.divide(solution.tv, bound, out=np.zeros_like(bound), where=bound > 1e-290)
    attained = judge.identity(ratio[: exact.alpha.size, -1] - 1, 1e-9)
    dots = slice(exact.alpha.size, exact.alpha.size + shown.alpha.size)
    finding = judge.upper_bound(
        ratio,
        1.0,
        witness=lambda worst: tried.witness(*divmod(worst, instances.ITERATIONS)),
        unit="total variation / bound",
        instances=tried.alpha.size,
        note=f"Two-level rewards attain the bound to {attained.measured:.0e}, for $p$ from "
        f"{np.exp(log_p[0]):.0e} to {np.exp(log_p[-1]):.2f}. An adversary that climbs from random "
        f"rewards reaches at least {np.exp(trace[-1].min()):.6f} of it, and never more.",
        draw=_figure((solution.gamma * gap)[dots, -1], solution.tv[dots, -1]),
    )
    if finding.verdict == "holds" and attained.verdict == "fails":
        return attained
    return finding


def _log_ratio(bandit: Any, solution: Any) -> Any:
    bound = theory.log_sharp_tv(
        None, bandit.gap[0], solution.gamma[-1], log_p_star=bandit.log_best_ref[0]
    )
    return jnp.log(solution.tv[-1]) - bound


def _figure(weight: np.ndarray, tv: np.ndarray):
    limit = 60.0
    line = np.linspace(0, limit, 200)
    sharp = np.asarray(theory.sharp_tv(SHOWN, line, 1.0))
    printed = np.asarray(theory.tv_printed(SHOWN, line, 1.0))
    seen = (weight < limit) & (tv > 1e-30)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(
            weight[seen], tv[seen], ".", markersize=2.5, alpha=0.5, label="random bandits, run"
        )
        axes.plot(line, printed, color="C1", label="Theorem 4.8, printed")
        axes.plot(line, sharp, color="C2", label="sharp")
        axes.set(yscale="log", xlim=(0, limit), ylim=(1e-26, 100))
        axes.set(xlabel=r"$\gamma_T\Delta$", ylabel="total variation to the optimal policy")
        axes.text(1, 1e-25, f"best arm has mass $p = 10^{{{np.log10(SHOWN):.0f}}}$")
        axes.legend(loc="upper right")

    return draw
