"""How long a first call takes, nearly all of which is the compiler's, in processes of their own."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from paired import Rows, Spread, Target, console

import apo_sim as apo

ARMS = (4, 10, 30)
RUN: dict[str, Any] = {"beta": 1.0, "iterations": 5, "samples": 1000}
SEEDS = 64
AT_MOST = 4.0
KEPT = "JAX_COMPILATION_CACHE_DIR"
# However soon they are compiled.
EACH = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def first(options: Any) -> Iterator[Rows | Target]:
    rounds = 1 if options.quick else 7
    rows, targets = [], []
    with console.status("a first call: starting") as status, tempfile.TemporaryDirectory() as kept:
        found: dict[tuple[str, int], list[dict[str, float]]] = {}
        for number in range(rounds):
            for arms in ARMS:
                for name, folder in (("new", ""), ("kept", kept)):
                    status.update(f"a first call, round {number + 1} of {rounds}: K = {arms}")
                    if name == "kept" and number == 0:
                        _in_a_process(arms, folder)  # which keeps what it compiles
                    found.setdefault((name, arms), []).append(_in_a_process(arms, folder))
    for arms in ARMS:

        def seconds(name: str, what: str, arms: int = arms) -> Spread:
            return Spread.of([one[what] for one in found[name, arms]])

        one = seconds("new", "one run")
        rows.append(
            {
                "K": arms,
                "one run, s": one,
                f"{SEEDS} runs side by side, s": seconds("new", "side by side"),
                "one run, programs kept, s": seconds("kept", "one run"),
                f"{SEEDS} runs, programs kept, s": seconds("kept", "side by side"),
            }
        )
        targets.append(
            Target(f"first call of run, K = {arms}", one.median, AT_MOST, " s", at_least=False)
        )
    yield Rows(
        "first",
        "A first call",
        rows,
        f"Seconds on the wall, on all cores, for {RUN['iterations']} sampled iterations in a new "
        "process, the loading of most of the library included, the median with the smallest and "
        "the largest. They are the compiler's but for some milliseconds. Programs are kept where "
        f"`{KEPT}` names a folder.",
    )
    yield from targets


def _in_a_process(arms: int, folder: str) -> dict[str, float]:
    """Seconds of a first call of each kind, with programs kept in a folder, or nowhere."""
    command = [sys.executable, "-W", "ignore", __file__, str(arms)]
    environment = {**os.environ, **EACH, KEPT: folder}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _timed(arms: int) -> dict[str, float]:
    """What the process does."""
    jax.config.update("jax_enable_x64", True)
    problem = apo.families.uniform_bandit(jax.random.key(0), contexts=1, arms=arms)
    method, rule, keys = apo.DPO(), apo.Constant(0.3), jax.random.split(jax.random.key(1), SEEDS)

    def one(key: Any) -> Any:
        return apo.run(problem, method, rule, **RUN, key=key).suboptimality

    def seconds(call: Callable[[Any], Any], given: Any) -> float:
        began = time.perf_counter()
        jax.block_until_ready(call(given))
        return time.perf_counter() - began

    side_by_side = jax.jit(jax.vmap(one))
    return {"one run": seconds(one, keys[0]), "side by side": seconds(side_by_side, keys)}


if __name__ == "__main__":
    print(json.dumps(_timed(int(sys.argv[1]))))
