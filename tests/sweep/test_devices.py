"""Several cores as several devices, linear algebra on all of them."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from apo_sim.errors import InvalidArgument
from apo_sim.sweep import devices, use_cores

# Each lane solves a linear system; with as many threads as devices this waits for ever.
PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from apo_sim.sweep import use_cores
from apo_sim.sweep.lanes import over_lanes
use_cores(2)
def lane(seed):
    matrix = jax.random.normal(jax.random.key(seed), (21, 21))
    turned = matrix @ matrix.T + jnp.eye(21)
    step = lambda _, x: jnp.linalg.solve(turned, x) / jnp.linalg.norm(x)
    return jax.lax.fori_loop(0, 50, step, jnp.ones(21)).sum()
for start in range(3):
    over_lanes(lane, np.arange(256, dtype=np.uint32) + start)
print(jax.local_device_count())
"""


def test_batched_linear_algebra_does_not_wait_for_ever():
    plain = {name: value for name, value in os.environ.items() if name != "NPROC"}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=plain, capture_output=True, text=True, timeout=120
    )
    assert found.stdout.strip() == "2", found.stderr


# What the flags say decides how loops are compiled, and nothing else.
BITS = """
import hashlib, jax
import apo_sim as apo
jax.config.update("jax_enable_x64", True)
bandit = apo.families.uniform_bandit(jax.random.key(0), contexts=1, arms=6)
keys = jax.random.split(jax.random.key(1), 5)
solve = lambda key: apo.run(
    bandit, apo.DPO(), apo.Constant(0.3), beta=1.0, iterations=5, samples=100, key=key
).final_log_policy
print(hashlib.sha256(jax.jit(jax.vmap(solve))(keys).tobytes()).hexdigest())
"""


def test_loops_that_are_one_program_give_the_same_bits():
    found = {
        subprocess.run(
            [sys.executable, "-c", BITS],
            env=os.environ | {"XLA_FLAGS": flags},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for flags in ("", devices._SMALL_LOOPS)
    }
    assert len(found) == 1


@pytest.mark.parametrize(("count", "threads"), [(1, "1"), (3, "6")])
def test_threads_and_flags(monkeypatch, count, threads):
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    monkeypatch.setenv("NPROC", "")
    monkeypatch.delenv("NPROC")
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=here")
    use_cores(count)
    flags = os.environ["XLA_FLAGS"]
    assert os.environ["NPROC"] == threads
    assert flags.startswith("--xla_dump_to=here ") and flags.count(devices._SMALL_LOOPS) == 1
    monkeypatch.setenv("NPROC", "5")
    use_cores(count)
    assert os.environ["NPROC"] == "5" and os.environ["XLA_FLAGS"] == flags


def test_too_late_is_said():
    jnp.zeros(1).block_until_ready()
    with pytest.raises(InvalidArgument, match="too late"):
        use_cores(3)


@pytest.mark.parametrize("count", [0, -1, 1.5, "all"])
def test_what_is_no_number_of_cores(count):
    with pytest.raises(InvalidArgument, match="count"):
        use_cores(count)
