"""G5: the average policy of optimistic mirror descent, exploitable by one over the steps."""

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
from apo_sim.loop import solve
from apo_sim.methods import DNO, OptimisticMD
from apo_sim.problems import Game
from apo_sim.sweep.lanes import over_lanes

ARMS = (3, 10)
ITERATIONS = 400
ALLOWED = float(1 / np.sqrt(2))
ETAS = (0.05, 0.2, 0.5, ALLOWED)
BEYOND = (1.0, 2.0, 4.0)  # what the bound does not speak of
# Where an adversary climbs over games and references.
CLIMBED_ARMS, CLIMBED_UPDATES, RESTARTS = 3, 60, 8
# The games of the figure: one for the bound, one where mirror descent without optimism leaves.
WIN_RATE, REFERENCE = 0.9, (0.5, 0.3, 0.2)


@claim(
    id="G5",
    title="The average policy of optimistic mirror descent",
    source="ours",
    statement=r"OptimisticMD with exact preferences, from a policy whose least probability is "
    r"$p_{\min}$: on every game, for $\eta \le 1/\sqrt2$ and every $T$, the average of "
    r"$\pi_1, \dots, \pi_T$ has exploitability at most $$\frac{\log(1/p_{\min})}{\eta T},$$ "
    r"and no smaller constant would do.",
    control="no optimism: mirror descent, $q_t$ in place of $2 q_t - q_{t-1}$",
    scope=Scope(
        "for all",
        "random games and tournaments from random references, and what an adversary climbs to; "
        "η from 0.05 to 1/√2",
        arms=ARMS,
        iterations=f"every T up to {ITERATIONS}",
        beta="1/η, from 1.4 to 20",
        samples="exact",
    ),
)
def optimistic_average(study: Study) -> Finding:
    r"""Judge the exploitability of the average of optimistic mirror descent, at every horizon.

    Problem: exponential weights pay eta T / 8 for win rates that may be anything; those of a
    policy that moves slowly are nearly those of the step before, and optimism takes the price back.

    Method: random games and tournaments, references whose least mass goes down to 1e-9 and below,
    the loop's own average at every T; an adversary that climbs over both by gradient ascent. The
    constant is judged from below as well: some game must come within one per cent of it.

    Guarantee: regret by variation in utilities. Win rates are Lipschitz with constant 1/2 from the
    total mass moved, and a step of the policy pays for eta^2 (1/2)^2 <= 1/8 of the next one. It is
    met where one arm of mass p_min beats all others. The step is not the largest: random games
    meet the bound up to eta = 2 and some break it at 4.

    Reference: Syrgkanis et al. (2015) for regret bounded by variation; the constants are ours.

    Example:
        >>> game = Game(jnp.array([[[0.5, 1.0], [0.0, 0.5]]]), jnp.log(jnp.array([[0.01, 0.99]])))
        >>> found = solve(game, OptimisticMD(0.5), iterations=400, save="average")
        >>> round(float(found.average_suboptimality[-1] * 0.5 * 400 / np.log(100)), 2)
        1.0
    """
    count = study.pick(quick=60, full=2000)
    drawn = [_lanes(study.rng(arms), arms, count) for arms in ARMS]
    tried = [*drawn, _climb(study.seed)]
    found = [over_lanes(_ratios, lanes, optimistic=not study.wrong) for lanes in tried]
    etas = np.concatenate([lanes.eta for lanes in tried])
    ratios = np.concatenate(found)
    allowed = etas <= ALLOWED

    def witness(worst: int) -> dict[str, Any]:
        place = int(np.flatnonzero(allowed)[worst])
        for lanes in tried:
            if place < len(lanes.eta):
                return {
                    "leads": lanes.lead[place],
                    "reference": np.exp(lanes.log_ref[place]),
                    "eta": lanes.eta[place],
                }
            place -= len(lanes.eta)
        raise AssertionError(worst)

    bound = judge.upper_bound(
        ratios[allowed],
        1.0,
        witness=witness,
        unit=r"exploitability times $\eta T / \log(1/p_{\min})$",
    )
    sharp = judge.identity(1 - ratios[allowed].max(), 0.01, unit="share not met")
    largest = {eta: float(ratios[etas == eta].max()) for eta in (*ETAS, *BEYOND)}
    climbed = float(found[-1].max())
    return dataclasses.replace(
        judge.worst([bound, sharp]),
        cells=1,
        facts={
            **{f"largest ratio, eta = {eta:.3g}": each for eta, each in largest.items()},
            "adversary's largest ratio": climbed,
        },
        note=f"The adversary reaches {climbed:.3f} of the bound after {CLIMBED_UPDATES} updates, "
        f"random games {max(largest[eta] for eta in ETAS):.4f}. Beyond the step that is allowed, "
        "the largest ratio is "
        + ", ".join(rf"{largest[eta]:.2f} ($\eta = {eta:g}$)" for eta in BEYOND)
        + ".",
        draw=lambda figure: _draw(figure, largest),
    )


