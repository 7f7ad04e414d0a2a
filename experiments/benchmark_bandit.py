"""Time the exact and the sampled path against NumPy, choix and PyTorch, and cost against N.

    python experiments/benchmark_bandit.py            # everything
    python experiments/benchmark_bandit.py --quick    # a few seconds a part
    python experiments/benchmark_bandit.py --part sampled

All sides run in one process on the same machine, one after the other, round after round; a ratio
is the median of the ratios within a round.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from types import ModuleType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import peers_numpy
from paired import (
    DEVICES,
    Sides,
    Target,
    console,
    new_table,
    over_lanes,
    peak_memory,
    print_machine,
    run_parts,
    seconds_of,
    spread,
    use_all_cores,
)
from script import start

import apo_sim as apo
from apo_sim.proximal import rewards_from_counts

CONTEXTS, ARMS, ALPHAS = 64, 1000, np.linspace(0.0, 0.9, 8)
EXACT_BETA = 5.0
PEER_SHARE = 10
"""In full mode the NumPy sides run one iteration in ten; a step of theirs costs the same at any
t, so their seconds are scaled."""

# The sampled problem: with so large a beta the policy stays near the uniform reference, every
# pair of arms is met often, the optimum is finite and no bound on the rewards binds. choix
# knows no bound, so only there do all sides solve the same problem.
SAMPLED = {"alpha": 0.3, "beta": 100.0, "iterations": 20}
REWARD_BOUND = 2.0


@dataclass(frozen=True)
class Size:
    """A size of the sampled problem, and what a run of it is to be.

    Args:
        arms: K.
        samples: N.
        seeds: how many runs of apo_sim and of PyTorch are timed.
        against_choix: how many times as fast as the fastest of choix.
        against_torch: how many times as fast as vectorised PyTorch, if anything was promised.
    """

    arms: int
    samples: int
    seeds: int
    against_choix: float
    against_torch: float | None


SIZES = {
    size.arms: size
    for size in (
        Size(4, 1_000, 2048, 45.0, 0.7),
        Size(10, 1_000, 1024, 28.0, 1.4),
        Size(30, 3_000, 256, 7.0, 2.7),
        Size(100, 30_000, 32, 3.0, 4.0),
        Size(200, 100_000, 8, 2.0, None),
    )
}
USUAL = SIZES[10]
ACCURACY = 1e-6
"""Largest error of a difference of rewards that a side may make."""

COST_SAMPLES = (10**3, 10**5, 10**7, 10**9, 10**12)


@dataclass(frozen=True)
class Options:
    """Paired medians of apo_sim against NumPy, choix and PyTorch.

    Args:
        quick: a few seconds a part, for a look; ratios are rougher.
        part: which part to run.
        arms: sizes of the sampled problem.
    """

    quick: bool = False
    arms: tuple[Literal[4, 10, 30, 100, 200], ...] = (4, 10, 30, 100, 200)
    part: Literal["exact", "sampled", "cost", "all"] = "all"


@contextlib.contextmanager
def _peer(package: str) -> Iterator[None]:
    """Say what to do when a peer is not installed; its row is left out."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        console.print(
            f"[yellow]{package} is not installed, so its row is left out: "
            "`make bench` installs it.[/]"
        )


# (a) The exact path


def _exact_problem() -> tuple[np.ndarray, np.ndarray]:
    reward = np.random.default_rng(0).uniform(-1.0, 1.0, (CONTEXTS, ARMS))
    return reward, np.full((CONTEXTS, ARMS), -math.log(ARMS))


def _exact_ours(iterations: int) -> Callable[[], tuple[jax.Array, jax.Array]]:
    bandit = apo.Bandit(*map(jnp.asarray, _exact_problem()))

    def metrics(bandit, alpha):
        solution = apo.run(
            bandit, momentum=apo.Constant(alpha), beta=EXACT_BETA, iterations=iterations
        )
        return solution.suboptimality, solution.tv

    compiled = over_lanes(metrics, (None, 0))
    alphas = jnp.asarray(ALPHAS)
    return lambda: jax.block_until_ready(compiled(bandit, alphas))


def exact_alone(iterations: int) -> None:
    """Nothing but the exact path, for its peak memory."""
    use_all_cores()
    _exact_ours(iterations)()


