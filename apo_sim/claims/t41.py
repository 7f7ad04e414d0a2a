"""Theorem 4.1: the policy before extrapolation in closed form."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import instances, judge
from apo_sim.claims._arbitrary import ArbitraryRewards
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit
from apo_sim.running import run

ITERATIONS = 40
TOLERANCE = 1e-10
# The first instances are fixed: the alphas of the figure, and where the slip is shown.
ALPHAS = (0.0, 0.3, 0.6, 0.9)
SLIP_ALPHA, SLIP_BETA, SLIP_ITERATIONS = 0.6, 0.7, 6


@claim(
    id="T4.1",
    title="Closed form of the policy",
    source="paper",
    statement=r"Whatever the rewards $r_0, \dots, r_{T-1}$: $$\log\hat\pi_T = "
    r"\log\pi_{\mathrm{ref}} + \frac{1}{\beta}\sum_{i=0}^{T-1} w_{T-i}\,r_i - \log Z, \qquad "
    r"w_k = \frac{1-\alpha^k}{1-\alpha}.$$",
    scope=Scope(
        "for all",
        "random bandits; rewards that are a random nonlinear function of the policy",
        arms=instances.ARMS,
        iterations=ITERATIONS,
        beta="from 0.001 to 1000",
        alpha="from 0 to 1 - 1e-12",
    ),
    control="$w_k$ off by one",
    errata=r"Below (C.6) the last exponent of $\gamma$ is printed as $\alpha^{t+1}$; the sum gives "
    r"$\alpha^{t+2}$, $T = t + 1$ (the note has both figures). Where the text has "
    r"$\hat\pi_1 = \pi_{\mathrm{ref}}$, the identity needs $\hat\pi_0 = \pi_{\mathrm{ref}}$.",
)
def policy_in_closed_form(study: Study) -> Finding:
    r"""Judge log pi_hat_T = log pi_ref + (1/beta) sum_i w_{T-i} r_i - log Z.

    Problem: the largest error of a log-probability, relative to 1 + |log pi|, over bandits,
    alpha up to 1 - 1e-12, beta from 1e-3 to 1e3, and rewards that are a random nonlinear
    function of the policy of the moment, so that no two of a run are alike.

    Guarantee: an identity.

    Reference: Theorem 4.1 of the paper.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("T4.1").control
        '$w_k$ off by one'
    """
    rng = study.rng()
    count = study.pick(quick=2_000, full=100_000)
    tried = instances.random(rng, count)
    tried.beta[:] = 10 ** rng.uniform(-3, 3, count)
    tried.alpha[:5] = (*ALPHAS, 1 - 1e-12)
    tried.beta[:4] = SLIP_BETA
    mixing = rng.normal(size=(count, instances.ARMS, instances.ARMS))
    error, gamma = map(np.asarray, _compare(tried, mixing, off_by_one=study.wrong))
    weights = np.diff(SLIP_BETA * gamma[:4], prepend=0.0)
    slip = gamma[ALPHAS.index(SLIP_ALPHA), SLIP_ITERATIONS - 1]
    printed = theory.gamma_printed(SLIP_ALPHA, SLIP_BETA, SLIP_ITERATIONS)[-1]
    finding = judge.identity(
        error,
        TOLERANCE,
        witness=lambda worst: tried.witness(worst, ITERATIONS - 1),
        note=rf"The slip: at $\alpha = {SLIP_ALPHA}$, $\beta = {SLIP_BETA}$, "
        f"$T = {SLIP_ITERATIONS}$ the run has $\\gamma_T = {slip:.5f}$, the printed expression "
        f"gives ${printed:.5f}$. Errors are relative to $1 + |\\log\\pi|$.",
        draw=_figure(weights),
    )
    facts = {"gamma of the run": float(slip), "gamma as printed": float(printed)}
    return dataclasses.replace(finding, facts=facts)


def _compare(tried: instances.Instances, mixing: np.ndarray, off_by_one: bool) -> Any:
    def one(reward: Any, log_ref: Any, alpha: Any, beta: Any, mixing: Any) -> Any:
        bandit = Bandit(reward, log_ref)
        solution = run(
            bandit,
            ArbitraryRewards(mixing),
            Constant(alpha),
            beta=beta,
            iterations=ITERATIONS,
            save="path",
        )
        # After one more extrapolation every reward has the weight w_{k+1} in place of w_k.
        expected = theory.closed_form(
            bandit, solution.rewards, alpha, beta, extrapolated=off_by_one
        )
        found = solution.final_log_policy
        return jnp.max(jnp.abs(found - expected) / (1 + jnp.abs(expected))), solution.gamma

    return jax.jit(jax.vmap(one))(*tried, mixing)


def _figure(measured: np.ndarray):
    k = np.arange(1, 21)
    exact = [np.asarray(theory.weights(alpha, k.size)) for alpha in ALPHAS]
    slips = [
        np.asarray(theory.gamma_printed(a, 1.0, k.size) / theory.gamma(a, 1.0, k.size) - 1)
        for a in ALPHAS
    ]

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        for alpha, line, dots, slip in zip(ALPHAS, exact, measured, slips, strict=True):
            left.plot(k, line, color="C2", linewidth=1.2)
            left.plot(k, dots[: k.size], "o", color="C0", markersize=3)
            left.text(k[-1] + 0.5, line[-1], rf"$\alpha={alpha:g}$", va="center", fontsize=8.5)
            if alpha:
                right.plot(k, 100 * slip, color="C1")
                end = np.flatnonzero(100 * slip > 2e-3)[-1]
                right.text(k[end] + 0.6, 100 * slip[end], rf"$\alpha={alpha:g}$", fontsize=8.5)
        left.plot([], [], "o", color="C0", label="run")
        left.plot([], [], color="C2", label=r"$(1-\alpha^k)/(1-\alpha)$")
        left.legend(loc="upper left")
        left.set(xlabel="age $k$ of a reward, in updates", ylabel="its weight $w_k$")
        left.set(xlim=(0, 25), xticks=range(0, 21, 5), title="Weights of the rewards")
        right.set(xlabel="updates $T$", ylabel=r"excess of the printed $\gamma_T$, per cent")
        right.set(yscale="log", ylim=(1e-3, 2e3), title="The slip below (C.6)")
        right.set(xlim=(0, 25), xticks=range(0, 21, 5))

    return draw
