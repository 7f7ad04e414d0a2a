"""Assumption 4.2: can the class represent the reward it is asked to learn?"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import families
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.losses import DPO
from apo_sim.momentum import Constant
from apo_sim.running import run
from apo_sim.theory import assumptions

ARMS = 5
ITERATIONS = 30
SHARP = 0.01  # how near to the statement's R an adversary must come


@claim(
    id="A4.2",
    title="Realizability: how large the class must be",
    source="paper",
    statement=(
        r"Some policy has $\beta\log(\pi/\pi_t) = r^*$ up to a constant in $y$. Around one centre "
        r"$\pi_t$, whichever it is, and for every $r^* \in [-1, 1]$, the tables with "
        r"$|\beta\log(\pi/\pi_t)| \le R$ contain it if $$R = 2,$$ and for no smaller $R$."
    ),
    scope=Scope(
        "for all",
        "any rewards in [-1, 1], any centre; beside them, exact runs on random bandits",
        arms=ARMS,
        iterations=ITERATIONS,
        beta="any",
        samples="exact",
        alpha="from 0 to 1",
    ),
    control="$R = 1$, half the range of the reward",
)
def realizability(study: Study) -> Finding:
    r"""Find the least R that leaves every reward in [-1, 1] realizable.

    Problem: the policy proportional to pi_t exp(r*/beta) has the reward r* - beta log Z, and
    beta log Z lies between the least and the largest reward. So 2 suffices.

    Method: the R that every update of exact runs on random bandits needs, and an adversary that
    chooses rewards, centre and beta. The largest must not pass R, and must come near it.

    Guarantee: tight. A centre with nearly all its mass on the worst arm needs R = 2 for the
    best. The convex set max r - min r <= 2 R needs R = 1 only. Around all centres that a sampled
    run may visit no bounded class contains the policy, whatever its R (A4.3).

    Reference: Assumption 4.2 of the paper together with 4.3; the constant is ours.

    Example:
        >>> best_of_two = needed_bound(
        ...     jnp.array([1.0, -1.0]), jnp.array([-9.0, 9.0]), jnp.array(5.0)
        ... )
        >>> round(float(best_of_two), 2)
        2.0
    """
    keys = jax.random.split(study.subkey(0), study.pick(quick=300, full=10_000))
    needed = np.asarray(_needed_by_runs(keys))
    top = _adversary(dataclasses.replace(study, variant="stated"))
    stated = 1.0 if study.wrong else 2.0
    note = (
        f"An adversary needs R = {top:.4f}; exact runs on random bandits needed at most "
        rf"{needed.max():.2f}. The convex set $\max_y r - \min_y r \le 2R$ of the solver needs "
        r"$R = 1$; rewards $P(\cdot\succ\pi_t)$ of general preferences need half as much. Over "
        "all centres that sampled runs visit no bounded class is enough (A4.3)."
    )
    enough = judge.upper_bound(
        np.append(needed, top), stated, unit="R", note=note, draw=_figure(needed)
    )
    least = judge.identity(top / stated - 1, SHARP, note=note, draw=_figure(needed))
    return dataclasses.replace(
        judge.worst([enough, least]),
        facts={"R needed by an adversary": top, "R needed by exact runs": float(needed.max())},
    )


def needed_bound(reward: jax.Array, centre: jax.Array, beta: jax.Array) -> jax.Array:
    """The R at which the reward (K,) is realizable around the centre's logits (K,), shape ()."""
    log_normalizer = jax.nn.logsumexp(jax.nn.log_softmax(centre) + reward / beta)
    return jnp.max(jnp.abs(reward - beta * log_normalizer))


# The control changes the bound only, so both runs of the check share the climb.
@functools.lru_cache(maxsize=1)
def _adversary(study: Study) -> float:
    rng, starts = study.rng(), study.pick(quick=16, full=256)
    points = {
        "reward": rng.normal(size=(starts, ARMS)),
        "centre": rng.normal(size=(starts, ARMS)),
        "log_beta": rng.uniform(-2, 2, starts),
    }
    return judge.climb(
        lambda p: needed_bound(jnp.tanh(p["reward"]), p["centre"], jnp.exp(p["log_beta"])),
        points,
        steps=study.pick(quick=200, full=1000),
    ).value


@jax.jit
def _needed_by_runs(keys: jax.Array) -> jax.Array:
    """What the updates of an exact run needed: an exact update is the reward r* itself."""

    def one(key: jax.Array) -> jax.Array:
        to_rewards, to_reference, to_weights = jax.random.split(key, 3)
        reference = families.dirichlet_reference(to_reference, 1, ARMS, 0.3)
        bandit = families.uniform_bandit(to_rewards, log_ref=reference)
        alpha, log_beta = jax.random.uniform(to_weights, (2,))
        beta = 10 ** (2 * log_beta - 1)
        solution = run(
            bandit, DPO(), Constant(alpha), beta=beta, iterations=ITERATIONS, save="path"
        )
        return assumptions(bandit, solution, beta).reward_bound

    return jax.vmap(one)(keys)


def _figure(needed: np.ndarray):
    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        log_odds = np.linspace(-12, 12, 300)
        log_best, log_worst = -np.logaddexp(0, -log_odds), -np.logaddexp(0, log_odds)
        for color, beta in (("C4", 0.2), ("C3", 1.0), ("C0", 10.0)):
            shift = beta * np.logaddexp(log_best + 1 / beta, log_worst - 1 / beta)
            bound = np.maximum(1 - shift, 1 + shift)
            left.plot(log_odds, bound, color=color, label=rf"$\beta = {beta:g}$")
        right.hist(needed, bins=np.linspace(0, 2, 21), color="C0", orientation="horizontal")
        for axes in (left, right):
            axes.axhline(2.0, color="C2")
            axes.axhline(1.0, color="0.5", linestyle="--")
            axes.set_ylim(0.0, 2.15)
        left.text(0.0, 2.03, "enough for every reward", color="C2", ha="center", va="bottom")
        left.text(
            0.0, 0.97, "enough for the solver's convex set", color="0.4", ha="center", va="top"
        )
        left.set_title("Two arms, rewards 1 and −1")
        left.set(xlabel="log-odds of the better arm under the centre", ylabel="$R$ that is needed")
        left.legend(loc="lower right")
        right.set_title("Runs on random bandits")
        right.set(xlabel="runs", ylabel="")

    return draw
