"""Memory of a random model on eight virtual devices, held against what `llm.memory` counts.

    python experiments/llm_memory.py            # Llama 3.2's 1B in bfloat16: 12 GB, some minutes
    python experiments/llm_memory.py --quick    # 14 million parameters, in seconds

Parameters are written as a checkpoint and read back, momentum takes its copy of them, and the
program of a training step is compiled, so that XLA says what it needs; only `--steps` runs it.
Virtual devices and the host share one memory here, so that the process holds the sum of both.
"""

import dataclasses
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from paired import console, new_table, print_machine
from script import start

import apo_sim as apo
from apo_sim import llm
from apo_sim.llm.data.preference_pairs import Preference
from apo_sim.llm.models import stored_parameters
from apo_sim.llm.models.llama import Config, Llama
from apo_sim.llm.training.parameter_momentum import Extrapolator
from apo_sim.llm.training.step import FineTuning, ProximalTrainer
from apo_sim.sweep import use_cores

DEVICES = 8
GIB = 2**30
BILLION = Config(
    num_layers=16,
    vocab_size=128_256,
    embed_dim=2048,
    hidden_dim=8192,
    num_heads=32,
    head_dim=64,
    num_kv_heads=8,
    rope_theta=500_000,
    norm_eps=1e-5,
    weight_tying=True,
)
SMALL = dataclasses.replace(
    BILLION, num_layers=2, vocab_size=4096, embed_dim=512, hidden_dim=2048, num_heads=8
)
# One pair of one token: of activations, as little as there can be.
PAIRS = [Preference((1,), (2,), (3,))]


@dataclass(frozen=True)
class Options:
    """Measured memory beside the formula's.

    Args:
        quick: a small model.
        dtype: of the parameters.
        fsdp: shards of the data and parameters; the others of the eight devices split each layer.
        steps: training steps to run, besides compiling one.
    """

    quick: bool = False
    dtype: str = "bfloat16"
    fsdp: int = DEVICES
    steps: int = 0


def random_network(config: Config, mesh: jax.sharding.Mesh, dtype: Any) -> Llama:
    """Normal weights, each made where it lies: no device, and no host, ever holds a whole one."""
    graph, state = nnx.split(nnx.eval_shape(lambda: Llama(config, rngs=nnx.Rngs(0))))
    layout = dict(nnx.to_flat_state(nnx.get_named_sharding(state, mesh)))
    flat = dict(nnx.to_flat_state(state))
    for number, (path, leaf) in enumerate(flat.items()):
        draw = jax.jit(
            lambda key, shape=leaf.shape: (0.02 * jax.random.normal(key, shape)).astype(dtype),
            out_shardings=layout[path].get_value(),
        )
        flat[path] = leaf.replace(draw(jax.random.key(number)))
    return nnx.merge(graph, nnx.statelib.from_flat_state(flat))


def forget_peak() -> None:
    """Let the kernel count this process's peak from here on."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Bytes that this process held at most since then."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def main(options: Options) -> None:
    os.environ.pop("NPROC", None)  # `start` asks for as many as there are cores
    use_cores(DEVICES)
    print_machine()
    config = SMALL if options.quick else BILLION
    with jax.enable_x64(False), llm.mesh(options.fsdp, DEVICES // options.fsdp) as mesh:
        forget_peak()
        before = peak()
        network = random_network(config, mesh, options.dtype)
        number = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))
        counted = llm.memory(number, dtype=options.dtype)
        copy = number * jnp.dtype(options.dtype).itemsize
        table = new_table(
            f"{number / 1e6:,.0f}M parameters in {options.dtype}, fsdp x tp = {options.fsdp} x "
            f"{DEVICES // options.fsdp}: GiB, and copies of the parameters ({copy / GIB:.3g} GiB)",
            *("what", "measured", "copies", "counted"),
        )

        def row(what: str, measured: float, expected: float) -> None:
            values = f"{measured / GIB:.3f}", f"{measured / copy:.2f}", f"{expected / GIB:.3f}"
            table.add_row(what, *values)

        def held(what: str, copies: float, work: Callable[[], Any]) -> Any:
            forget_peak()
            found = work()
            row(f"process, at its peak: {what}", peak() - before, copies * copy)
            return found

        row("process: parameters", peak() - before, copy)
        extrapolator = held(
            "momentum takes its copy", 2, lambda: Extrapolator(network, apo.Constant(0.3))
        )
        remembered = sum(leaf.nbytes for leaf in jax.tree.leaves(extrapolator.state))
        row("hosts: what momentum remembers", remembered, copy)
        digest = stored_parameters.digest(network)
        with tempfile.TemporaryDirectory() as folder:
            stage = Path(folder) / "hat"
            values = stored_parameters.of(network)
            held("checkpoint written", 2, lambda: stored_parameters.write(stage, values, digest))
            row("disk: a checkpoint", size(stage), copy)
            like = jax.tree.map(stored_parameters.described, values)
            del values
            for _, leaf in stored_parameters.named(network):
                leaf.set_value(jnp.zeros_like(leaf.get_value()))
            read = held("checkpoint read beside it", 3, lambda: stored_parameters.read(stage, like))
        stored_parameters.put(network, read)
        assert stored_parameters.digest(network) == digest, "a checkpoint came back changed"
        del read, extrapolator
        tuning = FineTuning(batch=options.fsdp)
        trainer = ProximalTrainer(network, apo.DPO(), tuning, padding=0)
        needs = trainer.program(PAIRS).memory_analysis()
        assert needs is not None
        own = needs.argument_size_in_bytes + needs.output_size_in_bytes - needs.alias_size_in_bytes
        row("devices: policy and optimiser in a step", DEVICES * own, 2 * copy)
        scratch = DEVICES * (own + needs.temp_size_in_bytes)
        row("devices: the same, with scratch", scratch, counted.device * GIB)
        if options.steps:
            pairs = PAIRS * options.fsdp * options.steps
            reference = trainer.log_probs(pairs)
            held("steps", 3, lambda: trainer.step(pairs, reference, beta=1.0, seed=0))
    console.print(table)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    start(main, Options)