def exact(options: Options) -> list[Target]:
    iterations, rounds = (100, 3) if options.quick else (1000, 5)
    peer_iterations = iterations // PEER_SHARE
    with console.status("exact: peak memory of a process of its own"):
        memory = peak_memory("benchmark_bandit", f"exact_alone({iterations})")
    with console.status("exact: compiling"):
        ours = _exact_ours(iterations)
        measured = [np.asarray(series)[:, :peer_iterations] for series in ours()]
    arguments = (*_exact_problem(), ALPHAS, EXACT_BETA, peer_iterations)
    peers = {"NumPy, plain": peers_numpy.exact_plain, "NumPy, tuned": peers_numpy.exact_tuned}
    error = {
        name: max(np.abs(m - p).max() for m, p in zip(measured, peer(*arguments), strict=True))
        for name, peer in peers.items()
    }
    runs = {name: (lambda peer=peer: peer(*arguments)) for name, peer in peers.items()}
    sides = Sides({"apo_sim": ours, **runs}, rounds, "exact")

    table = new_table(
        f"Exact path: {CONTEXTS} contexts x {ARMS} arms x {iterations} iterations x "
        f"{len(ALPHAS)} alphas, suboptimality and TV at every iteration",
        "side",
        f"seconds for {iterations}",
        "times as slow",
        "largest difference",
    )
    table.add_row("apo_sim", f"{sides.median('apo_sim'):.3g}", "1", "")
    ratios = {name: sides.ratios(name, "apo_sim", PEER_SHARE) for name in peers}
    for name in peers:
        seconds = PEER_SHARE * sides.median(name)
        table.add_row(name, f"{seconds:.3g}", spread(ratios[name]), f"{error[name]:.1e}")
    console.print(table)
    console.print(
        f"NumPy ran {peer_iterations} iterations, its seconds times {PEER_SHARE}. plain: "
        "scipy.special.log_softmax on the whole array; tuned: in place, one exponential a step. "
        f"Peak memory of apo_sim alone: {memory:.2f} GiB.\n"
    )
    return [
        Target("exact path against plain NumPy", median(ratios["NumPy, plain"]), 5.0, "x", True),
        Target("its largest difference from NumPy", max(error.values()), 1e-9, "", False),
        Target("its peak memory", memory, 2.0, " GiB", False),
    ]


# (b) The sampled path


@dataclass(frozen=True)
class Rival:
    """One side of the sampled path, set up at the loosest tolerance that is accurate enough."""

    name: str
    run: Callable[[], Any]
    seeds: int
    error: float
    setting: str


@dataclass(frozen=True)
class Shared:
    """Win counts that every side solves, and their optimum to rounding."""

    wins: np.ndarray
    optimum: np.ndarray

    def error(self, solve: Callable[[np.ndarray], Any], count: int | None = None) -> float:
        """Largest error of a difference of rewards over the first `count` problems."""
        wrong = np.asarray(solve(self.wins[:count])) - self.optimum[:count]
        return float(np.ptp(wrong, axis=1).max())


def _sampled_bandit(size: Size) -> apo.Bandit:
    return apo.families.uniform_bandit(jax.random.key(0), contexts=1, arms=size.arms)


def _shared_counts(bandit: apo.Bandit, size: Size, problems: int) -> Shared:
    rng = np.random.default_rng(0)
    cells = peers_numpy.pair_law(np.asarray(bandit.log_ref[0]), np.asarray(bandit.preference[0]))
    wins = np.stack([peers_numpy.draw_wins(rng, cells, size.samples) for _ in range(problems)])
    return Shared(wins, peers_numpy.best_rewards(wins))


def _loosest(
    solve: Callable[[float, np.ndarray], Any], shared: Shared, count: int | None = None
) -> tuple[float, float]:
    """The loosest tolerance with which `solve` is accurate enough, and its error then."""
    for exponent in range(1, 13):
        tolerance = 10.0**-exponent
        error = shared.error(functools.partial(solve, tolerance), count)
        if error <= ACCURACY:
            return tolerance, error
    raise RuntimeError(f"no tolerance brings the error below {ACCURACY:g}")


def _sampled_ours(
    bandit: apo.Bandit, seeds: int
) -> Callable[[float], tuple[jax.Array, jax.Array, jax.Array]]:
    keys = jax.random.split(jax.random.key(1), seeds)

    def metrics(bandit, key, samples):
        solution = apo.run(
            bandit,
            momentum=apo.Constant(SAMPLED["alpha"]),
            beta=SAMPLED["beta"],
            iterations=SAMPLED["iterations"],
            samples=samples,
            key=key,
            reward_bound=REWARD_BOUND,
        )
        return solution.suboptimality, solution.tv, solution.residual

    compiled = over_lanes(metrics, (None, 0, None))
    return lambda samples: jax.block_until_ready(compiled(bandit, keys, float(samples)))


