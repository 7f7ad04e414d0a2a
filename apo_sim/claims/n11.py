"""N11: momentum where no arm dominates."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from apo_sim import families, theory
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.losses import SPPO
from apo_sim.momentum import Constant
from apo_sim.running import run
from apo_sim.statistics import mean_and_half, mean_estimate
from apo_sim.studies.caption import caption
from apo_sim.studies.game_kinds import KINDS, three_arms

ALPHA, NEGATIVE = 0.9, -0.3
BETAS = (1.0, 5.0, 50.0)
HORIZONS = (20, 100, 300, 2000)
CYCLE, DOMINANT, BEST_ARM = KINDS.index("cycle"), 0, KINDS.index("best arm only")
PLANTED = 0.02  # of exploitability
# The one game whose path is drawn.
UPDATES, REFERENCE, WIN_RATE = 600, (0.5, 0.3, 0.2), 0.9


@claim(
    id="N11",
    title="Where momentum hurts on a cycle",
    source="ours",
    statement=(
        r"On rock-paper-scissors with random leads and references, outside Assumption B.1, SPPO "
        r"with $\alpha = 0.9$ leaves the average of its first $T$ policies more exploitable than "
        r"with $\alpha = 0$: asked for each $\beta \in \{1, 5, 50\}$ and "
        r"$T \in \{20, 100, 300, 2000\}$."
    ),
    control="the same on games that meet Assumption B.1, where it is less exploitable in each cell",
    power=f"{PLANTED:g} more exploitability in place of the mean change of every cell",
    scope=Scope(
        "where",
        "rock-paper-scissors with random leads, from random references",
        arms=3,
        iterations=HORIZONS,
        beta=BETAS,
        samples="exact",
        alpha=(0.0, ALPHA),
    ),
)
def momentum_on_cycles(study: Study) -> Finding:
    r"""Map where momentum makes the average policy of SPPO worse on cyclic preferences.

    Problem: exponential weights circle around the equilibrium; extrapolation goes round faster,
    and enlarges the circle (N22). The average of few rounds gains from the first, that of many
    loses from the second.

    Method: paired differences over games, Student's intervals for all cells together; one run a
    game and a beta serves every horizon.

    Guarantee: empirical. The sign turns later for a larger beta: after some 20 updates at 1, some
    200 at 5, more than 2,000 at 50. Games in which one arm beats all others gain, with Assumption
    B.1 or, at beta = 5, without it.

    Reference: ours.

    Example:
        >>> round(float(families.rock_paper_scissors(0.9).dominance[0]), 6)
        -0.8
    """
    keys = jax.random.split(study.key, study.pick(quick=256, full=1000))
    judged = _change(keys, DOMINANT if study.wrong else CYCLE)
    cells = {
        f"β = {beta:g}, T = {updates}": judged.sel(beta=beta, iteration=updates).values
        for beta in BETAS
        for updates in HORIZONS
    }
    if study.planted:
        cells = {name: change - change.mean() + PLANTED for name, change in cells.items()}
    cycle = judged.sel(beta=5.0)
    late = {"iteration": 2000, "beta": 5.0}
    negative = _change(keys, CYCLE, NEGATIVE).sel(late)
    best_arm = _change(keys, BEST_ARM).sel(late)
    matched = _average(keys, CYCLE, 0.0, theory.matched_beta(ALPHA, 5.0, HORIZONS[-1]))[:, -1]
    plain = _average(keys, CYCLE, 0.0, 5.0)[:, -1]
    last = [_last(keys, alpha) for alpha in (ALPHA, 0.0)]
    ends = dict(zip((ALPHA, 0.0), (float(each.mean()) for each in last), strict=True))
    found = judge.estimates(cells)
    facts: dict[str, Any] = {f"change at {name}": cell for name, cell in found.items()}
    facts |= {
        "change at alpha -0.3, β = 5, T = 2000": mean_estimate(negative.values),
        "change on games with a best arm, β = 5, T = 2000": mean_estimate(best_arm.values),
        "exploitability at the matched beta, β = 5, T = 2000": float(matched.mean()),
        "exploitability without momentum, β = 5, T = 2000": float(plain.mean()),
        "exploitability of the last policy, α = 0, β = 5, T = 2000": ends[0.0],
        "exploitability of the last policy, α = 0.9, β = 5, T = 2000": ends[ALPHA],
    }
    return judge.where(
        found,
        low=0.0,
        high=math.inf,
        instances=keys.size,
        unit="cells where momentum hurts",
        facts=facts,
        note=(
            rf"At $\beta = 5$ $\alpha = {ALPHA:g}$ changes the exploitability by "
            f"{float(cycle.sel(iteration=100).mean()):+.3f} after 100 updates and by "
            f"{float(cycle.sel(iteration=2000).mean()):+.4f} after 2,000, and that of the last "
            f"policy then from {ends[0.0]:.2f} to {ends[ALPHA]:.2f}. The matched $\\beta$ without "
            f"momentum does no harm there ({matched.mean():.4f}, at $\\beta = 5$ without momentum "
            f"{plain.mean():.4f}); games with a best arm but without Assumption B.1 gain "
            f"({best_arm.mean().item():+.4f})."
        ),
        draw=lambda figure: _draw(figure, judged),
    )


def _change(keys: jax.Array, kind: int, alpha: float = ALPHA) -> xr.DataArray:
    """What alpha adds to the exploitability of the average policy, (beta, seed, iteration)."""
    changes = [_average(keys, kind, alpha, b) - _average(keys, kind, 0.0, b) for b in BETAS]
    updates = 1 + np.arange(HORIZONS[-1])
    coords = {"beta": list(BETAS), "iteration": updates}
    return xr.DataArray(np.array(changes), coords, ("beta", "seed", "iteration"))


def _average(keys: jax.Array, kind: int, alpha: float, beta: Any) -> np.ndarray:
    """Exploitability of the average of the first T policies for every T, (games, iterations)."""
    return np.asarray(_runs(keys, kind, alpha, np.broadcast_to(beta, HORIZONS[-1]))[0])


def _last(keys: jax.Array, alpha: float) -> np.ndarray:
    return np.asarray(_runs(keys, CYCLE, alpha, np.full(HORIZONS[-1], 5.0))[1][:, -1])


@jax.jit
def _runs(keys: Any, kind: Any, alpha: Any, beta: Any) -> Any:
    def one(key: Any) -> Any:
        game = three_arms(key, 1, 3, kind)
        rule = Constant(alpha, unrestricted=True)
        found = run(game, SPPO(), rule, beta=beta, iterations=HORIZONS[-1], save="average")
        return found.average_suboptimality, found.suboptimality

    return jax.vmap(one)(keys)


def _draw(figure: Figure, change: xr.DataArray) -> None:
    """The paths on one cycle without and with momentum; what momentum changes over T."""
    caption(
        figure,
        f"Left: one game; right: means over {change.sizes['seed']} games with 95 % intervals, each "
        "$T$ by itself",
    )
    left, middle, right = figure.subplots(1, 3, width_ratios=[3, 3, 5])
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])
    for axes, alpha, color in ((left, 0.0, "C0"), (middle, ALPHA, "C5")):
        outline = corners[[0, 1, 2, 0]]
        axes.plot(outline[:, 0], outline[:, 1], color="0.5", linewidth=1)
        path = _path(alpha) @ corners
        axes.plot(path[:, 0], path[:, 1], color=color, linewidth=1.0)
        axes.plot(path[0, 0], path[0, 1], "o", color="0.2")
        axes.plot(0.5, np.sqrt(3) / 6, "+", color="C1", markersize=8)
        axes.set(aspect="equal", xticks=[], yticks=[])
        axes.set_title(rf"$\alpha = {alpha:g}$, $\beta = 5$")
        axes.set_xlabel("policies; + equilibrium")
        axes.spines[:].set_visible(False)
    kept = np.unique(np.geomspace(1, HORIZONS[-1], 100).round().astype(int))
    for beta, color in zip(BETAS, ("C4", "C0", "C2"), strict=True):
        mean, half = mean_and_half(change.sel(beta=beta, iteration=kept))
        right.fill_between(kept, mean - half, mean + half, color=color, alpha=0.2, lw=0)
        right.plot(kept, mean, color=color, label=rf"$\beta = {beta:g}$")
    right.axhline(0.0, color="0.5", linewidth=0.8)
    right.set(xscale="log", xlabel="updates $T$", ylabel="change of the average's exploitability")
    right.set_title(rf"$\alpha = {ALPHA:g}$ in place of 0")
    right.legend(loc="lower left")


def _path(alpha: float) -> np.ndarray:
    """The policies (UPDATES + 1, 3) of exact SPPO on one rock-paper-scissors."""
    game = families.rock_paper_scissors(WIN_RATE, jnp.log(jnp.array([REFERENCE])))
    solution = jax.jit(
        lambda alpha: run(game, SPPO(), Constant(alpha), beta=5.0, iterations=UPDATES, save="path")
    )(alpha)
    return np.exp(solution.log_policy[:, 0])
