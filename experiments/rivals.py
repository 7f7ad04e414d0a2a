"""Sampled runs of the library and of its peers, side by side, each with the accuracy it reaches."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import peers_numpy
from paired import CPU_TIME, Cell, Sides, Spread, over_lanes, seconds_of
from peers_numpy import Floats
from peers_scipy import best_in_box, groups_of

import apo_sim as apo
from apo_sim.proximal import rewards_from_counts

# With so large a beta the policy stays near its reference.
SAMPLED = {"alpha": 0.3, "beta": 100.0, "iterations": 20}
REWARD_BOUND = 2.0
ACCURACY = 1e-6
"""Largest error of a difference of rewards that a side may make."""


@dataclass(frozen=True)
class Case:
    """Sampled runs of one kind.

    Args:
        problem: of one context, unless only the library runs it.
        samples: N.
        loss: what the proximal step fits.
        ranker: how a pair comes about.
        smoothing: the share of every count that the loss turns over; conservative DPO.
    """

    problem: Any
    samples: int
    loss: Any = apo.DPO()
    ranker: Any = apo.Pairwise()
    smoothing: float = 0.0


@dataclass(frozen=True)
class Rival:
    """One side, set up at the loosest tolerance that is accurate enough.

    Args:
        name: of the side.
        run: final gaps of so many seeds.
        seeds: how many.
        error: largest error of a difference of rewards.
        setting: with what it runs.
    """

    name: str
    run: Callable[[], Any]
    seeds: int
    error: float
    setting: str

    @property
    def accurate(self) -> bool:
        return self.error <= ACCURACY


class Shared:
    """Win counts that every side solves, and their optimum to rounding."""

    def __init__(self, wins: Floats, bound: float = REWARD_BOUND):
        self.wins = wins
        self.optimum = _optimum(wins, bound)
        self.groups = [groups_of(one) for one in wins]

    @property
    def widest(self) -> float:
        """The largest difference of rewards."""
        return float(np.ptp(self.optimum, axis=1).max())

    def error(self, solve: Callable[[Floats], Any], count: int | None = None) -> float:
        """Largest error of a difference of rewards within a group of linked arms."""
        apart = np.asarray(solve(self.wins[:count])) - self.optimum[:count]
        return max(
            float(np.ptp(wrong[labels == label]))
            for wrong, labels in zip(apart, self.groups, strict=False)
            for label in np.unique(labels)
        )

    def loosest(
        self, solve: Callable[[float, Floats], Any], count: int | None = None
    ) -> tuple[float, float]:
        """The loosest tolerance with which `solve` is accurate enough, and its error then.

        Where none is, the one with which it is most accurate.
        """
        found = []
        for exponent in range(1, 13):
            tolerance = 10.0**-exponent
            try:
                error = self.error(functools.partial(solve, tolerance), count)
            except RuntimeError:  # it says itself that it did not converge
                error = math.inf
            if error <= ACCURACY:
                return tolerance, error
            found.append((error, tolerance))
        error, tolerance = min(found)
        return tolerance, error


def _optimum(wins: Floats, bound: float) -> Floats:
    """Newton's for all at once, or a slower search where the data or the box make it hard."""
    with contextlib.suppress(RuntimeError, np.linalg.LinAlgError):  # separable, or never met
        best = peers_numpy.best_rewards(wins)
        if np.ptp(best, axis=1).max() <= 2.0 * bound:
            return best
    return np.stack([best_in_box(one, bound) for one in wins])


def shared_counts(case: Case, problems: int) -> Shared:
    """Win counts of the first iteration."""
    rng = np.random.default_rng(0)
    cells = np.asarray(case.ranker.cells(case.problem, case.problem.log_ref)[0])
    wins = np.stack(
        [peers_numpy.draw_wins(rng, cells / cells.sum(), case.samples) for _ in range(problems)]
    )
    return Shared((1.0 - case.smoothing) * wins + case.smoothing * wins.swapaxes(1, 2))


def our_runs(case: Case, seeds: int) -> Callable[[float], tuple[jax.Array, jax.Array, jax.Array]]:
    """From N to gap, total variation and residual of so many runs."""
    keys = jax.random.split(jax.random.key(1), seeds)

    def metrics(problem, key, samples):
        solution = apo.run(
            problem,
            case.loss,
            apo.Constant(SAMPLED["alpha"]),
            beta=SAMPLED["beta"],
            iterations=int(SAMPLED["iterations"]),
            samples=samples,
            key=key,
            ranker=case.ranker,
            reward_bound=REWARD_BOUND,
        )
        return solution.suboptimality, solution.tv, solution.residual

    compiled = over_lanes(metrics, (None, 0, None))
    return lambda samples: jax.block_until_ready(compiled(case.problem, keys, float(samples)))


