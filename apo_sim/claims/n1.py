"""N1: momentum with exact preferences is a smaller proximal weight."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import instances, judge
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.loop import run
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit

ITERATIONS = 30
TOLERANCE = 1e-10
# The first instances are fixed: those of the figure, and how they are drawn.
ALPHAS = (0.0, 0.3, 0.6, 0.9)
COLOURS = ("C0", "C5", "C4", "C3")


@claim(
    id="N1",
    title="Momentum is a smaller proximal weight",
    source="ours",
    statement=r"With exact preferences, accelerated preference optimisation with $(\alpha, \beta)$ "
    r"runs through the same policies as the plain proximal point method with "
    r"$$\beta_t = \beta\,\frac{1-\alpha}{1-\alpha^{t+1}}, \qquad t = 0, 1, \dots$$",
    control=r"the schedule $\beta_t$ one update late",
)
def matched_beta(study: Study) -> Finding:
    r"""Judge that APO(alpha, beta) and plain proximal point at matched beta_t coincide.

    Problem: the largest error of a log-probability, relative to 1 + |log pi|, at any update of
    two runs of the loop: one with momentum at beta, one without at beta_t.

    Guarantee: an identity. So whatever momentum gains with exact preferences, a smaller beta
    gains as well, and the fair control of an experiment is matched beta, not alpha = 0.

    Reference: ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N1").source
        'ours'
    """
    drawn = instances.random(study.rng(), study.pick(quick=2_000, full=100_000))
    shown = instances.two_level(np.full(4, np.log(0.05)), 0.5, np.array(ALPHAS), 2.0)
    tried = instances.join(shown, drawn)
    error, fast, plain = map(np.asarray, _compare(tried, late=study.wrong))
    return judge.identity(
        error,
        TOLERANCE,
        witness=lambda worst: tried.witness(worst, ITERATIONS - 1),
        note=rf"Every policy of {ITERATIONS} updates is compared, for $\alpha$ from 0 to "
        rf"$1 - {1 - tried.alpha.max():.4f}$ and $\beta$ from {tried.beta.min():.2f} to "
        f"{tried.beta.max():.0f}. The gain of momentum with exact preferences is a choice of "
        r"$\beta$; with sampled ones see N6.",
        draw=_figure(fast[:4], plain[:4]),
    )


def _compare(tried: instances.Instances, late: bool) -> Any:
    def one(reward: Any, log_ref: Any, alpha: Any, beta: Any) -> Any:
        bandit = Bandit(reward, log_ref)
        betas = theory.matched_beta(alpha, beta, ITERATIONS + late)[int(late) :]
        rule = Constant(alpha)
        fast = run(bandit, momentum=rule, beta=beta, iterations=ITERATIONS, save="path")
        plain = run(bandit, beta=betas, iterations=ITERATIONS, save="path")
        assert fast.log_policy is not None and plain.log_policy is not None
        apart = jnp.abs(fast.log_policy - plain.log_policy) / (1 + jnp.abs(fast.log_policy))
        return jnp.max(apart), fast.suboptimality, plain.suboptimality

    return jax.jit(jax.vmap(one))(*tried)


def _figure(fast: np.ndarray, plain: np.ndarray):
    t = np.arange(1, ITERATIONS + 1)
    schedules = [np.asarray(theory.matched_beta(alpha, 1.0, ITERATIONS)) for alpha in ALPHAS]

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        for colour, alpha, gap, control, betas in zip(
            COLOURS, ALPHAS, fast, plain, schedules, strict=True
        ):
            label = rf"$\alpha={alpha:g}$"
            left.plot(t, gap, color=colour)
            left.plot(t[1::3], control[1::3], "o", color="0.4", fillstyle="none", markersize=5)
            right.plot(t, betas, color=colour)
            right.text(t[-1] + 0.7, betas[-1], label, color=colour, va="center")
        left.plot([], [], color="0.2", label=r"with momentum, weight $\beta$")
        left.plot(
            [], [], "o", color="0.4", fillstyle="none", label=r"without, matched weight $\beta_t$"
        )
        left.legend(loc="upper right")
        left.set(yscale="log", ylim=(1e-9, 300), xlabel="updates $t$")
        left.set(ylabel="gap, in reward", title="The same path")
        right.set(xlabel="updates $t$", ylabel=r"matched weight $\beta_t\,/\,\beta$")
        right.set(xlim=(0, 41), ylim=(0, 1.06), xticks=range(0, 31, 10), title="The schedule")

    return draw
