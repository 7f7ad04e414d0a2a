"""Time momentum on a transformer against the rest of an iteration, and the training against TRL's.

    python experiments/benchmark_llm.py            # everything
    python experiments/benchmark_llm.py --quick    # a rougher look
    python experiments/benchmark_llm.py --part overhead

Pairs are random tokens: what a step costs does not depend on what they say. An iteration is the
shortest there is: two responses are drawn for each pair (the paper draws five), then come reference
log-probabilities and training on all pairs; ranking and evaluation are left out, which makes the
share of momentum larger than it is in a run. On a GPU both sides use it, PyTorch if it was built
for it.
"""

import itertools
import os
import pathlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx
from paired import (
    Sides,
    Target,
    console,
    new_table,
    print_machine,
    run_parts,
    spread,
)
from script import start

import apo_sim as apo
from apo_sim.llm import generate
from apo_sim.llm.data.preference_pairs import Preference
from apo_sim.llm.data.responses import Sampler, Sampling
from apo_sim.llm.models import loading
from apo_sim.llm.models.loading import Model
from apo_sim.llm.training.parameter_momentum import Extrapolator
from apo_sim.llm.training.step import FineTuning, ProximalTrainer

ALPHA, BETA = 0.3, 0.1
TUNING = FineTuning(batch=8)
PAIRS, PROMPT, RESPONSE = 32, 64, 64
PAPER_PAIRS = 20_000
SHORT_PROMPT = 48
MIB = 2**20
DRAWING, TRAINING, EXTRAPOLATION = "two responses a pair", "reference and training", "extrapolation"
OURS, TRL = "apo_sim", "TRL"


@dataclass(frozen=True)
class Options:
    """What momentum costs on a transformer, and tokens a second against TRL.

    Args:
        quick: fewer rounds, about five minutes on two idle cores; ratios are rougher.
        part: which part to run.
        model: "smollm2", a GGUF file, or a folder of a Llama-shaped model.
    """

    quick: bool = False
    part: Literal["overhead", "throughput", "all"] = "all"
    model: str = loading.SMOLLM2


def _random_pairs(model: Model, count: int, prompt: int) -> list[Preference]:
    random = np.random.default_rng(0)
    vocabulary = model.tokenizer.inner.get_vocab_size()

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(random.integers(vocabulary, size=length).tolist())

    return [Preference(tokens(prompt), tokens(RESPONSE), tokens(RESPONSE)) for _ in range(count)]


def _new_trainer(model: Model) -> ProximalTrainer:
    return ProximalTrainer(model.network, apo.DPO(), TUNING, model.tokenizer.padding)


def _iterate(
    trainer: ProximalTrainer,
    pairs: list[Preference],
    tick: Callable[[int], None] = lambda _: None,
) -> None:
    trainer.step(pairs, trainer.log_probs(pairs), beta=BETA, seed=0, tick=tick)


def _drawing(model: Model) -> Callable[[], None]:
    """Draws two responses to as many prompts as there are pairs."""
    sampler = Sampler(model, Sampling(max_tokens=RESPONSE, max_prompt=PROMPT, batch=PAIRS))
    fitting = [prompt.text for prompt in generate(8 * PAIRS) if sampler.fits(prompt.text)]

    def draw() -> None:
        for seed in range(2):
            sampler.draw(fitting[:PAIRS], seed)

    return draw


# What momentum costs


class DeviceMemory:
    """The peak of one device's memory, which a CPU does not count: there it is put together."""

    def __init__(self):
        self._seen = 0

    def look(self, program: int = 0) -> None:
        """Count the arrays that live now, and bytes that a program needs beside them."""
        arrays = (a for a in jax.live_arrays() if a.sharding.memory_kind == "device")
        self._seen = max(self._seen, sum(array.nbytes for array in arrays) + program)

    def look_at_step(self, *_: Any) -> None:
        """Between two steps: the arrays, and what XLA gives the program beside its arguments."""
        if _counted_peak() is None:
            self.look(program=_largest_program())

    @property
    def peak(self) -> int:
        return self._seen if (counted := _counted_peak()) is None else counted


