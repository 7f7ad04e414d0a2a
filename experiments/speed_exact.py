"""The exact path: apo_sim against NumPy, and against what the machine can do at best."""

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
    Rows,
    Sides,
    Spread,
    Target,
    console,
    over_lanes,
    peak_memory,
    use_one_core,
)

import apo_sim as apo

CONTEXTS, ARMS, ALPHAS = 64, 1000, np.linspace(0.0, 0.9, 8)
BETA = 5.0
PEER_SHARE = 10
"""The NumPy sides run one iteration in ten; a step of theirs costs the same at any t, so their
seconds are scaled."""
SIZE = CONTEXTS * ARMS * len(ALPHAS)
PEERS = {"NumPy, plain": peers_numpy.exact_plain, "NumPy, tuned": peers_numpy.exact_tuned}


def exact_problem() -> tuple[np.ndarray, np.ndarray]:
    reward = np.random.default_rng(0).uniform(-1.0, 1.0, (CONTEXTS, ARMS))
    return reward, np.full((CONTEXTS, ARMS), -math.log(ARMS))


def _compiled(iterations: int) -> tuple[Any, tuple[Any, ...]]:
    bandit = apo.Bandit(*map(jnp.asarray, exact_problem()))

    def metrics(bandit, alpha):
        momentum = apo.Constant(alpha)
        solution = apo.run(bandit, momentum=momentum, beta=BETA, iterations=iterations)
        return solution.suboptimality, solution.tv

    arguments = bandit, jnp.asarray(ALPHAS)
    return over_lanes(metrics, (None, 0)).lower(*arguments).compile(), arguments


def exact_run(iterations: int) -> Callable[[], tuple[jax.Array, jax.Array]]:
    """Suboptimality and total variation of all runs."""
    compiled, arguments = _compiled(iterations)
    return lambda: jax.block_until_ready(compiled(*arguments))


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
    arguments = (*exact_problem(), ALPHAS, BETA, peer_iterations)
    error = {
        name: max(
            float(np.abs(m - p).max()) for m, p in zip(measured, peer(*arguments), strict=True)
        )
        for name, peer in PEERS.items()
    }
    runs = {name: (lambda peer=peer: peer(*arguments)) for name, peer in PEERS.items()}
    sides = Sides({"apo_sim": run, **runs}, rounds, "exact", CPU_TIME)
    ratios = {name: sides.ratios(name, "apo_sim", PEER_SHARE) for name in PEERS}
    ours = {
        "side": "apo_sim",
        "ms an iteration": 1e3 * sides.median("apo_sim") / iterations,
        "times as slow": None,
        "largest difference": None,
    }
    theirs = [
        {
            "side": name,
            "ms an iteration": 1e3 * sides.median(name) / peer_iterations,
            "times as slow": Spread.of(ratios[name]),
            "largest difference": error[name],
        }
        for name in PEERS
    ]
    yield Rows(
        "exact",
        f"Exact path: {CONTEXTS} contexts x {ARMS} arms x {len(ALPHAS)} alphas, suboptimality and "
        "TV at every iteration, one core",
        [ours, *theirs],
        "plain: scipy.special.log_softmax on the whole array; tuned: in place, one exponential a "
        f"step. Peak memory of apo_sim alone: {memory:.2f} GiB.",
    )
    yield Target("exact path's largest difference from NumPy", max(error.values()), 1e-9, "", False)
    yield Target("exact path's peak memory", memory, 2.0, " GiB", False)
    yield _ceilings(sides.median("apo_sim") / iterations)


def _ceilings(seconds: float) -> Rows:
    """How long the exponentials and the bytes of an iteration would take by themselves."""
    # XLA counts the body of a loop once, whatever the number of its iterations, and what is
    # before the loop, a tenth of it here.
    cost = _compiled(2)[0].cost_analysis()
    array = 8 * SIZE
    needs = {
        "exponentials": (float(SIZE), exps_a_second()),
        "bytes of three passes: two states read, one written": (3.0 * array, bytes_a_second(SIZE)),
        "bytes that its arrays move, as XLA counts them": (
            float(cost["bytes accessed"]),
            bytes_a_second(SIZE),
        ),
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
        "Ceilings are of plain fused loops of the same compiler on the same core: exponentials of "
        f"an array in the first cache, and passes over one of {array / 2**20:.1f} MiB. Shares of "
        "exponentials and of bytes moved that add up to 1 leave nothing to gain but fewer passes.",
    )
