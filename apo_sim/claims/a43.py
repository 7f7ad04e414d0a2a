"""Assumption 4.3: one bound R on the log-ratios of all the policies a run visits."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import families, theory
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.loop import run
from apo_sim.losses import DPO
from apo_sim.momentum import Constant

ARMS = 5
BETA = 1.0
ITERATIONS = 100
SAMPLES = 1000.0
REALIZABLE = 2.0  # what A4.2 asks for, and the solver's default
ALPHAS = (0.0, 0.3, 0.6, 0.9)
COLORS = ("C0", "C3", "C4", "C5")


@claim(
    id="A4.3",
    title="Boundedness: one R for all policies visited",
    source="paper",
    statement=(
        r"$$|\beta\log(\pi/\pi_t)| \le R \quad\text{for all}\quad \pi, \pi_t \in \Pi.$$ The class "
        r"contains at least the policies that a run visits; the $R$ is the 2 that realizability "
        r"needs (A4.2)."
    ),
    control="$R = 1$, less than one update may need",
    errata=(
        r"Assumption 4.3 asks for $R$ over all pairs of policies, though each update needs it for "
        r"its own centre only. Over all pairs of visited policies no $R$ that leaves a single "
        r"update realizable lasts; without sampling it grows with $T/(1-\alpha)$ (N8)."
    ),
)
def boundedness(study: Study) -> Finding:
    r"""Measure R over consecutive policies and over all pairs that a run visits.

    Problem: the assumption bounds every policy of the class against every other. The visited
    ones are in the class, so their largest |beta log pi/pi_t| is the least R possible.

    Method: DPO with alpha = 0.3 from N pairs an iteration on random bandits, the mean over seeds;
    the same runs with exact preferences for comparison.

    Guarantee: none; it fails by a factor that grows with the length of the run. The upper half
    of the assumption is not convex in r either, so the solver keeps to the convex set implied by
    both, max r - min r <= 2 R, in which |beta log pi/pi_t| reaches 2 R.

    Reference: Assumption 4.3 of the paper.

    Example:
        >>> bounds = visited_bounds(jax.random.key(0)[None], 0.9, None, 30)
        >>> float(bounds.consecutive.max()) < 2 < float(bounds.all_pairs[0, -1])
        True
    """
    keys = jax.random.split(study.subkey(0), study.pick(quick=32, full=128))
    iterations = study.pick(quick=ITERATIONS, full=10 * ITERATIONS)
    sampled = visited_bounds(keys, 0.3, SAMPLES, iterations)
    exact = [visited_bounds(keys, alpha, None, iterations) for alpha in ALPHAS]
    limit = 1.0 if study.wrong else REALIZABLE
    last = np.asarray(sampled.all_pairs[:, -1])
    interval = judge.mean_interval(last)
    mean_path = np.asarray(sampled.all_pairs).mean(axis=0)
    passed = int(np.argmax(mean_path > limit)) + 1
    consecutive = np.asarray(sampled.consecutive)
    beyond = np.mean(consecutive > limit * (1 + 1e-6))
    exact_last = float(np.asarray(exact[-1].all_pairs)[:, -1].mean())
    exact_single = max(float(jnp.max(bounds.consecutive)) for bounds in exact)
    return Finding(
        "fails" if interval[0] > limit else "holds" if interval[1] <= limit else "not reproduced",
        measured=last.mean(),
        bound=limit,
        interval=interval,
        unit="R",
        instances=last.size,
        counterexample={
            "alpha": 0.3,
            "beta": BETA,
            "samples": SAMPLES,
            "arms": ARMS,
            "iterations": iterations,
            "R over all pairs, mean": last.mean(),
            "first iteration beyond R, mean run": passed,
        },
        note=(
            f"Measured over all pairs after {iterations} sampled updates, $\\alpha = 0.3$; exact "
            f"runs with $\\alpha = 0.9$ reach {exact_last:.0f}. A single exact update stays within "
            f"{exact_single:.2f}. Of the single sampled updates {100 * beyond:.0f} % pass the $R$ "
            f"(largest {consecutive.max():.1f}), since the solver enforces the convex set "
            r"$\max r - \min r \le 2R$."
        ),
        draw=_figure(mean_path, [np.asarray(bounds.all_pairs).mean(axis=0) for bounds in exact]),
    )


@functools.partial(jax.jit, static_argnames="iterations")
def visited_bounds(
    keys: jax.Array,
    alpha: Any,
    samples: Any,
    iterations: int,
) -> theory.VisitedBounds:
    """Run DPO on a random bandit for every key and measure R, (runs, iterations).

    Without samples, preferences are exact.
    """

    def one(key: jax.Array) -> theory.VisitedBounds:
        to_rewards, to_data = jax.random.split(key)
        bandit = families.uniform_bandit(to_rewards, 1, ARMS)
        solution = run(
            bandit,
            DPO(),
            Constant(alpha),
            beta=BETA,
            iterations=iterations,
            samples=samples,
            key=to_data,
            save="path",
        )
        return theory.visited_bounds(solution, BETA)

    return jax.vmap(one)(keys)


def _figure(sampled: np.ndarray, exact: list[np.ndarray]):
    updates = np.arange(1, sampled.size + 1)
    shown = np.unique(np.geomspace(1, sampled.size, 100).astype(int)) - 1

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        for alpha, color, bounds in zip(ALPHAS, COLORS, exact, strict=True):
            label = rf"exact, $\alpha = {alpha:g}$"
            left.loglog(updates[shown], bounds[shown], color=color, label=label)
        label = r"sampled, $\alpha = 0.3$"
        left.loglog(updates[shown], sampled[shown], color="C3", linestyle="--", label=label)
        left.axhline(REALIZABLE, color="C1")
        left.text(updates[-1], REALIZABLE, "$R = 2$", color="C1", ha="right", va="bottom")
        left.set_title("All pairs of policies visited")
        left.set(xlabel="updates $T$", ylabel="least possible $R$")
        left.legend(fontsize=7.5)
        _draw_feasible(right)

    return draw


def _draw_feasible(axes) -> None:
    """Rewards of three arms that Assumption 4.3 allows, and the convex set around them."""
    grid = np.linspace(-4.4, 4.4, 301)
    first, second = np.meshgrid(grid, grid)
    rewards = np.stack([first, second, np.zeros_like(first)])
    centre = np.array([0.05, 0.05, 0.9])[:, None, None]
    beta = 1.0
    shift = beta * np.log((centre * np.exp(rewards / beta)).sum(axis=0))
    literal = np.abs(rewards - shift).max(axis=0) - REALIZABLE
    convex = np.ptp(rewards, axis=0) - 2 * REALIZABLE
    axes.contourf(first, second, convex, levels=[-10, 0], colors=["C2"], alpha=0.25)
    axes.contour(first, second, convex, levels=[0], colors=["C2"])
    axes.contourf(first, second, literal, levels=[-10, 0], colors=["C1"], alpha=0.35)
    axes.contour(first, second, literal, levels=[0], colors=["C1"])
    axes.text(0.0, 0.0, "Assumption 4.3", color="C1", ha="center", va="center")
    axes.text(0.1, -3.2, "convex set", color="C2", ha="right", va="center")
    axes.set_title("One update, three arms")
    axes.set(xlabel="$r(1) - r(3)$", ylabel="$r(2) - r(3)$", aspect="equal")
    axes.grid(False)
