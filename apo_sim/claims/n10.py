"""N10: the sharp bound on the total variation, for SPPO under Assumption B.1."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.losses import SPPO
from apo_sim.momentum import Constant
from apo_sim.problems import Game
from apo_sim.running import run
from apo_sim.theory import gamma, log_sharp_tv

ARMS = 4
ITERATIONS = 20
# The adversary's problem: a bound far from its trivial values, so that touching it says something.
P_STAR, DOMINANCE, ALPHA, BETA = 0.05, 0.2, 0.6, 1.0


@claim(
    id="N10",
    title="Sharp total variation for general preferences",
    source="ours",
    statement=(
        r"SPPO with exact preferences, on every game that meets Assumption B.1 with $\Delta$: "
        r"$$D_{TV}(\hat\pi_T, \pi^*) \le \frac{1 - p}{p\,e^{\gamma_T\Delta} + 1 - p}.$$"
    ),
    control="the bound divided by two",
    scope=Scope(
        "for all",
        "random games under Assumption B.1, Bradley-Terry bandits, and an adversary's games",
        arms=ARMS,
        iterations=ITERATIONS,
        beta="such that γΔ is from log(1/p − 1) − 0.5 to 20 more",
        samples="exact",
        alpha="from 0 to 0.9",
    ),
)
def sharp_tv_of_games(study: Study) -> Finding:
    r"""Search for games on which SPPO is slower than the sharp bound allows.

    Problem: rewards are win rates against the current policy and move with it, but Assumption
    B.1 keeps y* ahead of every other arm by Delta at every update.

    Method: random games that meet the assumption and Bradley-Terry bandits, with random alpha,
    beta and references; then an adversary on all games of four arms that meet it.

    Guarantee: tight, attained when y* is ahead by exactly Delta of all arms and against all
    opponents.

    Reference: ours; Theorem B.2 of the paper has half the exponent.

    Example:
        >>> matrix = dominated(np.zeros((3, 3)), np.zeros(3), 0.2)
        >>> game = Game(matrix[None], jnp.log(jnp.full((1, 4), 0.25)))
        >>> bool(game.dominance[0] >= 0.2 - 1e-6)
        True
    """
    drawn = random_runs(study, study.pick(quick=1000, full=100_000))
    bound = drawn.log_bound(log_sharp_tv)
    top = _climb(dataclasses.replace(study, variant="stated"))
    worst = _adversary(top.params)
    measured = np.exp(np.append(drawn.log_tv, worst.log_tv))
    bounds = np.exp(np.append(bound, worst.log_bound(log_sharp_tv)))
    bounds = bounds / 2 if study.wrong else bounds
    game = np.asarray(dominated(top.params["duels"], top.params["leads"], DOMINANCE))
    return judge.upper_bound(
        measured,
        bounds,
        floor=0.0,
        witness=lambda i: {"measured": measured[i], "bound": bounds[i]},
        unit="total variation",
        note=(
            f"The adversary, at $p = {P_STAR}$ and $\\Delta = {DOMINANCE}$, comes within "
            f"{-np.expm1(top.value):.1g} of the bound with a game whose best arm wins with "
            f"{game[0, 1:].min():.2f} to {game[0, 1:].max():.2f} against the others."
        ),
        draw=_figure(measured[:-1], bounds[:-1], np.asarray(top.trace)),
    )


# The control changes the bound only, so both runs of the check share the climb.
@functools.lru_cache(maxsize=1)
def _climb(study: Study) -> judge.Climb:
    rng, restarts = study.rng(1), study.pick(quick=8, full=64)
    starts = {
        "duels": rng.normal(size=(restarts, ARMS - 1, ARMS - 1)),
        "leads": rng.normal(size=(restarts, ARMS - 1)),
        "reference": rng.normal(size=(restarts, ARMS - 1)),
    }
    return judge.climb(
        lambda raw: _adversary(raw).excess(log_sharp_tv),
        starts,
        steps=study.pick(quick=200, full=1000),
        learning_rate=0.2,
    )


class Runs(NamedTuple):
    """What the bounds compare: runs of SPPO under Assumption B.1, each on one context."""

    log_tv: jax.Array
    log_p_star: jax.Array
    dominance: jax.Array
    gamma: jax.Array

    def log_bound(self, log_bound: Any) -> jax.Array:
        """The logarithm of one of the theory's bounds on the total variation."""
        return log_bound(None, self.dominance, self.gamma, log_p_star=self.log_p_star)

    def excess(self, log_bound: Any) -> jax.Array:
        """Log of total variation over bound."""
        return self.log_tv - self.log_bound(log_bound)


