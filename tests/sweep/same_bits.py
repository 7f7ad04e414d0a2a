"""A sweep to run in a process of its own: same_bits.py OUT (sampled | exact) DEVICES."""

import sys
from typing import Any

import jax

from apo_sim.sweep import sweep

SWEEP: dict[str, Any] = {
    "family": "uniform",
    "seeds": 48,
    "seed": 3,
    "chunk": 16,
    "alpha": [0.0, 0.3, 0.9],
    "samples": [100, 1000],
    "arms": 4,
    "beta": 5.0,
    "iterations": 6,
}

# Compiled in a second, and many units: for tests of what is stored.
EXACT: dict[str, Any] = {**SWEEP, "samples": None, "chunk": 2}

if __name__ == "__main__":
    out, kind, devices = sys.argv[1:]
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", int(devices))
    assert jax.local_device_count() == int(devices)
    sweep(out=out, **(SWEEP if kind == "sampled" else EXACT))