class Lanes(NamedTuple):
    """Games, where they start, and the step.

    Attributes:
        lead: P - 1/2, shape (n, K, K).
        log_ref: shape (n, K).
        eta: shape (n,).
    """

    lead: Any
    log_ref: Any
    eta: Any


def _lanes(rng: np.random.Generator, arms: int, count: int) -> Lanes:
    """The same games and references at every step."""
    uniform = rng.uniform(-0.5, 0.5, (count, arms, arms))
    tournaments = rng.choice([-0.5, 0.5], (count, arms, arms))
    upper = np.triu(np.concatenate([uniform, tournaments]), 1)
    lead = upper - np.swapaxes(upper, 1, 2)
    # Powers of exponential variables: from nearly even to masses of 1e-9 and less.
    log_ref = rng.uniform(0, 6, (2 * count, 1)) * np.log(rng.exponential(size=(2 * count, arms)))
    log_ref -= np.logaddexp.reduce(log_ref, axis=1, keepdims=True)
    steps = (*ETAS, *BEYOND)
    return Lanes(
        np.tile(lead, (len(steps), 1, 1)),
        np.tile(log_ref, (len(steps), 1)),
        np.repeat(steps, 2 * count),
    )


def _series(lane: Lanes, iterations: int, optimistic: bool = True) -> Any:
    """Exploitability of the average of pi_1 ... pi_T times eta T over log(1 / p_min), every T."""
    log_ref = jax.nn.log_softmax(lane.log_ref)[None]
    game = Game(0.5 + lane.lead[None], log_ref)
    method = OptimisticMD(lane.eta) if optimistic else DNO(1 / lane.eta)
    average = solve(game, method, iterations=iterations, save="average").average_suboptimality
    return average * lane.eta * jnp.arange(1, iterations + 1) / -jnp.min(log_ref)


def _ratios(lane: Lanes, optimistic: bool) -> Any:
    return jnp.max(_series(lane, ITERATIONS, optimistic))


# The variants of the check share what the adversary found.
@functools.lru_cache(maxsize=2)
def _climb(seed: int) -> Lanes:
    """Games and references that an adversary reaches from random ones, at the largest step."""
    rng = np.random.default_rng([seed, CLIMBED_UPDATES])
    starts = {
        "lead": jnp.asarray(rng.normal(size=(RESTARTS, CLIMBED_ARMS, CLIMBED_ARMS))),
        "log_ref": jnp.asarray(rng.normal(size=(RESTARTS, CLIMBED_ARMS))),
    }

    def build(params: Any) -> Lanes:
        upper = jnp.triu(0.5 * jnp.tanh(params["lead"]), 1)
        return Lanes(upper - upper.T, jax.nn.log_softmax(params["log_ref"]), jnp.array(ALLOWED))

    def objective(params: Any) -> Any:
        return _series(build(params), CLIMBED_UPDATES)[-1]

    top = judge.climb(objective, starts, steps=150, learning_rate=0.1)
    return Lanes(*map(np.asarray, jax.vmap(build)(top.all_params)))


@functools.partial(jax.jit, static_argnums=0)
def _one(optimistic: bool) -> Any:
    """The exploitability of the average on the cycle of the figure, over its bound, every T."""
    ahead = jnp.array([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
    start = jnp.log(jnp.array(REFERENCE))
    lane = Lanes((WIN_RATE - 0.5) * ahead, start, jnp.array(ALLOWED))
    return _series(lane, ITERATIONS, optimistic)


def _draw(figure: Figure, largest: dict[float, float]) -> None:
    left, right = figure.subplots(1, 2)
    times = np.arange(1, ITERATIONS + 1)
    bound = -np.log(min(REFERENCE)) / (ALLOWED * times)
    left.loglog(times, bound, color="C2", label=r"$\log(1/p_{min}) / (\eta T)$")
    for optimistic, colour, name in ((True, "C0", "optimistic"), (False, "0.5", "not optimistic")):
        left.loglog(times, np.asarray(_one(optimistic)) * bound, color=colour, label=name)
    left.set(xlabel="updates $T$", ylabel="exploitability of the average")
    left.set_title(r"Rock-paper-scissors, $\eta = 1/\sqrt{2}$")
    left.legend(loc="lower left")
    right.loglog(list(largest), list(largest.values()), "o-", color="C0")
    right.axhline(1.0, color="C2")
    right.axvline(ALLOWED, color="0.4", linestyle="--", linewidth=1.2)
    right.text(ALLOWED * 0.92, 1.6, r"$1/\sqrt{2}$", ha="right", color="0.3")
    right.set(xlabel=r"step $\eta$", ylabel="largest ratio to the bound", ylim=(0.5, 2))
    right.set_title("Random games, every $T$")
