"""Word problems of school mathematics, generated from the templates of GSM-Symbolic.

They are neither GSM8K nor Apple's GSM-Symbolic files: reasoning-gym writes them anew from
templates of its own for the same problems, so that no network is needed and no model has seen
these numbers. Say "generated GSM-Symbolic" where a result is quoted.
"""

import functools
import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apo_sim.checks import as_count, as_seed
from apo_sim.errors import InvalidArgument, MissingExtra
from apo_sim.llm import _thinking
from apo_sim.llm.data.prompts import Prompt
from apo_sim.llm.evaluation.benchmark import Marks

_NEEDED = ("reasoning_gym", "math_verify")


@dataclass(frozen=True)
class GeneratedGSMSymbolic:
    """Generated GSM-Symbolic: a problem in words, whose answer is a number.

    The metric `correct` is 1 where the last number that a response commits itself to equals the
    answer, as math-verify reads it: "#### 18", a box of LaTeX, "$18.00" and "36/2" are all 18.

    Args:
        number: how many problems.
        seed: of the numbers and the templates.

    Raises:
        InvalidArgument: no problems, or a seed that is none.
        MissingExtra: without reasoning-gym and math-verify, the extra `evaluation`.

    Source: Mirzadeh et al. 2024 (GSM-Symbolic), by the package reasoning-gym; math-verify.

    Example:
        >>> GeneratedGSMSymbolic(0)
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: number = 0 is not a count; pass an integer >= 1
    """

    number: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        as_count("number", self.number)
        as_seed("seed", self.seed)
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise MissingExtra("GeneratedGSMSymbolic", missing, "evaluation")

    @property
    def name(self) -> str:
        """Name, size and seed."""
        return f"generated GSM-Symbolic, {self.number} problems, seed {self.seed}"

    @functools.cached_property
    def _entries(self) -> list[dict[str, Any]]:
        create = importlib.import_module("reasoning_gym").create_dataset
        return list(create("gsm_symbolic", size=self.number, seed=self.seed))

    @property
    def prompts(self) -> Sequence[Prompt]:
        """The problems."""
        return [Prompt(entry["question"]) for entry in self._entries]

    @property
    def answers(self) -> tuple[str, ...]:
        """The number that answers each."""
        return tuple(entry["answer"] for entry in self._entries)

    def marks(self, number: int, response: str) -> Marks:
        """Mark a response: `correct`, 1 or 0."""
        return {"correct": float(is_answer(response, self._entries[number]["answer"]))}


def is_answer(response: str, answer: str) -> bool:
    r"""Whether a response commits itself to a number.

    What it thinks within `<think>` is not what it says; a response that ends there says nothing.

    Raises:
        InvalidArgument: an answer that is no number.

    Example:
        >>> is_answer(r"Not 17, but \boxed{18}.", "18"), is_answer("<think>18", "18")
        (True, False)
    """
    math_verify = importlib.import_module("math_verify")
    truth = math_verify.parse(answer)
    if not truth:
        raise InvalidArgument("answer", answer, "is not a number", "pass one, such as '18'")
    answered = _thinking.said(response).rsplit("####", 1)[-1]
    return bool(math_verify.verify(truth, math_verify.parse(answered)))
