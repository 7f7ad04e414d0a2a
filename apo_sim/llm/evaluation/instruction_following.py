"""Verifiable instructions as a benchmark: IFEval's, IFBench's, or both, strict and loose."""

from collections.abc import Sequence
from dataclasses import dataclass

from apo_sim.checks import as_text
from apo_sim.llm.data.prompts import Prompt, as_prompts, digest
from apo_sim.llm.data.rankers import followed, verifiable
from apo_sim.llm.evaluation.benchmark import Marks
from apo_sim.self_checking import checks_itself


@checks_itself
@dataclass(frozen=True)
class InstructionFollowing:
    """How many instructions are followed, as programs verify it.

    Metrics: `prompt_strict` and `prompt_loose` are 1 where all instructions of a prompt are
    followed, `instruction_strict` and `instruction_loose` the share of them that are. Loose
    verdicts forgive a first or last line and asterisks. Means over prompts weigh every prompt the
    same; IFEval's tables weigh every instruction the same, where theirs have several.

    Args:
        prompts: as `apo_sim.llm.read` reads them from a file of IFEval's or IFBench's.
        title: what the benchmark is called.

    Raises:
        InvalidArgument: a prompt without instructions, or with one that cannot be verified here.
        UnknownName: an instruction that neither IFEval nor IFBench has.

    Source: IFEval (Zhou et al. 2023) and IFBench (Pyatkin et al. 2025), by if-verifiable.

    Example:
        >>> prompt = Prompt("Answer without commas.", ("punctuation:no_comma",), ({},))
        >>> InstructionFollowing([prompt]).marks(0, "Yes I do")["prompt_strict"]
        1.0
    """

    prompts: Sequence[Prompt]
    title: str = "instruction following"

    def __post_init__(self) -> None:
        as_text("title", self.title)
        found = as_prompts("prompts", self.prompts)
        for prompt in found:
            verifiable(prompt)
        object.__setattr__(self, "prompts", found)

    @property
    def name(self) -> str:
        """Title, size and a digest of the prompts."""
        return f"{self.title}, {digest(self.prompts)}"

    def marks(self, number: int, response: str) -> Marks:
        """Mark a response by the instructions of prompt `number`."""
        strict, loose = followed(self.prompts[number], response)
        return {
            "prompt_strict": float(strict.all()),
            "prompt_loose": float(loose.all()),
            "instruction_strict": float(strict.mean()),
            "instruction_loose": float(loose.mean()),
        }
