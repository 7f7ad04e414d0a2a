"""N11: momentum where no arm dominates."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import families
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.loop import run
from apo_sim.losses import SPPO
from apo_sim.momentum import Constant
from apo_sim.problems import Game
from apo_sim.theory import matched_beta

BETA, ITERATIONS = 5.0, 2000
ALPHAS = (-0.3, 0.0, 0.3, 0.6, 0.9)
REFERENCE, WIN_RATE = (0.5, 0.3, 0.2), 0.9


@claim(
    id="N11",
    title="Momentum hurts where preferences cycle",
    source="ours",
    statement=(
        r"On rock-paper-scissors, outside Assumption B.1, SPPO with $\alpha = 0.9$ leaves its "
        r"average policy more exploitable than with $\alpha = 0$, and its policies move to the "
        r"boundary."
    ),
    control="the same on games that meet Assumption B.1",
)
def momentum_on_cycles(study: Study) -> Finding:
    r"""Compare the average policy of SPPO with and without momentum on cyclic preferences.

    Problem: exponential weights circle around the equilibrium; extrapolating the circle
    enlarges it.

    Method: rock-paper-scissors with random win rates and references, paired over games; the same
    for plain SPPO at the matched beta, which has gained as much weight; games with a best arm
    but not Assumption B.1.

    Guarantee: empirical, for beta = 5 and 2000 updates. What separates the games is whether one
    arm beats all others, not Assumption B.1, which asks for more.

    Reference: ours.

    Example:
        >>> round(float(families.rock_paper_scissors(0.9).dominance[0]), 6)
        -0.8
    """
    count = study.pick(quick=64, full=256)
    iterations = study.pick(quick=ITERATIONS, full=5 * ITERATIONS)
    rng = study.rng()
    log_ref = np.log(np.clip(rng.dirichlet(np.ones(3), count), 1e-3, None))
    log_ref = log_ref - np.logaddexp.reduce(log_ref, axis=1, keepdims=True)
    cycles = 0.5 + rng.uniform(0.05, 0.45, count)[:, None, None] * np.array(
        [[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]]
    )
    ranked = _ranked(rng.uniform(0.02, 0.4, (count, 2)))
    judged = _dominant(rng.uniform(0.02, 0.4, count)) if study.wrong else cycles
    plain = play(judged, log_ref, 0.0, BETA, iterations)
    fast = play(judged, log_ref, 0.9, BETA, iterations)
    matched = play(judged, log_ref, 0.0, matched_beta(0.9, BETA, iterations), iterations)
    small = play(judged, log_ref, 0.3, BETA, iterations)
    inverse = play(judged, log_ref, -0.3, BETA, iterations)
    lead = [play(ranked, log_ref, alpha, BETA, iterations).average for alpha in (0.9, 0.0)]
    one = examples(ITERATIONS)
    shown = ", ".join(f"{float(one[alpha].average):.4f}" for alpha in (0.0, 0.6, 0.9))
    return judge.compare(
        plain.average,
        fast.average,
        witness={"alpha 0": plain.average.mean(), "alpha 0.9": fast.average.mean()},
        unit="exploitability",
        note=(
            f"From {REFERENCE}, win rate {WIN_RATE}, $T = {ITERATIONS}$, $\\alpha = 0, 0.6, 0.9$ "
            f"give {shown}. A smaller $\\beta$ is not to blame: without momentum, at the matched "
            f"one, the mean is {matched.average.mean():.4f} against {fast.average.mean():.4f}. "
            f"Against $\\alpha = 0$ ({plain.average.mean():.4f}), the difference is "
            f"{_interval(small, plain)} at $\\alpha = 0.3$ and {_interval(inverse, plain)} at "
            f"$\\alpha = -0.3$. Games with a best arm but without Assumption B.1 gain from "
            f"$\\alpha = 0.9$: {lead[0].mean():.4f} against {lead[1].mean():.4f}."
        ),
        draw=_figure(one, _matched_examples(ITERATIONS)),
    )


class Play(NamedTuple):
    """Exploitability of the average and of the last policy, and the path of one context."""

    average: jax.Array
    last: jax.Array
    path: jax.Array


@functools.partial(jax.jit, static_argnames=("iterations", "keep"))
def play(
    preference: Any, log_ref: Any, alpha: Any, beta: Any, iterations: int, keep: bool = False
) -> Play:
    """SPPO on many games of one context, preference (n, K, K), log_ref (n, K)."""

    def one(preference: Any, log_ref: Any) -> Play:
        game = Game(preference[None], log_ref[None])
        rule = Constant(alpha, unrestricted=True)
        save = ("path", "average") if keep else ("average",)
        solution = run(game, SPPO(), rule, beta=beta, iterations=iterations, save=save)
        assert solution.average_suboptimality is not None
        path = log_ref if solution.log_policy is None else solution.log_policy[:, 0]
        return Play(solution.average_suboptimality[-1], solution.suboptimality[-1], path)

    return jax.vmap(one)(jnp.asarray(preference), jnp.asarray(log_ref))


def examples(iterations: int) -> dict[float, Play]:
    """One rock-paper-scissors for every alpha, with its path."""
    game = families.rock_paper_scissors(WIN_RATE, jnp.log(jnp.array([REFERENCE])))
    many = {a: play(game.preference, game.log_ref, a, BETA, iterations, True) for a in ALPHAS}
    return {alpha: jax.tree.map(lambda leaf: np.asarray(leaf[0]), many[alpha]) for alpha in many}


def _matched_examples(iterations: int) -> list[float]:
    """Exploitability without momentum, at the beta that matches each alpha."""
    game = families.rock_paper_scissors(WIN_RATE, jnp.log(jnp.array([REFERENCE])))
    betas = [matched_beta(alpha, BETA, iterations, unrestricted=True) for alpha in ALPHAS]
    plays = [play(game.preference, game.log_ref, 0.0, beta, iterations) for beta in betas]
    return [float(one.average[0]) for one in plays]


def _ranked(leads: np.ndarray) -> np.ndarray:
    """Arm 0 beats both others, but arm 1 does better against arm 2: no Assumption B.1."""
    narrow, wide = np.sort(leads, axis=1).T
    skew = np.zeros((leads.shape[0], 3, 3))
    skew[:, 0, 1], skew[:, 0, 2], skew[:, 1, 2] = narrow, narrow, wide + 0.05
    return 0.5 + skew - np.swapaxes(skew, 1, 2)


def _dominant(leads: np.ndarray) -> np.ndarray:
    """Arm 0 beats both others by the same amount, and they are even."""
    skew = np.zeros((leads.size, 3, 3))
    skew[:, 0, 1] = skew[:, 0, 2] = leads
    return 0.5 + skew - np.swapaxes(skew, 1, 2)


def _interval(first: Play, second: Play) -> str:
    low, high = judge.mean_interval(np.asarray(first.average - second.average))
    return f"${low:+.4f}$ to ${high:+.4f}$"


def _figure(one: dict[float, Play], matched: list[float]):
    matched_label = r"$\alpha = 0$, matched $\beta$"
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])

    def draw(figure: Figure) -> None:
        left, middle, right = figure.subplots(1, 3, width_ratios=[3, 3, 4])
        for axes, alpha, color in ((left, 0.0, "C0"), (middle, 0.9, "C5")):
            outline = corners[[0, 1, 2, 0]]
            axes.plot(outline[:, 0], outline[:, 1], color="0.5", linewidth=1)
            path = np.exp(one[alpha].path[:600]) @ corners
            axes.plot(path[:, 0], path[:, 1], color=color, linewidth=1.0)
            axes.plot(path[0, 0], path[0, 1], "o", color="0.2")
            axes.plot(0.5, np.sqrt(3) / 6, "+", color="C1", markersize=8)
            axes.set(aspect="equal", xticks=[], yticks=[])
            axes.set_title(rf"$\alpha = {alpha:g}$")
            axes.set_xlabel("policies; + equilibrium")
            axes.spines[:].set_visible(False)
        places = np.arange(len(ALPHAS))
        heights = [float(one[alpha].average) for alpha in ALPHAS]
        right.bar(places - 0.2, heights, 0.38, color="C0", label="SPPO")
        right.bar(places + 0.2, matched, 0.38, color="0.7", label=matched_label)
        right.legend(loc="upper left")
        right.set_title("Average policy")
        right.set(xlabel=r"$\alpha$", ylabel="exploitability")
        right.set_xticks(places, [f"{alpha:g}" for alpha in ALPHAS])
        right.grid(axis="x", visible=False)

    return draw
