"""Several cores as several devices, and linear algebra that could wait for ever there."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from apo_sim.errors import InvalidArgument
from apo_sim.sweep import devices, use_cores

# Each lane factors a matrix. Shared out among two devices that have two threads between them, this
# waits for ever; keys are here to show that all that a lane may return can be put together again.
PROGRAM = """
import jax, jax.numpy as jnp
from apo_sim.sweep import use_cores
from apo_sim.sweep.devices import EVERYWHERE, LANES, shared_out
use_cores(2)
def lane(scale, key):
    matrix = jax.random.normal(key, (21, 21))
    turned = scale * (matrix @ matrix.T + 21 * jnp.eye(21))
    factor = lambda x: jnp.linalg.cholesky(turned + 1e-3 * x[0] * jnp.eye(21))
    step = lambda _, x: factor(x) @ x / jnp.linalg.norm(x)
    return jax.lax.fori_loop(0, 50, step, jnp.ones(21)), key
program = shared_out(jax.vmap(lane, (None, 0)), EVERYWHERE, LANES)
print(jax.local_device_count())
for seed in range(4):
    vectors, keys = program(2.0, jax.random.split(jax.random.key(seed), 256))
    print(vectors.tobytes().hex(), jax.random.key_data(keys).tobytes().hex())
"""


def printed(program, **environment):
    """What a process of its own prints, under these variables of the environment."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


def test_linear_algebra_does_not_wait_for_ever_and_its_bits_do_not_depend_on_threads():
    found = {printed(PROGRAM, NPROC=threads) for threads in ("1", "4")}
    assert len(found) == 1 and found.pop().startswith("2\n")


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
    found = {printed(BITS, XLA_FLAGS=flags) for flags in ("", devices._SMALL_LOOPS)}
    assert len(found) == 1


@pytest.mark.parametrize("count", [1, 3])
def test_threads_and_flags(monkeypatch, count):
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    monkeypatch.setenv("NPROC", "")
    monkeypatch.delenv("NPROC")
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=here")
    use_cores(count)
    flags = os.environ["XLA_FLAGS"]
    assert os.environ["NPROC"] == "1"
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
