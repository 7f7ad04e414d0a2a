"""Sampled runs beside the law of leading order, with a control variate that takes off most noise.

The score of the data at the true reward has mean zero whatever the policy was. Pulled through the
law's own linear map it is the gap's deviation to first order, so that gap minus that has the mean
of the gap and a variance smaller by a factor of N.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from apo_sim import theory
from apo_sim.loop import solve
from apo_sim.methods import Proximal
from apo_sim.methods.requests import Request
from apo_sim.momentum import Schedule
from apo_sim.problems import Bandit
from apo_sim.pytree import pytree_dataclass
from apo_sim.sweep.lanes import over_lanes
from apo_sim.theory.leading_order import LeadingOrder, leading_order

# Arms that fill up a problem to the size of the program: as good as never drawn.
_NEVER = -900.0
_AT_ONCE = 100


@dataclass(frozen=True)
class Cell:
    """One bandit of one context and the run on it; T iterations.

    Attributes:
        reward: shape (K,).
        log_ref: shape (K,).
        alpha: extrapolation, a number or a schedule (T,).
        beta: proximal weight, a number or a schedule (T,).
        samples: preference pairs an iteration N.
        family: where the bandit comes from, in a word.
    """

    reward: np.ndarray
    log_ref: np.ndarray
    alpha: Any
    beta: Any
    samples: float | int = 1.0
    family: str = ""

    def name(self, iterations: int) -> str:
        """What readers see."""
        return (
            f"{self.family}, K = {self.reward.size}, T = {iterations}, α = {self.alpha:g}, "
            f"β = {self.beta:.3g}, N = {self.samples:,.0f}"
        )


FAMILIES = ("uniform", "Dirichlet", "Zipf", "two levels", "gap")


def draw(rng: np.random.Generator, arms: int, family: str) -> tuple[np.ndarray, np.ndarray]:
    """Reward and reference of a random bandit; no arm has less than a twentieth of its share.

    Example:
        >>> reward, log_ref = draw(np.random.default_rng(0), 4, "Zipf")
        >>> reward.shape, round(float(np.exp(log_ref).sum()), 6)
        ((4,), 1.0)
    """
    reward, mass = rng.uniform(-1.0, 1.0, arms), np.ones(arms)
    if family == "Dirichlet":
        mass = np.maximum(rng.dirichlet(mass), 0.05 / arms)
    elif family == "Zipf":
        mass = 1.0 / (1.0 + rng.permutation(arms))
    elif family == "two levels":
        reward = np.where(np.arange(arms) == 0, rng.uniform(-0.5, 1.0), -1.0)
    elif family == "gap":
        lead = rng.uniform(0.1, 1.0)
        reward = rng.uniform(-1.0, 1.0 - lead, arms)
        reward[:2] = 1.0, 1.0 - lead
    return reward, np.log(mass / mass.sum())


def laws(cells: Sequence[Cell], iterations: int) -> Any:
    """The `LeadingOrder` of every cell, in NumPy; each field has shape (cells, T)."""
    places = {cell.reward.size: [] for cell in cells}
    for place, cell in enumerate(cells):
        places[cell.reward.size].append(place)
    parts = [_laws([cells[place] for place in listed], iterations) for listed in places.values()]
    order = np.argsort(np.concatenate([np.asarray(listed) for listed in places.values()]))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *parts)


def _laws(cells: Sequence[Cell], iterations: int) -> Any:
    found = _law(
        *(np.array([getattr(c, n) for c in cells], float) for n in ("reward", "log_ref")),
        *(
            np.array([np.broadcast_to(getattr(c, n), iterations) for c in cells], float)
            for n in ("alpha", "beta")
        ),
    )
    return jax.tree.map(np.asarray, found)


# Run once or twice: what optimised code saves is less than it costs.
@functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
def _law(reward: Array, log_ref: Array, alphas: Array, betas: Array) -> LeadingOrder:
    def one(reward, log_ref, alphas, betas):
        bandit = Bandit(reward[None], log_ref[None])
        return leading_order(bandit, Schedule(alphas), betas, betas.shape[0])

    return jax.vmap(one)(reward, log_ref, alphas, betas)


def with_samples(cell: Cell, samples: float) -> Cell:
    """The same cell with a whole number of pairs an iteration, at least 1."""
    return dataclasses.replace(cell, samples=float(np.clip(np.round(samples), 1, 1e12)))


@dataclass(frozen=True)
class Measured:
    """Runs of every cell, shape (cells, seeds, horizons): gaps, and their part of mean zero."""

    gap: np.ndarray
    linear: np.ndarray


def measured(
    key: jax.Array,
    cells: Sequence[Cell],
    seeds: int,
    horizons: Sequence[int],
    *,
    arms: int,
    shared: bool = False,
) -> Measured:
    """Run DPO on sampled preferences in every cell.

    Args:
        key: seed s gets the s-th key split from it, in every cell.
        cells: what is run, up to the last horizon.
        seeds: runs a cell.
        horizons: numbers of updates after which the gap is looked at.
        arms: of the program; smaller bandits are filled up with arms that are never drawn.
        shared: give every iteration of a run the same random numbers.
    """
    iterations = max(horizons)
    rows = [_row(cell, horizons, arms) for cell in cells]
    lanes: dict[str, Any] = {
        name: np.repeat([row[name] for row in rows], seeds, axis=0) for name in rows[0]
    }
    keys = jax.random.split(key, seeds)
    each = jax.vmap(lambda k: jax.random.split(k, 1 if shared else iterations))(keys)
    each = jnp.broadcast_to(each, (seeds, iterations))
    lanes["key"] = each[np.tile(np.arange(seeds), len(cells))]
    gap, linear = over_lanes(run_lane, lanes, at_once=_AT_ONCE, horizons=tuple(horizons))
    shape = len(cells), seeds, len(horizons)
    return Measured(gap.reshape(shape), linear.reshape(shape))


def _row(cell: Cell, horizons: Sequence[int], arms: int) -> dict[str, Any]:
    iterations, more = max(horizons), arms - cell.reward.size
    alphas, betas = (np.broadcast_to(x, iterations) * 1.0 for x in (cell.alpha, cell.beta))
    pulls = _pulls(cell, alphas, betas, horizons)
    return {
        "reward": np.pad(cell.reward, (0, more), constant_values=cell.reward.min()),
        "log_ref": np.pad(cell.log_ref, (0, more), constant_values=_NEVER),
        "alphas": alphas,
        "betas": betas,
        "samples": float(cell.samples),
        "pulls": np.concatenate([pulls, np.zeros((*pulls.shape[:2], more))], axis=2),
    }


def _pulls(
    cell: Cell, alphas: np.ndarray, betas: np.ndarray, horizons: Sequence[int]
) -> np.ndarray:
    """How the score of update t enters the gap after each horizon, (horizons, T, K)."""
    iterations, reward = len(alphas), cell.reward
    lead = reward[:, None] - reward
    slope = 0.25 / np.cosh(lead / 2) ** 2
    np.fill_diagonal(slope, 0.0)
    gammas = np.asarray(theory.gamma(alphas, betas, iterations))
    before = np.concatenate([[0.0, 0.0], gammas])
    centres = before[1:-1] + np.concatenate([[0.0], alphas[:-1]]) * np.diff(before)[:-1]
    found = np.zeros((len(horizons), iterations, reward.size))
    for row, horizon in enumerate(horizons):
        policy = _softmax(cell.log_ref + gammas[horizon - 1] * reward)
        gradient = policy * (reward - policy @ reward)
        factors = theory.reward_weights(alphas[:horizon], betas[:horizon], horizon)
        for t, factor in enumerate(np.asarray(factors)):
            at = _softmax(cell.log_ref + centres[t] * reward)
            weights = 2.0 * at[:, None] * at * slope
            laplacian = np.diag(weights.sum(axis=1)) - weights
            found[row, t] = factor * (np.linalg.pinv(laplacian, hermitian=True) @ gradient)
    return found


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


@pytree_dataclass
class _Scored:
    """The proximal method, which also adds up the scores of its data, pulled to the gap."""

    method: Any
    pulls: Float[Array, "horizons iterations arms"]

    @property
    def request(self) -> Request:
        return self.method.request

    def init(self, problem: Any, key: Any) -> Any:
        return self.method.init(problem, key), jnp.zeros(self.pulls.shape[0])

    def step(self, problem: Any, state: Any, data: Any, t: Any) -> Any:
        new, report = self.method.step(problem, state[0], data, t)
        met = data.wins + jnp.swapaxes(data.wins, 1, 2)
        score = jnp.sum(data.wins - met * problem.preference, axis=2)[0]
        linear = state[1] - self.pulls[:, t] @ score
        series = {**(report.series or {}), "linear": linear}
        return (new, linear), dataclasses.replace(report, series=series)

    def policy(self, state: Any) -> Any:
        return self.method.policy(state[0])

    def behaviour(self, state: Any) -> Any:
        return self.method.behaviour(state[0])


def run_lane(lane: dict[str, Any], horizons: tuple[int, ...]) -> tuple[Array, Array]:
    """One run: the gap after each horizon, and its part of mean zero.

    Args:
        lane: reward and log_ref (K,), alphas and betas (T,), samples, key or keys, and the pulls
            (horizons, T, K) of the scores; zeros for no control variate.
        horizons: numbers of updates after which the gap is looked at.
    """
    bandit = Bandit(lane["reward"][None], lane["log_ref"][None])
    proximal = Proximal(momentum=Schedule(lane["alphas"]), beta=lane["betas"])
    solution = solve(
        bandit,
        _Scored(proximal, lane["pulls"]),
        iterations=lane["alphas"].shape[0],
        samples=lane["samples"],
        key=lane["key"],
    )
    at = np.asarray(horizons) - 1
    linear = solution.series["linear"][at, np.arange(len(horizons))]
    return solution.suboptimality[at], linear / lane["samples"]