def _counted_peak() -> int | None:
    """What the device itself counts, from its beginning."""
    stats = jax.local_devices()[0].memory_stats()
    return None if stats is None else stats["peak_bytes_in_use"]


def _largest_program() -> int:
    """Bytes of results in no argument's place, and of scratch, where they are most."""
    programs = jax.local_devices()[0].client.live_executables()
    stats = [program.get_compiled_memory_stats() for program in programs]
    return max(s.output_size_in_bytes - s.alias_size_in_bytes + s.temp_size_in_bytes for s in stats)


class Watched(Extrapolator):
    """An extrapolator that looks at the memory whenever it has dealt with a parameter."""

    def __init__(self, network: Any, momentum: Any, memory: DeviceMemory):
        self._memory = memory
        super().__init__(network, momentum)

    def _parameters(self, network: Any) -> Any:
        for found in super()._parameters(network):
            yield found
            self._memory.look()


def _peaks(model: Model, trainer: ProximalTrainer, pairs: list[Preference]) -> tuple[int, int]:
    """Device memory at its peak: of a plain iteration, and of one with momentum."""
    plain, apo_memory = DeviceMemory(), DeviceMemory()
    _iterate(trainer, pairs, plain.look_at_step)
    # Read before there is any momentum: a device counts from its beginning.
    without = plain.peak
    extrapolator = Watched(model.network, apo.Constant(ALPHA), apo_memory)
    _iterate(trainer, pairs, apo_memory.look_at_step)
    extrapolator.extrapolate(model.network, 1)
    jax.block_until_ready(nnx.state(model.network))
    return without, apo_memory.peak


def overhead(options: Options) -> list[Target]:
    model = loading.load(options.model)
    trainer, pairs = _new_trainer(model), _random_pairs(model, PAIRS, PROMPT)
    with console.status("overhead: compiling, and memory"):
        plain, with_momentum = _peaks(model, trainer, pairs[: TUNING.batch])
        draw = _drawing(model)
        draw()
    extrapolator = Extrapolator(model.network, apo.Constant(ALPHA))
    times = itertools.count(1)

    def extrapolate() -> None:
        extrapolator.extrapolate(model.network, next(times))
        jax.block_until_ready((nnx.state(model.network), list(extrapolator.state.values())))

    runs = {
        DRAWING: draw,
        TRAINING: lambda: _iterate(trainer, pairs),
        EXTRAPOLATION: extrapolate,
    }
    sides = Sides(runs, 1 if options.quick else 5, "overhead")
    shares, ratio = _shares(sides, EXTRAPOLATION), with_momentum / plain
    _print_overhead(model, sides, len(pairs), plain, with_momentum)
    return [
        Target("extrapolation, of the time of an iteration", median(shares), 1.0, " %", False),
        Target("peak of device memory, against plain", round(ratio, 2), 1.0, "x", False),
    ]


def _shares(sides: Sides, part: str) -> list[float]:
    """Per cent of an iteration without momentum, round by round, sorted."""
    whole = zip(sides.seconds[DRAWING], sides.seconds[TRAINING], strict=True)
    return sorted(
        100 * seconds / sum(others)
        for seconds, others in zip(sides.seconds[part], whole, strict=True)
    )


