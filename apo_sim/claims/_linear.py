"""Linear rates of the last policy of a game with a price, judged for the methods that claim one."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import _regularised as priced
from apo_sim.claims import judge
from apo_sim.claims._regularised import JUDGED, Games
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies.caption import caption
from apo_sim.sweep.lanes import over_lanes

ARMS, OF_ADVERSARY = (3, 8), 5
STEPS = 60  # of the runs; the adversary's are shorter, and the decay it is after a few e-folds
CLIMBED, RESTARTS = 12, 5
SHOWN = np.array([1, 3, 10, 30])
ROUNDING = 1e-18


@dataclass(frozen=True)
class Rate:
    """A claim KL(equilibrium, pi_t) <= factor^t KL_0 for steps up to a longest one.

    Attributes:
        left: from a game, a step and a number of steps to the KL before and after each of them.
        factor: from step and price.
        longest: from the price.
        prices: of the adversary's games.
        multiples: of the longest step, where the adversary looks for the end of the claim; the
            first is 1.
    """

    left: Callable[[Games, Any, int], Any]
    factor: Callable[[Any, Any], Any]
    longest: Callable[[Any], Any]
    prices: tuple[float, ...]
    multiples: tuple[float, ...]


def judged(study: Study, rate: Rate) -> Finding:
    """The bound on random games and on those of an adversary; how much longer a step may be.

    The negative control squares the factor. After one step the ratio is near 1 wherever the bound
    is; so the facts have it also for bounds that have fallen to 1/e, and compare rates.
    """
    power = 2 if study.wrong else 1
    tried, steps = zip(*(_drawn(study, rate, arms) for arms in ARMS), strict=True)
    against, of_multiple = _adversary(dataclasses.replace(study, variant="stated"), rate)
    tried, steps = (*tried, against), (*steps, rate.longest(against.price))
    left, bound = zip(*(_run(rate, *each) for each in zip(tried, steps, strict=True)), strict=True)
    left, bound = np.concatenate(left), np.concatenate(bound)
    claimed = bound**power * left[:, :1]
    # Below, rounding would be judged; a step earlier KL and bound are equal.
    counts = (claimed > JUDGED) & (np.arange(STEPS + 1) > 0)

    def witness(worst: int) -> dict[str, Any]:
        game, after = divmod(worst, STEPS + 1)
        place = game
        for games, step in zip(tried, steps, strict=True):
            if place < len(step):
                return {**games.witness(place), "learning_rate": step[place], "steps": after}
            place -= len(step)
        raise AssertionError(worst)

    finding = judge.upper_bound(
        np.where(counts, left, 0.0),
        np.where(counts, claimed, np.inf),
        floor=ROUNDING,
        witness=witness,
        unit="nats",
        instances=len(left),
    )
    ratio = np.where(counts, left, 0.0) / np.where(counts, claimed, 1.0)
    far = counts & (bound < np.exp(-1))
    slowest = dict(zip(rate.multiples, of_multiple, strict=True))
    broken = [multiple for multiple, least in slowest.items() if least < 1]
    facts = {
        "largest ratio": float(ratio.max()),
        "largest ratio where the factor is below 1/e": float(np.max(ratio[far])),
        "median ratio where the factor is below 1/e": float(np.median(ratio[far])),
        "slowest rate of an adversary, over the claimed one, by multiple of the longest step": {
            f"{multiple:g}": least for multiple, least in slowest.items()
        },
    }
    low, high = rate.prices[0], rate.prices[-1]
    end = (
        f"it breaks the bound at {broken[0]:g} times the longest step, not at "
        f"{rate.multiples[rate.multiples.index(broken[0]) - 1]:g}"
        if broken
        else f"it does not break the bound at {rate.multiples[-1]:g} times the longest step"
    )
    return dataclasses.replace(
        finding,
        facts=facts,
        note=f"Largest ratio {ratio.max():.5f}, and {np.max(ratio[far]):.3f} where the bound has "
        f"fallen by e (median {np.median(ratio[far]):.0e}). At prices from {low:g} to {high:g} "
        f"the slowest rate an adversary finds is {slowest[1]:.3f} times the claimed one; {end}.",
        draw=lambda figure: _draw(figure, left, bound, slowest),
    )


def _drawn(study: Study, rate: Rate, arms: int) -> tuple[Games, np.ndarray]:
    """Random games, half of them at the longest step and half at one up to it."""
    rng = study.rng(arms)
    games = priced.random(rng, study.pick(quick=1000, full=20_000), arms)
    share = np.where(rng.random(len(games.price)) < 0.5, 1.0, rng.random(len(games.price)))
    return games, share * rate.longest(games.price)


# A check and its negative control look at the same games.
@functools.lru_cache(maxsize=2)
def _adversary(study: Study, rate: Rate) -> tuple[Games, np.ndarray]:
    """Games climbed to at the longest step, and the slowest rate found at each multiple of it."""
    price = np.tile(np.repeat(rate.prices, RESTARTS), len(rate.multiples))
    multiple = np.repeat(rate.multiples, RESTARTS * len(rate.prices))

    def score(game: Games, step: Any) -> Any:
        left = rate.left(game, step, CLIMBED)
        slow = jnp.log(left[-1] / left[0]) / (-CLIMBED * jnp.log(rate.factor(step, game.price)))
        return jnp.where((left[0] > 1e-6) & (left[-1] > JUDGED), slow, -jnp.inf)

    found, scores, _ = priced.climb(
        study,
        score,
        price,
        multiple * rate.longest(price),
        arms=OF_ADVERSARY,
        steps=study.pick(quick=300, full=3000),
    )
    stated = multiple == 1
    games = Games(*(field[stated] for field in found))
    # Of a run that does not come nearer at all it does not matter how fast it leaves.
    return games, np.maximum(-scores.reshape(len(rate.multiples), -1).max(axis=1), 0.0)


def _run(rate: Rate, games: Games, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The KL after each step, and the factor that is claimed of it, both (n, STEPS + 1)."""
    left = over_lanes(_left, (games, step), rate=rate)
    return left, rate.factor(step, games.price)[:, None] ** np.arange(STEPS + 1)


