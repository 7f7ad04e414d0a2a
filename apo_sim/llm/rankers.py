"""Rankers: what says how good the responses to a prompt are."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.llm.prompts import Prompt


@runtime_checkable
class Ranker(Protocol):
    """Scores of responses to one prompt; a higher one is better.

    Optional: `accepts(prompt)`, whether a prompt can be ranked at all; others are left out.
    """

    def scores(self, prompt: Prompt, responses: Sequence[str]) -> np.ndarray:
        """One number for each response, shape (responses,)."""
        ...


@dataclass(frozen=True)
class Length:
    """Longer is better, in characters: what rankers are suspected of. Or shorter, for brevity.

    Args:
        sign: 1 for length, -1 for brevity.
        unit: characters that are worth one point.

    Example:
        >>> Length(-1).scores(Prompt("?"), ["a", "abc"]).tolist()
        [-0.01, -0.03]
    """

    sign: int = 1
    unit: float = 100.0

    def scores(self, prompt: Prompt, responses: Sequence[str]) -> np.ndarray:
        del prompt
        return np.array([self.sign * len(response) / self.unit for response in responses])


@dataclass(frozen=True)
class Verifiable:
    """The share of a prompt's instructions that a response follows, as a program verifies it.

    Responses that follow equally many are told apart by the loose verdicts, which forgive a first
    or last line and asterisks. An empty response follows none.

    Source: IFEval (Zhou et al. 2023), by the package if-verifiable.

    Example:
        >>> prompt = Prompt("Answer without commas.", ("punctuation:no_comma",), ({},))
        >>> Verifiable().scores(prompt, ["Yes, I do", "Yes I do", ""]).tolist()
        [0.0, 1.1, 0.0]
    """

    loose_share: float = 0.1

    def accepts(self, prompt: Prompt) -> bool:
        """Whether its instructions can be verified here."""
        return can_verify(prompt)

    def scores(self, prompt: Prompt, responses: Sequence[str]) -> np.ndarray:
        found = [followed(prompt, response) for response in responses]
        return np.array(
            [strict.mean() + self.loose_share * loose.mean() for strict, loose in found]
        )


def followed(prompt: Prompt, response: str) -> tuple[np.ndarray, np.ndarray]:
    """Which instructions a response follows, strictly and loosely, each of shape (instructions,).

    Raises:
        InvalidArgument: a prompt without instructions, or with one that cannot be verified here.

    Example:
        >>> prompt = Prompt("Answer without commas.", ("punctuation:no_comma",), ({},))
        >>> followed(prompt, "Yes, I do")[0].tolist()
        [False]
    """
    verifiable(prompt)
    if not response.strip():
        nothing = np.zeros(len(prompt.instructions), bool)
        return nothing, nothing
    verdicts = _common().evaluate_instructions(
        response=response,
        instruction_id_list=list(prompt.instructions),
        kwargs_list=[dict(entry) for entry in prompt.kwargs],
        prompt=prompt.text,
        instruction_registry=registry(),
    )[0]
    return np.array([v.strict_pass for v in verdicts]), np.array([v.loose_pass for v in verdicts])


def verifiable(prompt: Prompt) -> None:
    """Refuse a prompt whose instructions cannot be verified."""
    if not prompt.instructions:
        raise InvalidArgument(
            "prompt",
            prompt.text,
            "has no verifiable instructions",
            "add instruction_id_list, or choose another ranker",
        )
    for name in prompt.instructions:
        if name not in registry():
            raise UnknownName("instruction", name, registry())
        if name in _NEED_PUNKT and not _has_punkt():
            raise InvalidArgument(
                "instruction",
                name,
                "needs NLTK's tokenizer, which is not installed",
                "python -m nltk.downloader punkt punkt_tab, or leave such prompts out",
            )


def can_verify(prompt: Prompt) -> bool:
    """Whether all instructions of a prompt can be verified here."""
    try:
        verifiable(prompt)
    except InvalidArgument:
        return False
    return True


@dataclass(frozen=True)
class RewardModel:
    """A reward model: any function from a prompt and its responses to numbers.

    Args:
        function: from the prompt's text and the responses to one number for each.

    Raises:
        InvalidArgument: numbers that are not finite, or not one for each response.

    Example:
        >>> RewardModel(lambda prompt, responses: [len(r) for r in responses]).scores(
        ...     Prompt("?"), ["a", "abc"]
        ... ).tolist()
        [1.0, 3.0]
    """

    function: Callable[[str, Sequence[str]], Any]

    def scores(self, prompt: Prompt, responses: Sequence[str]) -> np.ndarray:
        return check_scores(self.function(prompt.text, list(responses)), responses)


@dataclass(frozen=True)
class Pairwise:
    """A ranker that compares two responses, such as PairRM: scores are mean log-odds of winning.

    Args:
        preference: from the prompt's text and two responses to P(first beats second), in (0, 1).

    Example:
        >>> ranker = Pairwise(lambda prompt, first, second: 0.9 if first > second else 0.1)
        >>> ranker.scores(Prompt("?"), ["a", "b"]).round(2).tolist()
        [-1.1, 1.1]
    """

    preference: Callable[[str, str, str], float]

    def scores(self, prompt: Prompt, responses: Sequence[str]) -> np.ndarray:
        number = len(responses)
        odds = np.zeros((number, number))
        for i in range(number):
            for j in range(i + 1, number):
                chance = self.preference(prompt.text, responses[i], responses[j])
                chance = float(np.clip(chance, 1e-6, 1.0 - 1e-6))
                odds[i, j] = np.log(chance / (1.0 - chance))
        return check_scores((odds - odds.T).mean(axis=1), responses)


RANKERS: dict[str, Callable[[], Ranker]] = {
    "verifiable": Verifiable,
    "length": Length,
    "brevity": lambda: Length(-1),
}


def named(name: str) -> Ranker:
    """The ranker of a name: verifiable, length or brevity.

    Example:
        >>> named("brevity")
        Length(sign=-1, unit=100.0)
    """
    if name not in RANKERS:
        raise UnknownName("ranker", name, RANKERS)
    return RANKERS[name]()


def check_scores(scores: Any, responses: Sequence[Any]) -> np.ndarray:
    """One finite number for each response.

    Raises:
        InvalidArgument: anything else.
    """
    found = np.asarray(scores, float)
    if found.shape != (len(responses),) or not np.isfinite(found).all():
        raise InvalidArgument(
            "scores",
            scores,
            f"are not {len(responses)} finite numbers",
            "let the ranker return one for each response",
        )
    return found


# Sentences and words are told apart by a model that comes apart from the package.
_NEED_PUNKT = frozenset(
    {"length_constraints:number_sentences", "change_case:capital_word_frequency"}
)


def registry() -> dict[str, Any]:
    """IFEval's instructions: from an id to the class that describes and verifies it."""
    # Without a seed, the guess of the language would differ from call to call.
    importlib.import_module("langdetect").DetectorFactory.seed = 0
    return importlib.import_module("if_verifiable.ifeval.instructions_registry").INSTRUCTION_DICT


def _common() -> Any:
    return importlib.import_module("if_verifiable.common")


def _has_punkt() -> bool:
    nltk = importlib.import_module("nltk")
    try:
        nltk.data.find("tokenizers/punkt/english.pickle")
        nltk.data.find("tokenizers/punkt_tab/english")
    except LookupError:
        return False
    return True