def ours(case: Case, shared: Shared, seeds: int) -> Rival:
    run = our_runs(case, seeds)
    run(case.samples)
    # What the loss does to the labels is done to the counts already.
    error = shared.error(functools.partial(our_rewards, bound=REWARD_BOUND))
    return Rival("apo_sim", lambda: run(case.samples)[0][:, -1], seeds, error, "vmap over keys")


def our_rewards(wins: Floats, bound: float, loss: Any = apo.DPO()) -> jax.Array:
    """What the library makes of win counts, each problem a context."""
    uniform = jnp.full(wins.shape[:2], -math.log(wins.shape[1]))
    return rewards_from_counts(loss, jnp.asarray(wins), uniform, jnp.array(1.0), jnp.array(bound))[
        0
    ]


def torch_problem(case: Case) -> Any:
    """The same case for the PyTorch side."""
    import peers_torch as peers
    import torch

    log_ref = torch.tensor(np.asarray(case.problem.log_ref[0]))
    if isinstance(case.problem, apo.Game):
        return peers.game(torch.tensor(np.asarray(case.problem.preference[0])), log_ref)
    reward = torch.tensor(np.asarray(case.problem.reward[0]))
    cells = None
    if isinstance(case.ranker, apo.BestAgainstWorst):
        cells = peers.best_against_worst(reward, case.ranker.responses)
    problem = peers.bandit(reward, log_ref, cells)
    return peers.Problem(problem.log_ref, problem.cells, problem.gap, case.smoothing)


def best_torch(case: Case, shared: Shared, seeds: int) -> Rival:
    """PyTorch on one thread, with the draw and the batch that are fastest here."""
    import peers_torch as peers
    import torch

    torch.set_num_threads(1)
    problem = torch_problem(case)

    def solve(tolerance: float, wins: Floats) -> Floats:
        start = torch.zeros(wins.shape[:2], dtype=torch.float64)
        return peers.rewards_from_wins(torch.tensor(wins), start, REWARD_BOUND, tolerance).numpy()

    tolerance, error = shared.loosest(solve)
    sizes = {**SAMPLED, "samples": case.samples, "reward_bound": REWARD_BOUND}

    def run(draw: str, batch: int, problems: int) -> Floats:
        law = peers.DRAWS[draw]
        return peers.sampled(problem, law, tolerance, **sizes, seeds=problems, batch=batch).numpy()

    batches = sorted({min(batch, seeds) for batch in peers.BATCHES})
    settings = [(draw, batch) for draw in peers.DRAWS for batch in batches]
    run(*settings[0], problems=1)
    trial = {
        s: seconds_of(functools.partial(run, *s, problems=s[1]), CPU_TIME) / s[1] for s in settings
    }
    draw, batch = min(settings, key=trial.__getitem__)
    setting = f"{draw}, {batch} at once, tolerance {tolerance:g}"
    return Rival("PyTorch", lambda: run(draw, batch, seeds), seeds, error, setting)


def settings_of(rivals: Sequence[Rival]) -> str:
    """With what each side runs, in a sentence."""
    return "; ".join(f"{r.name}: {r.seeds} seeds, {r.setting}" for r in rivals) + "."


def less_accurate(rows: Iterable[Mapping[str, Cell]]) -> str:
    """What a dash in place of a ratio means, if a row has one; it ends a note."""
    if all(row["times as slow"] is not None for row in rows):
        return ""
    return (
        f" – in place of a ratio: no tolerance brings that side's error below {ACCURACY:g}, so "
        "that its seconds do not count."
    )


def in_turn(rivals: Sequence[Rival], rounds: int, part: str) -> dict[str, dict[str, Cell]]:
    """By the name of each side, what it does in a second, and how much slower that is than ours."""
    sides = Sides({rival.name: rival.run for rival in rivals}, rounds, part, CPU_TIME)
    first = rivals[0]
    rows: dict[str, dict[str, Cell]] = {}
    for rival in rivals:
        ratios = sides.ratios(rival.name, first.name, first.seeds / rival.seeds)
        gap = np.asarray(rival.run())
        error_of_mean = gap.std(ddof=1) / math.sqrt(len(gap)) if len(gap) > 1 else math.nan
        rows[rival.name] = {
            "iterations/s": rival.seeds * SAMPLED["iterations"] / sides.median(rival.name),
            "times as slow": Spread.of(ratios) if rival.accurate else None,
            "largest error": rival.error,
            "final gap": f"{gap.mean():.4f} ± {error_of_mean:.4f}",
        }
    return rows
