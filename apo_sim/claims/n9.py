"""N9: Nesterov's schedule changes the rate, not the constant."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import families, theory
from apo_sim.claims import instances, judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.momentum import Nesterov, Schedule
from apo_sim.problems import Bandit
from apo_sim.running import run

TOLERANCE = 1e-9
P, BETA = 0.01, 0.55  # the worst rewards then stay in [-1, 1] from the first update on
HORIZONS = np.unique(np.geomspace(1, 512, 28).astype(int))
ALPHAS = (0.0, 0.9)


@claim(
    id="N9",
    title="Nesterov's schedule",
    source="ours",
    statement=r"With $\alpha_t = t/(t+3)$: $$\beta\gamma_T = \frac{T(T+7)}{8},$$ so that the "
    r"worst gap of DPO with exact Bradley-Terry preferences, over rewards whose best arm has "
    r"reference mass $p$, is $8\beta W_0((1-p)/(e\,p)) / (T(T+7))$: of order $1/T^2$, where every "
    r"constant $\alpha$ gives $1/T$.",
    control=r"the schedule $t/(t+2)$",
    scope=Scope(
        "for all",
        f"every T; the worst bandits of each horizon at $p = {P:g}$",
        arms=2,
        iterations=f"every T up to 2,000; for the gap {HORIZONS[0]} to {HORIZONS[-1]}",
        beta=BETA,
        samples="exact",
        alpha="t/(t+3)",
    ),
)
def nesterov_rate(study: Study) -> Finding:
    r"""Judge beta gamma_T = T(T+7)/8 for alpha_t = t/(t+3).

    Problem: the largest relative error of the weight gamma that the loop accumulates, at every
    T; and the largest gap over bandits at each T, through the loop, against the same weight.

    Guarantee: an identity. With s_t the step of update t, t(t+1)(t+2) s_t grows by
    t(t+1)(t+2) each time, which sums to s_t = (t+3)/4.

    Reference: ours, after Nesterov (1983).

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N9").source
        'ours'
    """
    iterations = study.pick(quick=2_000, full=20_000)
    t = np.arange(1, iterations + 1)
    rule = Schedule(jnp.asarray(t / (t + 2.0))) if study.wrong else Nesterov()
    bandit = families.two_level_bandit(P)
    gamma = np.asarray(run(bandit, momentum=rule, beta=BETA, iterations=iterations).gamma)
    exact = t * (t + 7.0) / 8
    w = float(theory.sharp_gap(P, 1.0))
    worst = [_worst_gap(alpha) for alpha in (*ALPHAS, None)]
    plain, constant, order = (
        judge.slope(np.log(HORIZONS[-6:]), np.log(gaps[-6:]))[0] for gaps in worst
    )
    bound = 8 * BETA * w / (HORIZONS * (HORIZONS + 7.0))
    return judge.identity(
        np.concatenate([BETA * gamma / exact - 1, worst[-1] / bound - 1]),
        TOLERANCE,
        witness={"iterations": iterations, "gamma": gamma[-1], "exact": exact[-1] / BETA},
        note=f"At $T = {iterations}$, $\\beta\\gamma_T/T^2 = "
        f"{BETA * gamma[-1] / iterations**2:.4f}$ (limit 1/8). The worst gap over bandits falls as "
        f"$T^{{{order:.2f}}}$ near $T = {HORIZONS[-1]}$, against $T^{{{constant:.2f}}}$ at "
        rf"$\alpha = {ALPHAS[1]}$ and $T^{{{plain:.2f}}}$ at $\alpha = {ALPHAS[0]:g}$.",
        draw=_figure(worst, gamma / t**2 * BETA, w),
    )


def _worst_gap(alpha: float | None) -> np.ndarray:
    """The gap after each of HORIZONS updates of the bandit that is worst for that many."""
    top = int(HORIZONS[-1])
    schedule = theory.nesterov_schedule(top) if alpha is None else np.full(top, alpha)
    weight = np.asarray(theory.gamma(schedule, BETA, top))[HORIZONS - 1]
    w = float(theory.sharp_gap(P, 1.0))
    tried = instances.two_level(np.full(HORIZONS.size, np.log(P)), (1 + w) / weight, arms=2)
    gaps = np.asarray(_gaps(tried.reward, tried.log_ref, np.asarray(schedule)))
    return gaps[np.arange(HORIZONS.size), HORIZONS - 1]


@jax.jit
def _gaps(reward: Any, log_ref: Any, schedule: Any) -> Any:
    def one(reward: Any, log_ref: Any) -> Any:
        bandit = Bandit(reward, log_ref)
        rule = Schedule(schedule)
        return run(bandit, momentum=rule, beta=BETA, iterations=len(schedule)).suboptimality

    return jax.vmap(one)(reward, log_ref)


def _figure(worst: list[np.ndarray], share: np.ndarray, w: float):
    seen = np.unique(np.geomspace(1, share.size, 200).astype(int))

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        left.plot(HORIZONS, worst[0], color="C5")
        left.plot(HORIZONS, worst[1], color="C3")
        left.plot(HORIZONS, worst[2], "o", color="C0", markersize=3.5)
        left.plot(HORIZONS, 8 * BETA * w / (HORIZONS * (HORIZONS + 7.0)), color="C2", zorder=1)
        left.set(
            xscale="log", yscale="log", xlabel="updates $T$", title="Worst bandit for each $T$"
        )
        left.set(ylabel="gap, in reward", xlim=(1, 1024))
        left.text(60, 0.065, r"$\alpha=0$", color="C5")
        left.text(300, 1.4e-3, r"$\alpha=0.9$", color="C3")
        left.text(14, 1.2e-3, r"$t/(t+3)$: run,", color="C0", ha="right")
        left.text(14, 6e-4, r"$8\beta W_0/(T(T+7))$", color="C2", ha="right")
        right.plot(seen, share[seen - 1], "o", color="C0", markersize=3)
        right.plot(seen, (1 + 7 / seen) / 8, color="C2", zorder=1)
        right.axhline(1 / 8, color="0.5", linestyle="--", linewidth=1)
        right.text(1.2, 0.14, "1/8", color="0.4")
        right.set(xscale="log", ylim=(0, 1.05), xlabel="updates $T$")
        right.set(ylabel=r"$\beta\gamma_T\,/\,T^2$", title="Its weight")

    return draw
