"""B3: how fast the policy comes to the best arm, geometry by geometry."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.geometry import KL, Burg, ChiSquareKL, Euclidean, Geometry, Tsallis
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit
from apo_sim.running import run
from apo_sim.studies.geometry_kinds import COLOURS

ARMS, LEAST_MASS, LEAST_LEAD = 5, 0.01, 0.1
ALPHAS = (0.0, 0.3, 0.9)
# Where slopes are fitted: of log TV on gamma Delta, and of log TV on log gamma.
EXPONENTIAL, POWER = (200.0, 650.0), (1e6, 1e12)
# Updates of a run, and what every beta is of the one before it.
UPDATES = 50
FALL = {True: 0.95, False: 0.5}
# Slopes and how far off they may be.
SLOPES: dict[str, tuple[Geometry, float, float]] = {
    "KL": (KL(), -1.0, 0.01),
    "χ² + KL": (ChiSquareKL(), -1.0, 0.01),
    "Burg": (Burg(), -1.0, 0.001),
    "Tsallis 1/4": (Tsallis(0.25), -4 / 3, 0.001),
    "Tsallis 1/2": (Tsallis(0.5), -2.0, 0.001),
    "Tsallis 3/4": (Tsallis(0.75), -4.0, 0.001),
}
WRONG = 1.1  # what the negative control multiplies every slope by, and the gamma of Euclidean
# One bandit for the figure.
SHOWN_REWARD, SHOWN_REFERENCE = (0.8, 0.3, 0.0, -0.5), (0.15, 0.25, 0.3, 0.3)
SHOWN = ("KL", "χ² + KL", "Tsallis 1/2", "Burg")
LEAST = 1e-300  # no total variation before it may be smaller
SIDE = 1e-9  # as near to that gamma nobody knows on which side of it a run is


@claim(
    id="B3",
    title="Exponential, polynomial or finite: the rate belongs to the geometry",
    source="ours",
    statement=r"Exact DPO on a bandit whose best arm leads by $\Delta$: as $\gamma_T \to \infty$ "
    r"the total variation to $\pi^*$ falls like $e^{-\gamma_T\Delta}$ for KL and $\chi^2$ + KL, "
    r"there with a delay of $1/p$ in $\gamma_T\Delta$; like $\gamma_T^{-1/(1-q)}$ for Tsallis and "
    r"like $\gamma_T^{-1}$ for Burg; and for Euclidean it is exactly 0 from "
    r"$$\gamma_T \ge \max_{y \ne y^*} \frac{1 + \pi_{\mathrm{ref}}(y) - p}{\Delta_y}$$ on, and not "
    r"before. Momentum enters through $\gamma_T$ alone.",
    control=rf"slopes {100 * (WRONG - 1):.0f} % steeper, the $\gamma$ of Euclidean as much later",
    scope=Scope(
        "for all",
        rf"random bandits with a lead of {LEAST_LEAD:g} or more, every arm with a reference mass "
        rf"of {LEAST_MASS:g} or more; $\gamma_T\Delta$ from {EXPONENTIAL[0]:.0f} to "
        rf"{EXPONENTIAL[1]:.0f} (exponentials), $\gamma_T$ from $10^6$ to $10^{{12}}$ (powers)",
        arms=ARMS,
        iterations=UPDATES,
        beta="falling by 5 % or by half from update to update",
        samples="exact",
        alpha=ALPHAS,
    ),
)
def rates(study: Study) -> Finding:
    r"""Judge the slopes of log TV, on gamma Delta or on log gamma, and when Euclidean is exact.

    Problem: total variation to the optimal policy in runs with and without momentum, whose beta
    falls from update to update, so that gamma comes by the whole range.

    Method: least-squares slopes over the range, one an instance; the worst one counts. For the
    Euclidean geometry, lazy and agile, every update: 0 exactly if gamma is past the given one, and
    above 0 before.

    Guarantee: the paper's exp(-T) belongs to KL. The powers forget the reference, and every other
    arm counts, not only the nearest: pi(y) tends to ((1-q) gamma Delta_y)^(-1/(1-q)), which it
    does once that is far below the reference masses.

    Reference: ours; for KL, Theorem 4.8 of the paper with the exponent of N3.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("B3").source
        'ours'
    """
    rng = study.rng()
    count = study.pick(quick=200, full=5_000)
    tried = _bandits(rng, count)
    wrong = WRONG if study.wrong else 1.0
    parts, slopes, ends = [], {}, {}
    for name, (geometry, slope, tolerance) in SLOPES.items():
        found, off = _slopes(geometry, tried)
        slopes[name] = found[np.argmax(np.abs(found - slope))]
        ends[name] = float(off.max())
        parts.append(
            judge.identity(
                found - wrong * slope,
                tolerance,
                unit="slope",
                witness=lambda worst, name=name: {"geometry": name, **tried.witness(worst)},
            )
        )
    for lazy in (True, False):
        halfway = rng.uniform(5, UPDATES - 5, count)
        past, before = _euclidean(lazy, tried, halfway, wrong)
        parts.append(judge.upper_bound(past, 0.0, floor=0.0, unit="total variation past gamma"))
        parts.append(judge.upper_bound(-before, 0.0, floor=-LEAST, unit="minus that before it"))
    finding = judge.worst(parts)
    return dataclasses.replace(
        finding,
        instances=count * len(parts),
        facts={
            **{f"slope farthest off, {name}": float(slope) for name, slope in slopes.items()},
            **{f"off the leading term at the end, {name}": off for name, off in ends.items()},
        },
        note="Slopes farthest off: "
        + ", ".join(f"{slope:.4f} ({name})" for name, slope in slopes.items())
        + "; at the end the logarithm is within "
        + f"{max(ends.values()):.0e} of that of the leading term. The Euclidean policy is exact "
        f"in every update past that $\\gamma$ and in none before, lazy or agile, in {count} runs "
        "each.",
        draw=_draw,
    )


class Bandits(NamedTuple):
    """Bandits of one context with a lead, each with an extrapolation.

    Attributes:
        reward: shape (n, 1, K).
        log_ref: shape (n, 1, K).
        alpha: shape (n,).
    """

    reward: np.ndarray
    log_ref: np.ndarray
    alpha: np.ndarray

    @property
    def lead(self) -> np.ndarray:
        """The smallest gap to the best arm, shape (n,)."""
        ordered = np.sort(self.reward[:, 0], axis=1)
        return ordered[:, -1] - ordered[:, -2]

    def witness(self, index: int) -> dict[str, Any]:
        """One of them as plain data."""
        return {
            "reward": self.reward[index, 0],
            "reference": np.exp(self.log_ref[index, 0]),
            "alpha": self.alpha[index],
        }


def _bandits(rng: np.random.Generator, count: int) -> Bandits:
    """Rewards on [-1, 1] with a lead, references without rare arms."""
    others = rng.uniform(-1, 1 - LEAST_LEAD, (count, ARMS))
    best = np.arange(ARMS) == rng.integers(ARMS, size=(count, 1))
    second = np.where(best, -1.0, others).max(axis=1, keepdims=True)
    leader = rng.uniform(second + LEAST_LEAD, 1.0)
    share = rng.dirichlet(np.full(ARMS, 0.5), count)
    log_ref = np.log(LEAST_MASS + (1 - ARMS * LEAST_MASS) * share)
    alpha = rng.choice(ALPHAS, count)
    return Bandits(np.where(best, leader, others)[:, None], log_ref[:, None], alpha)


def _slopes(geometry: Geometry, tried: Bandits) -> tuple[np.ndarray, np.ndarray]:
    """The slope of every instance, and how far log TV is off its leading term at the end."""
    decays = isinstance(geometry, KL | ChiSquareKL)
    unit = tried.lead if decays else np.ones_like(tried.lead)
    first, last = EXPONENTIAL if decays else POWER
    log_tv, gamma, tail = map(np.asarray, _runs(geometry, FALL[decays], *tried, last / unit))
    found = []
    for y, total in zip(log_tv, gamma * unit[:, None], strict=True):
        x = total[total >= first]
        found.append(judge.slope(x if decays else np.log(x), y[total >= first])[0])
    return np.array(found), np.abs(log_tv - tail)[:, -1]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _runs(geometry: Geometry, fall: float, *lanes: Any) -> Any:
    """log TV and gamma after every update of runs that end at a given gamma, and the theory."""

    def one(reward, log_ref, alpha, last):
        bandit = Bandit(reward, log_ref)
        betas = fall ** jnp.arange(UPDATES)
        betas = betas * (theory.gamma(alpha, betas, UPDATES)[-1] / last)
        found = run(
            bandit,
            momentum=Constant(alpha),
            beta=betas,
            iterations=UPDATES,
            geometry=geometry,
        )
        tail = jax.vmap(lambda gamma: theory.log_tail(bandit, gamma, geometry)[0])(found.gamma)
        return jnp.log(found.tv), found.gamma, tail

    return jax.vmap(one)(*lanes)


def _euclidean(
    lazy: bool, tried: Bandits, halfway: np.ndarray, wrong: float
) -> tuple[np.ndarray, np.ndarray]:
    """TV of the updates past the gamma of exactness, and of those before it.

    Every run comes by that gamma after about `halfway` updates.
    """
    tv, gamma, exact = map(np.asarray, _until_exact(lazy, *tried, halfway))
    needed = wrong * exact[:, None]
    past, before = gamma > needed * (1 + SIDE), gamma < needed * (1 - SIDE)
    return tv[past], tv[before]


@functools.partial(jax.jit, static_argnums=0)
def _until_exact(lazy: bool, *lanes: Any) -> Any:
    def one(reward, log_ref, alpha, halfway):
        bandit = Bandit(reward, log_ref)
        exact = theory.exact_from(bandit)[0]
        gamma = theory.gamma(alpha, 1.0, UPDATES)
        beta = jnp.interp(halfway, jnp.arange(UPDATES), gamma) / exact
        geometry = Euclidean(lazy=lazy)
        rule = Constant(alpha)
        found = run(bandit, momentum=rule, beta=beta, iterations=UPDATES, geometry=geometry)
        return found.tv, found.gamma, exact

    return jax.vmap(one)(*lanes)


def _draw(figure: Figure) -> None:
    """One bandit: exact policies over gamma, with the leading terms of the theory."""
    left, right = figure.subplots(1, 2)
    bandit = Bandit(jnp.array([SHOWN_REWARD]), jnp.log(jnp.array([SHOWN_REFERENCE])))
    lead = float(bandit.gap[0])
    kinds = {**{name: SLOPES[name][0] for name in SHOWN}, "Euclidean": Euclidean()}
    for axes, gammas in ((left, np.linspace(0.05, 60, 400)), (right, np.geomspace(0.1, 1e6, 400))):
        for name, geometry in kinds.items():

            @jax.jit
            @jax.vmap
            def both(gamma, geometry=geometry):
                policy = theory.exact_policy(bandit, gamma, geometry)
                tail = theory.log_tail(bandit, gamma, geometry)[0]
                return bandit.mass_off_best(policy)[0], jnp.exp(tail)

            tv, tail = map(np.asarray, both(gammas))
            some = tv > 0
            axes.plot(gammas[some] * lead, tv[some], color=COLOURS[name], label=name)
            far = tail < 0.3
            axes.plot(gammas[far] * lead, tail[far], color="0.2", linestyle=":", linewidth=1.0)
        finish = float(theory.exact_from(bandit)[0]) * lead
        axes.axvline(finish, color=COLOURS["Euclidean"], linestyle="--", linewidth=1.0)
        axes.set(yscale="log", xlabel=r"$\gamma\,\Delta$", ylim=(1e-12, 2))
    left.plot([], [], ":", color="0.2", linewidth=1.0, label="leading term")
    left.set(ylabel=r"total variation to $\pi^*$", title="Exponential rates")
    right.set(xscale="log", title="Powers, and exactness")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=6)