def _ours(bandit: apo.Bandit, size: Size, shared: Shared, seeds: int) -> Rival:
    run = _sampled_ours(bandit, seeds)
    run(size.samples)
    centre = np.broadcast_to(np.asarray(bandit.log_ref), shared.optimum.shape)
    numbers = jnp.asarray(SAMPLED["beta"]), jnp.asarray(REWARD_BOUND)
    error = shared.error(
        lambda wins: rewards_from_counts(
            apo.DPO(), jnp.asarray(wins), jnp.asarray(centre), *numbers
        )[0]
    )
    return Rival(
        "apo_sim",
        lambda: run(size.samples)[0][:, -1],
        seeds,
        error,
        f"vmap over keys, on {DEVICES} devices",
    )


def _fastest_choix(
    peers: ModuleType, bandit: apo.Bandit, size: Size, shared: Shared, quick: bool
) -> Rival:
    few = 3 if quick else 10
    few = min(few, len(shared.wins))
    # Where the others take seconds a problem, only the one that is fastest before.
    solvers = {n: s for n, s in peers.SOLVERS.items() if size.arms <= 10 or n == peers.FASTEST}
    table = new_table(
        f"choix on {few} of the shared problems, each at the loosest tolerance below {ACCURACY:g}",
        *("solver", "tolerance", "largest error", "ms a problem"),
    )
    found = []
    for name, solver in solvers.items():

        def solve(tolerance: float, wins: np.ndarray, solver=solver) -> np.ndarray:
            start = np.zeros(wins.shape[1])
            return np.stack([solver(one, start, tolerance) for one in wins])

        tolerance, error = _loosest(solve, shared, few)
        timed = functools.partial(solve, tolerance, shared.wins[:few])
        seconds = median([seconds_of(timed) for _ in range(3)])
        table.add_row(name, f"{tolerance:g}", f"{error:.1e}", f"{1e3 * seconds / few:.3g}")
        found.append((seconds, name, tolerance, error))
    console.print(table)
    _, name, tolerance, error = min(found)
    seeds = max(20 * 10 // max(size.arms, 10), 2) // (4 if quick else 1) or 1
    problem = np.asarray(bandit.reward[0]), np.asarray(bandit.log_ref[0])
    sizes = {**SAMPLED, "samples": size.samples, "seeds": seeds, "seed": 0}
    return Rival(
        "choix",
        lambda: peers.sampled(peers.SOLVERS[name], tolerance, *problem, **sizes),
        seeds,
        error,
        f"{name}, tolerance {tolerance:g}",
    )


def _best_torch(
    torch: ModuleType, peers: ModuleType, bandit: Any, size: Size, shared: Shared, seeds: int
) -> Rival:
    reward = torch.tensor(np.asarray(bandit.reward[0]))
    log_ref = torch.tensor(np.asarray(bandit.log_ref[0]))

    def solve(tolerance: float, wins: np.ndarray) -> np.ndarray:
        start = torch.zeros(wins.shape[:2], dtype=reward.dtype)
        return peers.rewards_from_wins(torch.tensor(wins), start, REWARD_BOUND, tolerance).numpy()

    tolerance, error = _loosest(solve, shared)
    sizes = {**SAMPLED, "samples": size.samples, "reward_bound": REWARD_BOUND}

    def run(draw: str, threads: int, batch: int, problems: int):
        torch.set_num_threads(threads)
        law = peers.DRAWS[draw]
        found = peers.sampled(law, tolerance, reward, log_ref, **sizes, seeds=problems, batch=batch)
        return found.numpy()

    batches = sorted({min(batch, seeds) for batch in peers.BATCHES})
    settings = [(d, n, b) for d in peers.DRAWS for n in (1, 2) for b in batches]
    run(*settings[0], problems=batches[0])
    trial = {s: seconds_of(lambda s=s: run(*s, problems=s[2])) / s[2] for s in settings}
    draw, threads, batch = best = min(trial, key=lambda setting: trial[setting])
    tried = ", ".join(
        f"{d}, {n} thread{'s' * (n > 1)}, {b} at once "
        f"{1e6 * seconds / SAMPLED['iterations']:.0f} us"
        for (d, n, b), seconds in trial.items()
    )
    console.print(f"PyTorch, an iteration: {tried}.")
    setting = (
        f"{draw}, {threads} thread{'s' * (threads > 1)}, {batch} at once, tolerance {tolerance:g}"
    )
    return Rival("PyTorch", lambda: run(*best, problems=seeds), seeds, error, setting)


def sampled(options: Options) -> list[Target]:
    return [target for arms in options.arms for target in _sampled_at(SIZES[arms], options.quick)]


def _sampled_at(size: Size, quick: bool) -> list[Target]:
    seeds, rounds = (max(size.seeds // 8, 4), 3) if quick else (size.seeds, 5)
    problems = max(min(seeds, 200), 4)
    bandit = _sampled_bandit(size)
    shared = _shared_counts(bandit, size, problems)
    widest = float(np.ptp(shared.optimum, axis=1).max())
    with console.status("sampled: compiling"):
        rivals = [_ours(bandit, size, shared, seeds)]
    with console.status("sampled: looking for the fastest solver of choix"), _peer("choix"):
        import peers_choix

        rivals.append(_fastest_choix(peers_choix, bandit, size, shared, quick))
    with console.status("sampled: looking for the fastest PyTorch"), _peer("torch"):
        import peers_torch
        import torch

        rivals.append(_best_torch(torch, peers_torch, bandit, size, shared, seeds))
    sides = Sides({rival.name: rival.run for rival in rivals}, rounds, "sampled")

    table = new_table(
        f"Sampled path: K = {size.arms}, N = {size.samples:,}, {SAMPLED['iterations']} iterations, "
        "sampling included",
        "side",
        "iterations/s",
        "times as slow",
        "largest error",
        "mean final gap",
    )
    ratios = {}
    for rival in rivals:
        name = rival.name
        ratios[name] = sides.ratios(name, "apo_sim", rivals[0].seeds / rival.seeds)
        gap = np.asarray(rival.run())
        table.add_row(
            name,
            f"{rival.seeds * SAMPLED['iterations'] / sides.median(name):,.0f}",
            "1" if name == "apo_sim" else spread(ratios[name]),
            f"{rival.error:.1e}",
            f"{gap.mean():.4f} ± {gap.std(ddof=1) / math.sqrt(len(gap)):.4f}",
        )
    console.print(table)
    for rival in rivals:
        console.print(f"{rival.name}: {rival.seeds} seeds, {rival.setting}")
    console.print(
        f"Errors are the largest of a difference of rewards over {problems} shared win counts "
        f"(choix: those of its table). Peers run at the loosest tolerance that stays below "
        f"{ACCURACY:g}, and start each solve from the scores before it. Every arm is well covered "
        f"(beta = {SAMPLED['beta']:g}): the widest optimum spans {widest:.2f}, less than the 2R = "
        f"{2 * REWARD_BOUND:g} of apo_sim and PyTorch, so all sides solve the same problem.\n"
    )
    at = f"K = {size.arms}"
    targets = [Target(f"error of its rewards, {at}", rivals[0].error, ACCURACY, "", False)]
    wanted = {"choix": size.against_choix, "PyTorch": size.against_torch}
    for name, factor in wanted.items():
        if name in ratios and factor is not None:
            what = f"sampled path against {name}, {at}"
            targets.append(Target(what, median(ratios[name]), factor, "x", True))
    return targets


# (c) Cost against N


def cost(options: Options) -> list[Target]:
    seeds, rounds = (64, 3) if options.quick else (512, 7)
    with console.status("cost against N: compiling"):
        run = _sampled_ours(_sampled_bandit(USUAL), seeds)
        residual = {n: float(run(n)[2].max()) for n in COST_SAMPLES}
    runs = {f"{n:.0e}": (lambda n=n: run(n)) for n in COST_SAMPLES}
    sides = Sides(runs, rounds, "cost against N")
    base = f"{10**5:.0e}"
    table = new_table(
        f"Cost against N: K = {USUAL.arms}, {seeds} seeds x {SAMPLED['iterations']} iterations",
        "N",
        "iterations/s",
        f"cost relative to {base}",
        "largest residual",
    )
    for n, name in zip(COST_SAMPLES, runs, strict=True):
        rate = seeds * SAMPLED["iterations"] / sides.median(name)
        relative = "1" if name == base else spread(sides.ratios(name, base))
        table.add_row(name, f"{rate:,.0f}", relative, f"{residual[n]:.0e}")
    console.print(table, "")
    ratio = median(sides.ratios(f"{10**9:.0e}", base))
    return [Target("cost of N = 1e9 relative to N = 1e5", ratio, 1.5, "x", False)]


PARTS = {"exact": exact, "sampled": sampled, "cost": cost}


def main(options: Options) -> None:
    use_all_cores()
    print_machine()
    run_parts(PARTS, options)


if __name__ == "__main__":
    start(main, Options)
