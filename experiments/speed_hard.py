"""The solver on hard win counts: active walls, arms never met, several groups.

Whoever knows no bound, or moves arms that the data say nothing about, solves another problem
there. So the library's solver is held against its own elimination, which needs no products to
converge, against SciPy's L-BFGS in the same box, and against PyTorch where all arms are linked.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from paired import CPU_TIME, Cell, Rows, Sides, Spread, Target, console, optional_peer, over_lanes
from peers_numpy import Floats, draw_wins
from peers_scipy import by_lbfgs
from rivals import ACCURACY, REWARD_BOUND, Shared, less_accurate, our_rewards

import apo_sim as apo
from apo_sim.proximal.forces import Comparisons
from apo_sim.proximal.groups import groups_of
from apo_sim.proximal.newton import minimise

PAIRS_AN_ARM = 100
SPREAD_OF_REWARDS = 8.0
"""Rewards of the walls' problems; differences beyond 2R meet the walls."""
BLOCK = 8
"""Problems that the elimination takes side by side."""
WANTED = 2.0
MANY_ARMS = 30
"""From so many arms on the library finds its steps by products, and is to be so many times as fast
as by elimination; below, elimination is all that it does."""

Solve = Callable[[Floats], Any]


def _drawn(rng: np.random.Generator, policy: Floats, reward: Floats) -> Floats:
    chance = 1.0 / (1.0 + np.exp(reward - reward[:, None]))
    cells = np.outer(policy, policy) * chance
    return draw_wins(rng, cells / cells.sum(), PAIRS_AN_ARM * len(policy))


def walls(rng: np.random.Generator, arms: int) -> Floats:
    """Rewards so far apart that many rewards end at the walls."""
    return _drawn(rng, np.full(arms, 1 / arms), rng.uniform(0, SPREAD_OF_REWARDS, arms))


def unseen(rng: np.random.Generator, arms: int) -> Floats:
    """A quarter of all arms that is never drawn, at least one."""
    wins = _drawn(rng, np.full(arms, 1 / arms), rng.uniform(-1, 1, arms))
    wins[: max(arms // 4, 1)] = 0.0
    wins[:, : max(arms // 4, 1)] = 0.0
    return wins


def groups(rng: np.random.Generator, arms: int) -> Floats:
    """Two groups of arms that never meet."""
    wins = _drawn(rng, np.full(arms, 1 / arms), rng.uniform(-1, 1, arms))
    wins[: arms // 2, arms // 2 :] = 0.0
    wins[arms // 2 :, : arms // 2] = 0.0
    return wins


def rare(rng: np.random.Generator, arms: int) -> Floats:
    """Probabilities from 1e-12 to 1: of most arms nothing is seen, of some a few pairs."""
    policy = 10.0 ** rng.uniform(-12, 0, arms)
    return _drawn(rng, policy / policy.sum(), rng.uniform(-1, 1, arms))


KINDS = {"walls": walls, "unseen": unseen, "groups": groups, "rare": rare}


def hard(options: Any) -> Iterator[Rows | Target]:
    rows: list[dict[str, Cell]] = []
    targets = []
    for arms in options.arms:
        problems, rounds = max(min(6400 // arms, 256), 32), 7
        if options.quick:
            problems, rounds = problems // 4, 3
        for kind, draw in KINDS.items():
            rng = np.random.default_rng(0)
            with console.status(f"hard, {kind}, K = {arms}: optima, compiling"):
                shared = Shared(np.stack([draw(rng, arms) for _ in range(problems)]))
                sides = dict(_sides(kind, shared))
            timed = Sides(
                {name: functools.partial(solve, shared.wins) for name, (solve, _) in sides.items()},
                rounds,
                f"hard, {kind}, K = {arms}",
                CPU_TIME,
            )
            for name, (_, error) in sides.items():
                ratio = Spread.of(timed.ratios(name, "apo_sim")) if error <= ACCURACY else None
                rows.append(
                    {
                        "data": kind,
                        "K": arms,
                        "side": name,
                        "us a problem": 1e6 * timed.median(name) / problems,
                        "times as slow": ratio,
                        "largest error": error,
                    }
                )
                if name == "elimination":
                    what = f"hard data ({kind}) against elimination, K = {arms}"
                    if ratio is not None:
                        targets.append(Target(what, ratio.median, WANTED, "x", True))
                elif name == "apo_sim":
                    what = f"error on hard data ({kind}), K = {arms}"
                    targets.append(Target(what, error, ACCURACY, "", False))
    yield Rows(
        "hard",
        f"Hard win counts, R = {REWARD_BOUND:g}: the solver alone, one core",
        rows,
        "Errors are the largest of a difference of rewards within a group of linked arms, over "
        f"all problems.{less_accurate(rows)}",
    )
    yield from targets


def _sides(kind: str, shared: Shared) -> Iterator[tuple[str, tuple[Solve, float]]]:
    """By its name, each side that solves this problem, and its error."""
    ours = _by_lanes(lambda wins: our_rewards(wins[None], REWARD_BOUND)[0])
    yield "apo_sim", (ours, shared.error(ours))
    if shared.wins.shape[1] >= MANY_ARMS:
        yield "elimination", (by_elimination, shared.error(by_elimination))

    def scipy(tolerance: float, wins: Floats) -> Floats:
        return np.stack([by_lbfgs(one, REWARD_BOUND, tolerance) for one in wins])

    tolerance, error = shared.loosest(scipy, 4)
    yield "SciPy, L-BFGS-B", (functools.partial(scipy, tolerance), error)
    if kind == "walls":
        with optional_peer("torch"):
            yield "PyTorch", _torch(shared)


def _torch(shared: Shared) -> tuple[Solve, float]:
    import peers_torch as peers
    import torch

    torch.set_num_threads(1)

    def solve(tolerance: float, wins: Floats) -> Floats:
        start = torch.zeros(wins.shape[:2], dtype=torch.float64)
        return peers.rewards_from_wins(torch.tensor(wins), start, REWARD_BOUND, tolerance).numpy()

    tolerance, error = shared.loosest(solve)
    return functools.partial(solve, tolerance), error


def _by_lanes(solve: Callable[[Any], Any]) -> Solve:
    compiled = over_lanes(solve, (0,))
    return lambda wins: jax.block_until_ready(compiled(jnp.asarray(wins)))


@jax.jit
def _eliminated(wins: jax.Array) -> jax.Array:
    lost = jnp.moveaxis(wins, 0, -1)
    won = jnp.swapaxes(lost, 0, 1)
    bounds = jnp.full(len(wins), REWARD_BOUND)
    data = Comparisons(won, lost, jnp.ones((1, 1, 1)))
    return minimise(apo.DPO(), data, groups_of(won + lost > 0), bounds)[0].T


def by_elimination(wins: Floats) -> Floats:
    """The library's solver without products, so many problems side by side."""
    blocks = [
        _eliminated(jnp.asarray(wins[start : start + BLOCK]))
        for start in range(0, len(wins), BLOCK)
    ]
    return np.concatenate(blocks)
