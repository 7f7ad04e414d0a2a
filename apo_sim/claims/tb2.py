"""Theorem B.2: SPPO on general preferences, exact part."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge, n10
from apo_sim.claims.n10 import dominated, random_runs
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.loop import Solution
from apo_sim.losses import SPPO
from apo_sim.momentum import Constant
from apo_sim.problems import Game
from apo_sim.running import run
from apo_sim.theory import closed_form, gamma, log_tv_printed, sharp_tv, tv_printed

ALPHA, BETA, ITERATIONS = 0.3, 1.0, 60


@claim(
    id="TB.2",
    title="Theorem B.2: SPPO converges under dominance",
    source="paper",
    statement=(
        r"SPPO with exact preferences $r_i = P(\cdot\succ\pi_i)$, under Assumption B.1: "
        r"$$D_{TV}(\hat\pi_T, \pi^*) \le \sqrt{\frac{e^{-\gamma_T\Delta}}{2p}}.$$"
    ),
    control=r"$\alpha$'s sign flipped in the run",
    scope=Scope(
        "for all",
        "random games under Assumption B.1 and Bradley-Terry bandits, $p$ from 0.001 to 0.3",
        arms=n10.ARMS,
        iterations=n10.ITERATIONS,
        beta="such that γΔ is from log(1/p − 1) − 0.5 to 20 more",
        samples="exact",
        alpha="from 0 to 0.9",
    ),
    errata=(
        r"The proof of Theorem B.2 puts $\gamma_T r_t$ for $\sum_i w_{T-i} r_i/\beta$, as if "
        r"$r_i = P(\cdot\succ\pi_i)$ stood still while $\pi_i$ moves. The theorem survives: "
        r"Assumption B.1 bounds every term of the sum."
    ),
)
def general_preferences(study: Study) -> Finding:
    r"""Judge the bound on the total variation of SPPO, with rewards that move.

    Problem: the reward of update i is the win rate against pi_i, so the policy is not
    proportional to pi_ref exp(gamma r) for any one r.

    Method: exact runs on random games under Assumption B.1 and on Bradley-Terry bandits; the
    games at the point where the bound is closest, gamma Delta = log((1 - p)/p).

    Guarantee: not tight. The ratio is at most 1/sqrt(2), and the exponent is half the true one
    (N10).

    Reference: Theorem B.2 of the paper; what its proof replaces is ours.

    Example:
        >>> round(float(tv_printed(0.1, 0.2, 30.0)), 4)  # sqrt(exp(-6) / 0.2)
        0.1113
    """
    sign = -1.0 if study.wrong else 1.0
    runs = random_runs(study, study.pick(quick=2000, full=200_000), sign)
    measured = np.exp(runs.log_tv)
    bound = np.exp(runs.log_bound(log_tv_printed))
    game, path, frozen = _one_run(study)
    slip = float(jnp.max(jnp.abs(frozen - path.final_log_policy)))
    return judge.upper_bound(
        measured,
        bound,
        floor=0.0,
        trivial=1.0,
        witness=lambda i: {name: getattr(runs, name)[i] for name in runs._fields},
        unit="total variation",
        note=(
            r"The ratio is largest where $\gamma\Delta = \log\frac{1-p}{p}$, and never above "
            rf"$1/\sqrt{{2}}$. With the last reward in place of all, as in the proof, "
            rf"$\log\hat\pi_T$ would be off by {slip:.1f} nats on the game of the figure."
        ),
        draw=_figure(game, path),
    )


def _one_run(study: Study) -> tuple[Game, Solution, jax.Array]:
    """A run, and the log-policy that the proof would have in place of its last one."""
    rng = study.rng(1)
    matrix = dominated(2 * rng.normal(size=(3, 3)), rng.normal(size=3), 0.1)
    game = Game(matrix[None], jnp.log(jnp.array([[0.01, 0.33, 0.33, 0.33]])))
    solution = run(game, SPPO(), Constant(ALPHA), beta=BETA, iterations=ITERATIONS, save="path")
    last_only = jnp.broadcast_to(solution.rewards[-1], solution.rewards.shape)
    return game, solution, closed_form(game, last_only, ALPHA, BETA)


def _figure(game: Game, path: Solution):
    best, dominance = int(game.best_arm[0]), float(game.dominance[0])
    rewards = np.asarray(path.rewards[:, 0])
    leads = np.delete(rewards[:, best, None] - rewards, best, axis=1)
    tv, p_star = np.asarray(path.tv), float(jnp.exp(game.log_best_ref[0]))
    weight = np.asarray(gamma(ALPHA, BETA, ITERATIONS))
    printed = np.asarray(tv_printed(p_star, dominance, weight))
    sharp = np.asarray(sharp_tv(p_star, dominance, weight))

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        updates = np.arange(1, ITERATIONS + 1)
        left.semilogy(updates, printed, color="C1", label="printed bound")
        left.semilogy(updates, sharp, color="C2", label="sharp bound (N10)")
        left.semilogy(updates, tv, color="C0", label="SPPO")
        left.set_title(rf"Total variation, $\alpha = {ALPHA:g}$, $\beta = {BETA:g}$")
        left.set(xlabel="updates $T$", ylabel="total variation to $y^*$")
        left.legend(loc="lower left")
        lines = right.plot(updates - 1, leads, color="C0")
        right.axhline(dominance, color="C2", linestyle="--")
        lines[0].set_label("$r_t(y^*) - r_t(y)$, each $y$")
        right.text(ITERATIONS, dominance, r"$\Delta$ of Assumption B.1", color="C2",
                   ha="right", va="bottom")  # fmt: skip
        right.set_title("Rewards that move")
        right.set(xlabel="update $t$", ylabel="lead in win rate")
        right.set_ylim(0, None)
        right.legend(loc="lower right")

    return draw
