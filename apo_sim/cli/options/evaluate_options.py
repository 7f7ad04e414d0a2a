"""Options of `apo-sim evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from apo_sim.cli.options.option_kinds import Json


@dataclass(frozen=True)
class Evaluate:
    """Score a language model on a benchmark, alone or against another one.

    The benchmark is generated GSM-Symbolic (school mathematics), or a file of prompts with
    verifiable instructions in the format of IFEval and IFBench.
    """

    model: tyro.conf.Positional[str]
    """A folder, a GGUF file, or smollm2."""
    against: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """A second model to compare with; it answers with the same random numbers."""
    prompts: Annotated[str, tyro.conf.arg(metavar="N|FILE")] = "100"
    """How many problems to generate, or a JSONL file of prompts with instructions."""
    seeds: int = 1
    """How many times each prompt is answered."""
    seed: int = 0
    """Fixes all randomness: problems and responses."""
    temperature: float = 0.7
    """Temperature of the softmax over tokens."""
    top_p: float = 0.9
    """Nucleus sampling: draw tokens from this share of the probability."""
    max_tokens: int = 512
    """Longest response, in tokens."""
    max_prompt: int = 512
    """Longest prompt, in tokens."""
    batch: int = 16
    """How many responses are drawn at once."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Save the score of every response in this folder, as JSON."""
    json: Json = False
