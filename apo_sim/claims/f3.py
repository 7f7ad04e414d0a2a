"""F3: how fast the regularised gap of XPO falls."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import _exploration as exploration
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.methods.method import Report
from apo_sim.methods.xpo import XPO, _Objective
from apo_sim.problems import LogPolicy, Problem
from apo_sim.pytree import pytree_dataclass
from apo_sim.studies.caption import caption

HORIZONS = (16, 64, 256)
LONGER = 1024  # at full effort
CONSTANT = 0.01
# Rewards and reference of every seed, shapes (seeds, 2), and beta, for a generator and a horizon.
Family = Callable[[np.random.Generator, int, int], tuple[np.ndarray, np.ndarray, float]]


@claim(
    id="F3",
    title="Rate of XPO",
    source="ours",
    statement=r"XPO on $T$ pairs, its bonus at the weight $\alpha_T$ of its theorem, rewards in "
    r"$[0, 1]$: with $J(\pi) = E_\pi r^* - \beta\,\mathrm{KL}(\pi\|\pi_{\mathrm{ref}})$, "
    r"$$\frac1T\sum_{t \le T}\bigl(\max_\pi J - J(\pi_t)\bigr) \le c\,(V + R)e^{2R}\log T\sqrt{"
    r"\frac{C_{\mathrm{cov}}\log(|\Pi|T/\delta)}{T}}$$ at $c = 0.01$; the theorem leaves $c$ open "
    r"and is for the best of the policies. ($V = R = 1$, $C_{\mathrm{cov}} = K$, and a free reward "
    r"counts as a nat of $\log|\Pi|$.)",
    control="no bonus, on the bandit of F2",
    scope=Scope(
        "on average",
        "two arms: random ones; a lead of one over the root of the number of pairs, 1/√T; a better "
        "arm of reference mass e^(-1/(8β)), β the proximal weight, and a worse one",
        arms=2,
        iterations=HORIZONS,
        beta=(0.015, 0.02, 0.05),
        samples=1,
    ),
)
def rate_of_xpo(study: Study) -> Finding:
    r"""Judge the average gap of XPO's policies, at several T, on families of two-armed bandits.

    Problem: the bonus has to be large enough that an arm is tried again after it lost a few
    comparisons, and small enough not to spoil the policy; alpha falls with sqrt(T) for that.

    Method: a run for each T, at the weight for this T. The objective is not convex, and the theorem
    is for its minimiser: on two arms it is found by search over their difference of rewards. The
    mean over seeds, with Student's intervals corrected for the cells.

    Guarantee: the theorem's, up to c. With c = 1 the bound says nothing before T is near 1e7. Where
    the better arm is hidden, more than half of c = 0.01 is needed at every T up to 256, so that
    this far the rate is the bound's; elsewhere the average gap falls nearly as 1/sqrt(T). What
    `XPO` finds, the stationary point next to DPO's minimiser, has no such rate where the better arm
    is hidden: an arm that lost its first comparison is not tried again.

    Reference: Xie et al. (2024), Theorem 3.1.

    Example:
        >>> problem = FAMILIES["hidden"](np.random.default_rng(0), 1, 64)
        >>> problem[0].tolist(), problem[2]
        ([[1.0, 0.5]], 0.015)
    """
    seeds = study.pick(100, 200)
    horizons = study.pick(HORIZONS, (*HORIZONS, LONGER))
    measured, careless = _measured(study.sweep_seed(), seeds, horizons)
    cells = {(name, t): gaps for name, row in measured.items() for t, gaps in row.items()}
    if study.wrong:
        cells = {("hidden", t): gaps for t, gaps in careless.items()}
    confidence = judge.together(len(cells))
    upper = [judge.mean_interval(gaps, confidence)[1] for gaps in cells.values()]
    bounds = [CONSTANT * float(exploration.bound(2, t)) for _, t in cells]
    means = {name: np.array([row[t].mean() for t in horizons]) for name, row in measured.items()}
    means["hidden, no bonus"] = np.array([careless[t].mean() for t in horizons])
    slopes = {
        name: judge.slope(np.log(horizons), np.log(gaps))[0] for name, gaps in means.items()
    }  # fmt: skip
    of_bound = judge.slope(np.log(horizons), np.log(exploration.bound(2, horizons)))[0]
    constants = {
        name: float((gaps / exploration.bound(2, horizons)).max()) for name, gaps in means.items()
    }
    named = list(cells)
    finding = judge.upper_bound(
        upper,
        bounds,
        trivial=exploration.RANGE,
        witness=lambda worst: {"family": named[worst][0], "pairs": named[worst][1]},
        unit="mean of the regularised gap, upper end",
        instances=seeds * len(cells),
        note=f"The gap falls as T to the {slopes['hidden']:.2f} where the better arm is hidden "
        f"({slopes['hidden, no bonus']:.2f} without a bonus), and to the "
        f"{max(slopes['random'], slopes['lead 1/√T']):.2f} or less on random arms and those that "
        f"lead by 1/√T; the bound, to the {of_bound:.2f}.",
        draw=lambda figure: _draw(figure, horizons, means),
    )
    facts = {
        **{f"exponent of T, {name}": slope for name, slope in slopes.items()},
        "exponent of T, bound": of_bound,
        **{f"c needed, {name}": needed for name, needed in constants.items()},
    }
    return dataclasses.replace(finding, facts=facts, cells=len(cells))


@pytree_dataclass
class OnTwoArms(XPO):
    """XPO whose objective is minimised over all differences of the rewards of two arms.

    Example:
        >>> from apo_sim.loop import solve
        >>> from apo_sim.problems import Bandit
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.25, 0.75]])))
        >>> found = solve(bandit, OnTwoArms(0.05), iterations=1)
        >>> [round(float(p), 3) for p in jnp.exp(found.final_log_policy[0])]
        [0.524, 0.476]
    """

    def step(
        self, problem: Problem, state: LogPolicy, data: Any, t: Any
    ) -> tuple[LogPolicy, Report]:
        """The policy of the least value of the objective."""
        log_ref = jax.nn.log_softmax(problem.log_ref, axis=1)
        pairs = jnp.sum(data.reference)
        objective = _Objective(
            data.wins[0] / pairs,
            data.reference[0] / pairs,
            log_ref[0],
            jnp.asarray(self.alpha, log_ref.dtype),
            jnp.asarray(self.beta, log_ref.dtype),
        )
        value = jax.vmap(lambda lead: objective.value(jnp.stack([lead, -lead]) / 2))
        longest = 2 * self.reward_bound
        # Of equals the first is taken, which leaves the policy where nothing is known.
        upward = jnp.linspace(0, longest, 51)
        tried = jnp.stack([upward, -upward], axis=1).ravel()
        reach = longest / 50
        lead = tried[jnp.argmin(value(tried))]
        for _ in range(3):
            nearby = jnp.clip(lead + reach * jnp.linspace(-1, 1, 21), -longest, longest)
            nearby = jnp.concatenate([lead[None], nearby])
            lead, reach = nearby[jnp.argmin(value(nearby))], reach / 10
        rewards = jnp.stack([lead, -lead])[None] / 2
        log_policy = jax.nn.log_softmax(log_ref + rewards / self.beta, axis=1)
        return log_policy, Report(rewards=rewards)


def _random(rng: np.random.Generator, seeds: int, horizon: int) -> Any:
    return rng.uniform(0, 1, (seeds, 2)), rng.dirichlet(np.ones(2), seeds), 0.05


def _leading(rng: np.random.Generator, seeds: int, horizon: int) -> Any:
    reward = 0.5 + np.array([horizon**-0.5, 0.0])
    return np.tile(reward, (seeds, 1)), np.full((seeds, 2), 0.5), 0.02


def _rare(reward: float) -> Family:
    def drawn(rng: np.random.Generator, seeds: int, horizon: int) -> Any:
        beta = 0.015
        mass = np.exp(-1 / (8 * beta))
        return np.tile([reward, 0.5], (seeds, 1)), np.tile([mass, 1 - mass], (seeds, 1)), beta

    return drawn


FAMILIES: dict[str, Family] = {
    "random": _random,
    "lead 1/√T": _leading,
    "hidden": _rare(1.0),
    "decoy": _rare(0.0),
}


@functools.lru_cache(maxsize=2)
def _measured(
    seed: int, seeds: int, horizons: tuple[int, ...]
) -> tuple[dict[str, dict[int, np.ndarray]], dict[int, np.ndarray]]:
    """Average gaps (seeds,) by family and T, and those without a bonus where the arm is hidden."""
    runs = [(name, t, 1.0) for name in FAMILIES for t in horizons]
    runs += [("hidden", t, 0.0) for t in horizons]
    lanes = []
    for name, t, bonus in runs:
        # The same random bandits at every T.
        reward, reference, beta = FAMILIES[name](np.random.default_rng(seed), seeds, t)
        lanes.append(
            exploration.Lanes(
                reward[:, None],
                np.log(reference)[:, None],
                np.full(seeds, beta),
                np.full(seeds, bonus * exploration.weight(2, beta, t)),
                exploration.keys(seed, seeds),
            )
        )
    joined = exploration.Lanes(*(np.concatenate(fields) for fields in zip(*lanes, strict=True)))
    path = exploration.gaps(joined, max(horizons), OnTwoArms).reshape(len(runs), seeds, -1)
    average = [gaps[:, :t].mean(axis=1) for gaps, (_, t, _) in zip(path, runs, strict=True)]
    found: dict[str, dict[int, np.ndarray]] = {name: {} for name in FAMILIES}
    careless: dict[int, np.ndarray] = {}
    for (name, t, bonus), gaps in zip(runs, average, strict=True):
        (found[name] if bonus else careless)[t] = gaps
    return found, careless


def _draw(figure: Figure, horizons: tuple[int, ...], means: dict[str, np.ndarray]) -> None:
    caption(
        figure,
        "Mean over seeds of the average regularised gap of the policies up to T; each T is a run "
        "of its own\nweight of the bonus",
    )
    axes = figure.subplots()
    styles = ("C0o-", "C2s-", "C3^-", "C1v-", "C3^--")
    for (name, gaps), style in zip(means.items(), styles, strict=True):
        colour, marker, line = style[:2], style[2], style[3:]
        axes.loglog(horizons, gaps, marker=marker, linestyle=line, color=colour, label=name)
    times = np.geomspace(horizons[0], horizons[-1], 50)
    bound = CONSTANT * exploration.bound(2, times)
    axes.loglog(times, bound, color="0.4", label="bound at c = 0.01")
    axes.loglog(
        times, 0.3 / np.sqrt(times), color="0.6", linestyle=":", label=r"$\propto 1/\sqrt{T}$"
    )
    axes.set_xticks(horizons, [str(t) for t in horizons])
    axes.minorticks_off()
    axes.set(xlabel="pairs $T$", ylabel="average gap")
    axes.legend(fontsize=8, ncols=2, loc="lower left")