def last_policy(game: Game, used: Any, alpha: Any, beta: Any) -> Runs:
    """Run exact SPPO with extrapolation `used` on one context; gamma is the theory's at alpha."""
    rule = Constant(used, unrestricted=True)
    solution = run(game, SPPO(), rule, beta=beta, iterations=ITERATIONS)
    off = jnp.arange(game.num_arms) != game.best_arm[:, None]
    log_tv = jax.nn.logsumexp(jnp.where(off, solution.final_log_policy, -jnp.inf))
    total = gamma(alpha, beta, ITERATIONS)[-1]
    return Runs(log_tv, game.log_best_ref[0], game.dominance[0], total)


def random_runs(study: Study, count: int, sign: float = 1.0) -> Runs:
    """Run SPPO on `count` games under Assumption B.1 and as many Bradley-Terry bandits.

    beta is such that gamma Delta takes the policy at least near one half of the best arm: before
    that every bound is near one, and near the truth.
    """
    rng = study.rng()
    duels, leads = rng.normal(size=(count, ARMS - 1, ARMS - 1)), rng.normal(size=(count, ARMS - 1))
    games = jax.vmap(dominated)(duels, leads, rng.uniform(0.05, 0.4, count))
    rewards = -np.sort(-rng.uniform(-1, 1, (count, ARMS)), axis=1)
    bandits = jax.nn.sigmoid(rewards[:, :, None] - rewards[:, None, :])
    p_star = 10 ** rng.uniform(-3, -0.5, (2 * count, 1))
    rest = rng.dirichlet(np.full(ARMS - 1, 0.5), 2 * count) + 1e-12
    masses = np.concatenate([p_star, (1 - p_star) * rest / rest.sum(axis=1, keepdims=True)], axis=1)
    alpha = rng.uniform(0, 0.9, 2 * count)
    progress = np.log(1 / p_star[:, 0] - 1) + rng.uniform(-0.5, 20, 2 * count)
    return _run_all(
        jnp.concatenate([games, bandits]), np.log(masses), sign * alpha, alpha, progress
    )


@jax.jit
def _run_all(preference: Any, log_ref: Any, used: Any, alpha: Any, progress: Any) -> Runs:
    def one(preference: Any, log_ref: Any, used: Any, alpha: Any, progress: Any) -> Runs:
        game = Game(preference[None], log_ref[None])
        beta = gamma(alpha, 1.0, ITERATIONS)[-1] * game.dominance[0] / progress
        return last_policy(game, used, alpha, beta)

    return jax.vmap(one)(preference, log_ref, used, alpha, progress)


def dominated(duels: Any, leads: Any, dominance: Any) -> jax.Array:
    """The preferences (K, K) of a game under Assumption B.1; every such game has numbers.

    Args:
        duels: how the other arms fare among each other, (K-1, K-1), any numbers.
        leads: how far arm 0 wins beyond what it must, (K-1,), any numbers.
        dominance: Delta of the assumption, in (0, 1/2].
    """
    wins = 0.5 + dominance + (0.5 - dominance) * jax.nn.sigmoid(leads)
    # y may beat y' with at most P(0 > y') - Delta, and y' may beat y with at most P(0 > y) - Delta.
    low, high = 1 + dominance - wins[:, None], wins[None, :] - dominance
    others = low + (high - low) * jax.nn.sigmoid(duels - duels.T)
    best = jnp.concatenate([jnp.full(1, 0.5), wins])[None]
    return jnp.concatenate([best, jnp.concatenate([1 - wins[:, None], others], axis=1)])


def _adversary(raw: Any) -> Runs:
    rest = jax.nn.log_softmax(raw["reference"]) + np.log1p(-P_STAR)
    log_ref = jnp.concatenate([jnp.full(1, np.log(P_STAR)), rest])[None]
    game = Game(dominated(raw["duels"], raw["leads"], DOMINANCE)[None], log_ref)
    return last_policy(game, ALPHA, ALPHA, BETA)


def _figure(measured: np.ndarray, bounds: np.ndarray, trace: np.ndarray):
    some = np.linspace(0, measured.size - 1, min(measured.size, 1500)).astype(int)

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        ends = [1e-10, 1.0]
        left.loglog(bounds[some], measured[some], ".", color="C0", markersize=3, alpha=0.6)
        left.loglog(ends, ends, color="C2", label="sharp bound")
        left.set_title("Random games and bandits")
        left.set(xlabel="sharp bound", ylabel="total variation", xlim=ends, ylim=(1e-20, 1))
        left.legend(loc="upper left")
        right.plot(np.exp(trace), color="C0", linewidth=1.0)
        right.axhline(1.0, color="C2")
        right.set_title("An adversary at work")
        right.set(xlabel="ascent step", ylabel="total variation / sharp bound", ylim=(0, 1.08))

    return draw
