"""N11: momentum where no arm dominates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from apo_sim import families
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.loop import run
from apo_sim.losses import SPPO
from apo_sim.momentum import Constant
from apo_sim.studies import games
from apo_sim.studies.games import ALPHAS, final
from apo_sim.studies.intervals import mean_and_half
from apo_sim.studies.wording import plus_minus

BETA, UPDATES = 5.0, 600
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
    data = _games(study.pick(64, 256), study.sweep_seed())
    judged = "Assumption B.1" if study.wrong else "cycle"
    plain = final(data, "average", judged, alpha=0.0)
    fast = final(data, "average", judged, alpha=0.9)
    matched = final(data, "average", "cycle", alpha=0.9, momentum="matched_beta")

    def change(alpha: float, policy: str = "average", kind: str = "cycle") -> str:
        with_alpha = final(data, policy, kind, alpha=alpha)
        return f"${plus_minus(with_alpha - final(data, policy, kind, alpha=0.0))}$"

    return judge.compare(
        plain.values,
        fast.values,
        witness={"alpha 0": plain.mean().item(), "alpha 0.9": fast.mean().item()},
        unit="exploitability",
        note=(
            f"Over {data.sizes['seed']} cycles $\\alpha = 0.9$ changes the exploitability of the "
            f"average policy by {change(0.9)} and of the last one by {change(0.9, 'last')}; "
            f"$\\alpha = 0.3$ and $-0.3$ change the average's by {change(0.3)} and {change(-0.3)}. "
            f"A smaller $\\beta$ is not to blame: without momentum, at the matched one, it is "
            f"${plus_minus(matched)}$. Games with a best arm but without Assumption B.1 gain from "
            f"$\\alpha = 0.9$: {change(0.9, kind='best arm only')}."
        ),
        draw=lambda figure: _draw(figure, data),
    )


# The control judges other games of the same sweep.
@functools.lru_cache(maxsize=1)
def _games(seeds: int, seed: int) -> xr.Dataset:
    return games.measure(
        seeds=seeds, seed=seed, beta=BETA, losses=["sppo"], samples=[], progress=False
    )


def _draw(figure: Figure, data: xr.Dataset) -> None:
    """The paths on one cycle without and with momentum; the average policy over all of them."""
    left, middle, right = figure.subplots(1, 3, width_ratios=[3, 3, 4])
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])
    for axes, alpha, color in ((left, 0.0, "C0"), (middle, 0.9, "C5")):
        outline = corners[[0, 1, 2, 0]]
        axes.plot(outline[:, 0], outline[:, 1], color="0.5", linewidth=1)
        path = _path(alpha) @ corners
        axes.plot(path[:, 0], path[:, 1], color=color, linewidth=1.0)
        axes.plot(path[0, 0], path[0, 1], "o", color="0.2")
        axes.plot(0.5, np.sqrt(3) / 6, "+", color="C1", markersize=8)
        axes.set(aspect="equal", xticks=[], yticks=[])
        axes.set_title(rf"$\alpha = {alpha:g}$")
        axes.set_xlabel("policies; + equilibrium")
        axes.spines[:].set_visible(False)
    places = np.arange(len(ALPHAS))
    bars = ("unrestricted", "SPPO", "C0"), ("matched_beta", r"$\alpha = 0$, matched $\beta$", "0.7")
    for shift, (momentum, label, color) in zip((-0.2, 0.2), bars, strict=True):
        ends = data.average.isel(iteration=-1).sel(loss="sppo", kind="cycle", momentum=momentum)
        mean, half = mean_and_half(ends)
        right.bar(places + shift, mean, 0.38, yerr=half, color=color, label=label, ecolor="0.2")
    right.legend(loc="upper left")
    right.set_title("Average policy, all cycles")
    right.set(xlabel=r"$\alpha$", ylabel="exploitability")
    right.set_xticks(places, [f"{alpha:g}" for alpha in ALPHAS])
    right.grid(axis="x", visible=False)


def _path(alpha: float) -> np.ndarray:
    """The policies (UPDATES + 1, 3) of exact SPPO on one rock-paper-scissors."""
    game = families.rock_paper_scissors(WIN_RATE, jnp.log(jnp.array([REFERENCE])))
    solution = jax.jit(
        lambda alpha: run(game, SPPO(), Constant(alpha), beta=BETA, iterations=UPDATES, save="path")
    )(alpha)
    return np.exp(solution.log_policy[:, 0])