def _left(lane: tuple[Games, Any], rate: Rate) -> Any:
    return rate.left(*lane, STEPS)


def _draw(figure: Figure, left: np.ndarray, bound: np.ndarray, slowest: dict[float, float]) -> None:
    caption(
        figure,
        f"Left: steps up to the longest; right: the worst game an adversary finds for {CLIMBED} "
        f"steps, K = {OF_ADVERSARY}",
    )
    of_game, of_step = figure.subplots(1, 2)
    start = left[:, :1]
    for after, colour in zip(SHOWN, ("C0", "C2", "C4", "C5"), strict=True):
        x, y = bound[:, after], left[:, after] / start[:, 0]
        seen = (y > 1e-12) & (left[:, after] > JUDGED)
        label = f"{after} step{'s' if after > 1 else ''}"
        of_game.plot(x[seen], y[seen], ".", ms=2, color=colour, alpha=0.6, label=label)
    ends = np.array([1e-9, 1.0])
    of_game.plot(ends, ends, color="C1", label="bound")
    of_game.set(xscale="log", yscale="log", xlim=(1e-8, 1.5), ylim=(1e-12, 3))
    of_game.set(xlabel=r"bound on $KL_t/KL_0$", ylabel=r"measured $KL_t/KL_0$")
    of_game.set_title("Measured against the bound")
    of_game.legend(loc="lower right", markerscale=4)
    of_step.plot(list(slowest), list(slowest.values()), "o-", color="C3")
    of_step.axhline(1.0, color="C1", linestyle="--", linewidth=1.2)
    of_step.axvline(1.0, color="0.5", linewidth=0.8)
    of_step.set(xlabel="step / longest step of the claim", ylabel="slowest rate / claimed rate")
    of_step.set_title("Where the condition ends")
