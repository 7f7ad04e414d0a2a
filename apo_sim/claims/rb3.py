"""Remark B.3: the average policy of SPPO against its last iterate."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from apo_sim import families
from apo_sim.claims import judge
from apo_sim.claims.n10 import dominated, random_runs
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.losses import SPPO
from apo_sim.problems import Game
from apo_sim.running import run
from apo_sim.theory import average_exploitability, log_tv_printed

ARMS = 4
KINDS = ("any game", "Assumption B.1")


@claim(
    id="RB.3",
    title="Average policy and last iterate",
    source="paper",
    statement=(
        r"SPPO with exact preferences. The average policy on any game: $$\max_y P(y \succ "
        r"\bar\pi_T) - \tfrac12 \le \frac{\beta\log(1/p_{\min})}{T} + \frac{1}{8\beta} = "
        r"O(1/\sqrt T) \text{ with the best } \beta,$$ without momentum. The last policy under "
        r"Assumption B.1: $O(e^{-\gamma_T\Delta/2})$ in total variation."
    ),
    control=r"the term $1/(8\beta)$ left out",
    scope=Scope(
        "for all",
        "random games and an adversary's, uniform reference, for the average policy; games under "
        r"Assumption B.1 and Bradley-Terry bandits, $\alpha$ from 0 to 0.9, for the last",
        arms=ARMS,
        iterations="10 to 300 quick, 10 to 3,000 full",
        beta="the best for the bound; an adversary's",
        samples="exact",
        alpha="0; from 0 to 0.9",
    ),
)
def average_and_last(study: Study) -> Finding:
    r"""Judge the two rates that the remark compares.

    Problem: averages converge on every game, at a rate that asks for beta of order sqrt(T); the
    last policy converges geometrically under Assumption B.1, and not at all on a cycle.

    Method: random games of both kinds for many T, each with its beta; an adversary on small
    games; the slope of the mean exploitability against T, in logarithms.

    Guarantee: both hold. At the beta that is best for the bound random games follow its rate. At a
    fixed one the average falls as 1/T under Assumption B.1, the price of averaging the first
    updates.

    Reference: Remark B.3 of the paper; the constants are those of exponential weights.

    Example:
        >>> [round(float(bound(tuned(t), t, False)), 3) for t in (100, 400)]
        [0.083, 0.042]
    """
    horizons = study.pick(quick=(10, 30, 100, 300), full=(10, 30, 100, 300, 1000, 3000))
    raw = study.rng(1).normal(size=(study.pick(quick=50, full=200), ARMS, ARMS))
    games = {
        "any game": np.array(jax.nn.sigmoid(3 * (raw - np.swapaxes(raw, 1, 2)))),
        "Assumption B.1": _dominant(study, raw.shape[0]),
    }
    averages = {
        kind: np.array([_average_of_all(games[kind], tuned(t), t) for t in horizons])
        for kind in KINDS
    }
    best = np.array([bound(tuned(t), t, study.wrong) for t in horizons])[:, None]
    ratios = [averages[kind] / best for kind in KINDS]
    measured, beta, horizon = _climb(dataclasses.replace(study, variant="stated"))
    ratios.append(np.array(measured / bound(beta, horizon, study.wrong)))
    last = random_runs(study, study.pick(quick=200, full=20_000))
    ratios.append(np.exp(last.excess(log_tv_printed)))
    slopes = _slopes(averages, horizons)
    return judge.upper_bound(
        np.concatenate([np.ravel(ratio) for ratio in ratios]),
        1.0,
        witness={"worst average / bound": float(max(np.max(ratio) for ratio in ratios[:3]))},
        unit="measured / bound",
        note=(
            f"With the best $\\beta$ for each $T$ the exploitability of the average falls as $T$ "
            f"to the power {slopes[0]} over random games, {slopes[1]} under Assumption B.1 "
            f"(intervals over games). The last policy follows Theorem B.2 there; on one "
            rf"rock-paper-scissors at $\beta = 1$ its exploitability is "
            f"{_last_on_cycle(horizons[-1]):.2f} after {horizons[-1]:,} updates. Worst ratio to "
            f"its bound of an average {max(np.max(ratio) for ratio in ratios[:3]):.2f}, of a last "
            f"policy {np.max(ratios[3]):.2f}."
        ),
        draw=_figure(horizons, averages, games),
    )


def tuned(iterations: int) -> float:
    """The beta that makes the bound smallest, for a uniform reference."""
    return float(np.sqrt(iterations / (8 * np.log(ARMS))))


def bound(beta: Any, iterations: int, wrong: bool) -> Any:
    """The bound on the exploitability of the average, from a uniform reference."""
    whole = average_exploitability(beta, iterations, 1 / ARMS)
    return whole - 1 / (8 * beta) if wrong else whole


def _average(preference: Any, beta: Any, iterations: int) -> jax.Array:
    """Exploitability of the average of pi_0 ... pi_{T-1}."""
    game = Game(preference[None], families.uniform_reference(1, ARMS))
    solution = run(game, SPPO(), beta=beta, iterations=iterations, save="path")
    average = jnp.mean(jnp.exp(solution.behaviour[:-1]), axis=0)
    return game.context_probs @ game.suboptimality_of(average)


@functools.partial(jax.jit, static_argnames="iterations")
def _average_of_all(preference: Any, beta: Any, iterations: int) -> jax.Array:
    return jax.vmap(lambda matrix: _average(matrix, beta, iterations))(preference)


def _dominant(study: Study, count: int) -> np.ndarray:
    rng, others = study.rng(3), ARMS - 1
    duels, leads = rng.normal(size=(count, others, others)), rng.normal(size=(count, others))
    return np.array(jax.vmap(dominated)(duels, leads, rng.uniform(0.02, 0.4, count)))


# The control changes the bound only, so both runs of the check share the climb.
@functools.lru_cache(maxsize=1)
def _climb(study: Study, iterations: int = 20) -> tuple[float, float, int]:
    """An adversary chooses the game and beta: the exploitability, beta and T where it arrives."""
    rng, restarts = study.rng(2), study.pick(quick=8, full=64)

    def ratio(raw: Any) -> Any:
        beta = jnp.exp(raw["log_beta"])
        matrix = jax.nn.sigmoid(raw["duels"] - raw["duels"].T)
        return _average(matrix, beta, iterations) / bound(beta, iterations, False)

    starts = {
        "duels": rng.normal(size=(restarts, ARMS, ARMS)),
        "log_beta": rng.uniform(-1, 1, restarts),
    }
    top = judge.climb(ratio, starts, steps=study.pick(quick=150, full=1000))
    beta = float(np.exp(top.params["log_beta"]))
    return top.value * float(bound(beta, iterations, False)), beta, iterations


def _slopes(averages: dict[str, np.ndarray], horizons: tuple[int, ...]) -> list[str]:
    parts = []
    for kind in KINDS:
        each = [judge.slope(np.log(horizons), np.log(a))[0] for a in averages[kind].T]
        ends = judge.mean_interval(each, judge.together(len(KINDS)))
        parts.append("${:.2f}$ to ${:.2f}$".format(*ends))
    return parts


def _last_on_cycle(iterations: int) -> float:
    reference = jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
    game = families.rock_paper_scissors(0.9, reference)
    return float(run(game, SPPO(), beta=1.0, iterations=iterations).suboptimality[-1])


def _figure(horizons: tuple[int, ...], averages: dict[str, np.ndarray], games):
    reference = families.uniform_reference(1, ARMS)
    game = Game(games["Assumption B.1"][:1], reference)
    run_once = run(game, SPPO(), beta=1.0, iterations=300, save="average")
    average, last = np.asarray(run_once.average_suboptimality), np.asarray(run_once.suboptimality)

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        best = [float(bound(tuned(t), t, False)) for t in horizons]
        left.loglog(horizons, best, color="C1", label=r"bound, $\sim 1/\sqrt{T}$")
        for kind, color in zip(KINDS, ("C3", "C0"), strict=True):
            mean = averages[kind].mean(axis=1)
            left.loglog(horizons, mean, "o-", color=color, label=kind)
        left.yaxis.set_minor_formatter(NullFormatter())
        left.set_ylim(8e-3, 0.5)
        left.set_title(r"Average policy, $\beta$ tuned to the bound")
        left.set(xlabel="updates $T$", ylabel="exploitability, mean over games")
        left.legend(loc="lower left")
        updates = np.arange(1, last.size + 1)
        right.loglog(updates, average, color="C0", label="average policy")
        right.loglog(updates, last, color="C2", label="last policy")
        right.set_title(r"A game with a dominant arm, $\beta = 1$")
        right.set(xlabel="updates $T$", ylabel="exploitability", ylim=(1e-12, 1))
        right.legend(loc="lower left")

    return draw