def _print_overhead(model: Model, sides: Sides, pairs: int, plain: int, with_momentum: int) -> None:
    table = new_table(
        f"Overhead: {model.name}, {model.parameters / 1e6:,.0f}M parameters, {pairs} pairs of "
        f"{PROMPT} + {RESPONSE} tokens, {pairs // TUNING.batch} steps",
        *("part of an iteration", "s", "share, %", "device peak, MiB"),
    )
    peaks = {TRAINING: plain, EXTRAPOLATION: with_momentum}
    for part in (DRAWING, TRAINING, EXTRAPOLATION):
        name = f"{part} besides" if part == EXTRAPOLATION else part
        peak = f"{peaks[part] / MIB:,.0f}" if part in peaks else ""
        table.add_row(name, f"{sides.median(part):.3g}", spread(_shares(sides, part)), peak)
    console.print(table)
    how = (
        "arrays of JAX on the device after every parameter and every step, and besides, in a step, "
        "what XLA gives its program"
        if _counted_peak() is None
        else "as the device counts it"
    )
    console.print(
        "Ranking and evaluation are left out, and the iteration is short: the paper's "
        f"{PAPER_PAIRS:,} pairs make it {PAPER_PAIRS / pairs:,.0f} times as long, and the "
        f"extrapolation no longer. Memory: {how}.\n",
        soft_wrap=True,
    )


# Against TRL


def throughput(options: Options) -> list[Target]:
    try:
        import peers_trl
        import torch
    except ModuleNotFoundError as error:
        console.print(
            f"[yellow]{error.name} is not installed: pip install 'apo-sim\\[bench]'.[/]\n"
        )
        return []
    torch.set_num_threads(os.cpu_count() or 1)
    on_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
    model = loading.load(options.model)
    # Several batches: at the end of an iteration, however long, one is looked at once more.
    pairs = _random_pairs(model, TUNING.batch * (4 if options.quick else 8), SHORT_PROMPT)
    trainer = _new_trainer(model)
    with (
        tempfile.TemporaryDirectory() as folder,
        console.status("throughput: compiling") as status,
    ):
        theirs = peers_trl.new_trainer(
            loading.save(model, pathlib.Path(folder) / model.name),
            pairs,
            batch=TUNING.batch,
            learning_rate=TUNING.learning_rate,
            beta=BETA,
            on_gpu=on_gpu,
        )
        first = pairs[: TUNING.batch]
        ours, same = trainer.log_probs(first), peers_trl.log_probs(theirs, first)
        runs: dict[str, Callable[[], Any]] = {
            OURS: lambda: _iterate(trainer, pairs),
            TRL: theirs.train,
        }
        for run in runs.values():
            run()
        status.stop()
        sides = Sides(runs, 2 if options.quick else 5, "throughput")
    _print_throughput(model, sides, len(pairs))
    where = "cuda" if on_gpu else f"{torch.get_num_threads()} threads"
    console.print(
        f"{peers_trl.VERSIONS}, on {where}; apo_sim on {jax.default_backend()}. Both in float32 "
        f"with RMSProp, {TUNING.batch} pairs a step, all activations kept.\n",
        soft_wrap=True,
    )
    apart = float(np.max(np.abs(ours / same - 1)))
    faster = median(sides.ratios(TRL, OURS))
    return [
        Target("training, tokens a second against TRL's", faster, 1.0, "x", True),
        Target("log-probabilities apart from TRL's, of their size", apart, 1e-4, "", False),
    ]


def _print_throughput(model: Model, sides: Sides, pairs: int) -> None:
    tokens = 2 * pairs * (SHORT_PROMPT + RESPONSE)
    table = new_table(
        f"Throughput: {model.name}, {pairs} pairs of {SHORT_PROMPT} + {RESPONSE} tokens",
        *("side", "s", "tokens/s", "apo_sim over it"),
    )
    for name in (OURS, TRL):
        faster = "1" if name == OURS else spread(sides.ratios(TRL, OURS))
        seconds = sides.median(name)
        table.add_row(name, f"{seconds:.3g}", f"{tokens / seconds:,.0f}", faster)
    console.print(table)


PARTS = {"overhead": overhead, "throughput": throughput}


def main(options: Options) -> None:
    # Else JAX takes most of a GPU's memory, and PyTorch has no room beside it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    print_machine()
    with jax.enable_x64(False):  # as `apo_sim.llm.fine_tune` does
        run_parts(PARTS, options)


if __name__ == "__main__":
    start(main, Options)
