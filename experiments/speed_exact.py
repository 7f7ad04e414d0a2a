"""The exact path: apo_sim against NumPy, and against what the machine can do at best."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import peers_numpy
from ceilings import bytes_a_second, exps_a_second
from paired import (
    CPU_TIME,
    Cell,
    Rows,
    Sides,
    Spread,
    Target,
    console,
    peak_memory,
    use_one_core,
)

import apo_sim as apo
from apo_sim.sweep.devices import EVERYWHERE, LANES, shared_out

CONTEXTS, ARMS, ALPHAS = 64, 1000, np.linspace(0.0, 0.9, 8)
BETA = 5.0
PEER_SHARE = 10
"""The NumPy sides run one iteration in ten; a step of theirs costs the same at any t, so their
seconds are scaled."""
SIZE = CONTEXTS * ARMS * len(ALPHAS)
WORKING_SET = 5
"""Arrays of a step: two states, their successor, its logarithms and its exponentials."""
OURS, OURS_AT_ONCE = "apo_sim", "apo_sim, all alphas at once"
PEERS = {"NumPy, plain": peers_numpy.exact_plain, "NumPy, tuned": peers_numpy.exact_tuned}


def exact_problem() -> tuple[np.ndarray, np.ndarray]:
    reward = np.random.default_rng(0).uniform(-1.0, 1.0, (CONTEXTS, ARMS))
    return reward, np.full((CONTEXTS, ARMS), -math.log(ARMS))


def _program(iterations: int, at_once: bool = False) -> tuple[Any, tuple[Any, ...]]:
    bandit = apo.Bandit(*map(jnp.asarray, exact_problem()))

    def metrics(bandit, alpha):
        momentum = apo.Constant(alpha)
        solution = apo.run(bandit, momentum=momentum, beta=BETA, iterations=iterations)
        return solution.suboptimality, solution.tv

    def in_turn(bandit, alphas):
        return jax.lax.map(lambda alpha: metrics(bandit, alpha), alphas)

    lanes = jax.vmap(metrics, (None, 0)) if at_once else in_turn
    arguments = bandit, jnp.asarray(ALPHAS)
    return shared_out(lanes, EVERYWHERE, LANES), arguments


def exact_run(iterations: int, at_once: bool = False) -> Callable[[], tuple[jax.Array, jax.Array]]:
    """Suboptimality and total variation of all runs.

    One alpha after the other: arrays of all of them together leave the cache.
    """
    program, arguments = _program(iterations, at_once)
    return lambda: jax.block_until_ready(program(*arguments))


def numpy_in_turn(peer: Callable[..., Any], iterations: int) -> list[Any]:
    """The same by NumPy, one alpha after the other."""
    return [peer(*exact_problem(), ALPHAS[i : i + 1], BETA, iterations) for i in range(len(ALPHAS))]


def exact_alone(iterations: int) -> None:
    """Nothing but the exact path, for its peak memory."""
    use_one_core()
    exact_run(iterations)()


def exact(options: Any) -> Iterator[Rows | Target]:
    iterations, rounds = (100, 3) if options.quick else (1000, 5)
    peer_iterations = iterations // PEER_SHARE
    with console.status("exact: peak memory of a process of its own"):
        memory = peak_memory("speed_exact", f"exact_alone({iterations})")
    with console.status("exact: compiling"):
        run = exact_run(iterations)
        measured = [np.asarray(series)[:, :peer_iterations] for series in run()]
        at_once = exact_run(iterations, at_once=True)
        at_once()
    arguments = (*exact_problem(), ALPHAS, BETA, peer_iterations)
    error = {
        name: max(
            float(np.abs(m - p).max()) for m, p in zip(measured, peer(*arguments), strict=True)
        )
        for name, peer in PEERS.items()
    }
    runs: dict[str, Callable[[], Any]] = {OURS: run, OURS_AT_ONCE: at_once}
    for name, peer in PEERS.items():
        runs[name] = functools.partial(numpy_in_turn, peer, peer_iterations)
        runs[f"{name}, all alphas at once"] = functools.partial(peer, *arguments)
    sides = Sides(runs, rounds, "exact", CPU_TIME)
    rows: list[dict[str, Cell]] = []
    for name in runs:
        share = 1 if name in (OURS, OURS_AT_ONCE) else PEER_SHARE
        rows.append(
            {
                "side": name,
                "ms an iteration": 1e3 * share * sides.median(name) / iterations,
                "times as slow": Spread.of(sides.ratios(name, OURS, share)),
                "largest difference": error.get(name),
            }
        )
    yield Rows(
        "exact",
        f"Exact path: {CONTEXTS} contexts x {ARMS} arms x {len(ALPHAS)} alphas, suboptimality and "
        "TV at every iteration, one core",
        rows,
        "plain: scipy.special.log_softmax on the whole array; tuned: in place, one exponential a "
        f"step. Peak memory of apo_sim alone: {memory:.2f} GiB.",
    )
    yield Target("exact path's largest difference from NumPy", max(error.values()), 1e-9, "", False)
    yield Target("exact path's peak memory", memory, 2.0, " GiB", False)
    yield _ceilings(sides.median(OURS) / iterations)


def _ceilings(seconds: float) -> Rows:
    """How long the exponentials and the bytes of an iteration would take by themselves."""
    # One alpha's arrays at a time; XLA counts the body of a loop once, and what is before it.
    program, arguments = _program(2)
    cost = program.lower(*arguments).compile().cost_analysis()
    moved = len(ALPHAS) * float(cost["bytes accessed"])
    array = SIZE // len(ALPHAS)
    exps, bytes_each = exps_a_second(), bytes_a_second(WORKING_SET * array)
    needs = {
        "exponentials, one an arm": (float(SIZE), exps),
        "bytes, were all of a step one pass: two states read, one written": (
            3.0 * 8 * SIZE,
            bytes_each,
        ),
        "bytes that its arrays move, as XLA counts them": (moved, bytes_each),
    }
    rows = [
        {
            "what": what,
            "an iteration": amount,
            "the machine's, a second": rate,
            "ms at that rate": 1e3 * amount / rate,
            "share of the time": amount / rate / seconds,
        }
        for what, (amount, rate) in needs.items()
    ]
    return Rows(
        "ceilings",
        f"An exact iteration, {1e3 * seconds:.3g} ms, against the machine's ceilings",
        rows,
        "Ceilings are of plain fused loops of the same compiler on the same core: exponentials, "
        "eight in a row, and passes over as much as the arrays of one alpha take, "
        f"{8 * WORKING_SET * array / 2**20:.1f} MiB. Shares of exponentials and of bytes moved "
        "that add up to 1 leave nothing to gain but fewer passes.",
    )
