"""What parts of `apo_sim.llm` were called before it was divided into folders: users rely on it."""

import importlib
import sys
from types import ModuleType

# From a module's former name to where it is, both below `apo_sim.llm`.
MODULES = {
    **{name: f"models.{name}" for name in ("adapters", "llama", "lora", "memory", "text", "tiny")},
    **{
        name: f"models._{name}"
        for name in (
            "checkpoint",
            "folder_text",
            "gguf_file",
            "gguf_text",
            "huggingface",
            "model_json",
            "shards",
            "template",
        )
    },
    "devices": "models.meshes",
    "parameters": "models.stored_parameters",
    **{name: f"data.{name}" for name in ("batches", "instructions", "prompts", "rankers")},
    "pairs": "data.preference_pairs",
    "sampling": "data.responses",
    "settings": "data._instruction_settings",
    "verifiers": "data._verifiers",
    "certificates": "evaluation.certificates",
    **{name: f"training.{name}" for name in ("objectives", "outer", "source")},
    **{name: f"training._{name}" for name in ("reference", "run_file", "watching")},
    "exploration": "training._exploratory_pairs",
    "arguments": "training._train_arguments",
    "extrapolation": "training.parameter_momentum",
    "judge": "training._judging",
    "step": "training.step",
}
# From the former name of a function or a class to today's.
NAMES = {
    "Pairwise": "PairwiseJudge",
    "Ranker": "ResponseRanker",
    "certify": "certify_run",
    "train": "fine_tune",
}
_CALLED_THE_SAME = frozenset({"memory"})  # the function is what `apo_sim.llm.memory` names


def keep(package: ModuleType) -> None:
    """Let the former names of `apo_sim.llm` be imported as before."""
    for former, today in MODULES.items():
        module = importlib.import_module(f"{package.__name__}.{today}")
        sys.modules.setdefault(f"{package.__name__}.{former}", module)
        if former not in _CALLED_THE_SAME:
            setattr(package, former, module)
    for former, today in NAMES.items():
        setattr(package, former, getattr(package, today))
