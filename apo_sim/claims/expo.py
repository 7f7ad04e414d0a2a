"""ExPO: extrapolating once, after training, is one iteration of the method."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import instances, judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.losses import DPO, IPO, SPPO
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit
from apo_sim.running import run

TOLERANCE = 1e-12
LOSSES = (DPO(), IPO(1.0), SPPO())
# The first instances are those of the figure: one bandit, these weights, these extrapolations.
BETAS = (0.5, 2.0, 8.0)
ALPHAS = np.linspace(0, 0.99, 34)
COLOURS = ("C5", "C4", "C3")


@claim(
    id="ExPO",
    title="ExPO is one iteration",
    source="paper",
    statement=r"Accelerated preference optimisation with one iteration and its output taken after "
    r"the extrapolation is ExPO: $$\pi_1 \propto \hat\pi_1\,\Bigl(\frac{\hat\pi_1}"
    r"{\pi_{\mathrm{ref}}}\Bigr)^{\alpha}.$$",
    control=r"the sign of $\alpha$",
    scope=Scope(
        "for all",
        "random bandits, rewards uniform, tied or on two levels, any reference",
        arms=instances.ARMS,
        iterations=1,
        beta="from 0.03 to 30",
        samples="exact",
        alpha="from 0 to 0.999 and above",
    ),
)
def one_extrapolation(study: Study) -> Finding:
    r"""Judge that a run of one iteration, shown after extrapolation, is ExPO.

    Problem: the largest error of a log-probability, relative to 1 + |log pi|, between the loop
    with momentum and the trained policy of a loop without, extrapolated from the reference by
    hand; for DPO, IPO and SPPO. The gap that the run reports must be that of this policy, too.

    Guarantee: an identity. With exact preferences ExPO is one plain iteration at weight
    beta/(1 + alpha), whatever the loss.

    Reference: the paper's discussion of ExPO (Zheng et al. 2024).

    Example:
        >>> from apo_sim.claims import check
        >>> verdict = check("ExPO")
        >>> verdict.verdict, verdict.control["verdict"]
        ('holds', 'fails')
    """
    size = len(BETAS) * ALPHAS.size
    shown = instances.random(study.rng(0), 1)
    shown = instances.Instances(
        shown.reward.repeat(size, axis=0),
        np.full((size, 1, instances.ARMS), -np.log(instances.ARMS)),
        np.tile(ALPHAS, len(BETAS)),
        np.repeat(BETAS, ALPHAS.size),
    )
    drawn = instances.random(study.rng(1), study.pick(quick=2_000, full=200_000))
    tried = instances.join(shown, drawn)
    sign = -1.0 if study.wrong else 1.0
    error, gap, plain_gap = map(np.asarray, _compare(tried, sign))
    return judge.identity(
        error,
        TOLERANCE,
        witness=lambda worst: tried.witness(worst // len(LOSSES), 0),
        instances=error.size,
        note="Each bandit is run with DPO, IPO and SPPO; the gap reported by the run is compared "
        rf"as well. One plain iteration at $\beta/(1+\alpha)$ gives the same gap to "
        f"{np.max(np.abs(gap - plain_gap)):.0e}.",
        draw=_figure(gap[:size].reshape(len(BETAS), -1), plain_gap[:size].reshape(len(BETAS), -1)),
    )


@jax.jit
def _compare(tried: instances.Instances, sign: Any) -> Any:
    def one(reward: Any, log_ref: Any, alpha: Any, beta: Any) -> Any:
        bandit = Bandit(reward, log_ref)

        def error(loss: Any) -> Any:
            once = run(bandit, loss, Constant(alpha), beta=beta, iterations=1, output="after")
            trained = run(bandit, loss, beta=beta, iterations=1).final_log_policy
            expo = jax.nn.log_softmax(trained + sign * alpha * (trained - log_ref), axis=1)
            apart = jnp.abs(once.final_behaviour - expo) / (1 + jnp.abs(expo))
            gaps = jnp.abs(once.suboptimality[0] - bandit.suboptimality(expo))
            return jnp.maximum(jnp.max(apart), gaps), once.suboptimality[0]

        errors, gaps = zip(*map(error, LOSSES), strict=True)
        plain = run(bandit, beta=beta / (1 + alpha), iterations=1).suboptimality[0]
        return jnp.stack(errors), gaps[0], plain

    return jax.vmap(one)(*tried)


def _figure(gap: np.ndarray, plain: np.ndarray):
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for colour, beta, dots, line in zip(COLOURS, BETAS, gap, plain, strict=True):
            axes.plot(ALPHAS, line, color="0.6", linewidth=4, alpha=0.6)
            axes.plot(ALPHAS[::3], dots[::3], "o", color=colour)
            axes.text(1.01, dots[-1], rf"$\beta={beta:g}$", color=colour, va="center")
        axes.plot([], [], "o", color="0.2", label="ExPO: one iteration, then extrapolated")
        axes.plot(
            [],
            [],
            color="0.6",
            linewidth=4,
            alpha=0.6,
            label=r"one iteration at $\beta/(1+\alpha)$",
        )
        axes.set(xlim=(0, 1.1), ylim=(0, 1.35 * gap.max()), xticks=np.linspace(0, 1, 6))
        axes.set(xlabel=r"extrapolation $\alpha$", ylabel="gap after one iteration, in reward")
        axes.legend(loc="upper right")

    return draw
