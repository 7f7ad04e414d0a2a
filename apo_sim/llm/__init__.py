"""The library's update on a transformer: losses, momentum and rankers by way of Tunix.

Needs the extra `llm`: pip install 'apo-sim[llm]'.
"""

import importlib.util
import sys

from apo_sim.errors import MissingExtra

_NEEDED = ("flax", "gguf", "if_verifiable", "orbax", "qwix", "safetensors", "tokenizers", "tunix")
_missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
if _missing:
    raise MissingExtra("apo_sim.llm", _missing, "llm")

from apo_sim.llm import former_names  # noqa: E402
from apo_sim.llm.data.instructions import chosen_prompts, generate  # noqa: E402
from apo_sim.llm.data.preference_pairs import BradleyTerry, Preference, TopAgainstBottom  # noqa: E402
from apo_sim.llm.data.prompts import Prompt, read  # noqa: E402
from apo_sim.llm.data.rankers import Length, PairwiseJudge, ResponseRanker, RewardModel, Verifiable  # noqa: E402
from apo_sim.llm.data.rankers import named as ranker  # noqa: E402
from apo_sim.llm.data.responses import Sampling  # noqa: E402
from apo_sim.llm.evaluation.benchmark import Benchmark, Scores, evaluate  # noqa: E402
from apo_sim.llm.evaluation.certificates import certify_run, logged_pairs  # noqa: E402
from apo_sim.llm.evaluation.generated_maths import GeneratedGSMSymbolic  # noqa: E402
from apo_sim.llm.evaluation.instruction_following import InstructionFollowing  # noqa: E402
from apo_sim.llm.models.loading import Model, load, save  # noqa: E402
from apo_sim.llm.models.lora import LoRA  # noqa: E402
from apo_sim.llm.models.memory import memory  # noqa: E402
from apo_sim.llm.models.meshes import join, mesh  # noqa: E402
from apo_sim.llm.stages import StageLost  # noqa: E402
from apo_sim.llm.training.foresight import BetaWithoutEffect, StepsRounded  # noqa: E402
from apo_sim.llm.training.objectives import Objective, chipo, ipo_per_token, simpo, xpo  # noqa: E402
from apo_sim.llm.training.objectives import named as objective  # noqa: E402
from apo_sim.llm.training.outer import Outcome, fine_tune  # noqa: E402
from apo_sim.llm.training.parameter_momentum import expo  # noqa: E402
from apo_sim.llm.training.source import PromptsLeftOut  # noqa: E402
from apo_sim.llm.training.step import FineTuning, StepDiverged  # noqa: E402

__all__ = [
    "Benchmark",
    "BetaWithoutEffect",
    "BradleyTerry",
    "FineTuning",
    "GeneratedGSMSymbolic",
    "InstructionFollowing",
    "Length",
    "LoRA",
    "Model",
    "Objective",
    "Outcome",
    "PairwiseJudge",
    "Preference",
    "Prompt",
    "PromptsLeftOut",
    "ResponseRanker",
    "RewardModel",
    "Sampling",
    "Scores",
    "StageLost",
    "StepDiverged",
    "StepsRounded",
    "TopAgainstBottom",
    "Verifiable",
    "certify_run",
    "chipo",
    "chosen_prompts",
    "evaluate",
    "expo",
    "fine_tune",
    "generate",
    "ipo_per_token",
    "join",
    "load",
    "logged_pairs",
    "memory",
    "mesh",
    "objective",
    "ranker",
    "read",
    "save",
    "simpo",
    "xpo",
]

former_names.keep(sys.modules[__name__])
