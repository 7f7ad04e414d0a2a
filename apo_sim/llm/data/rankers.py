"""Rankers: what says how good the responses to a prompt are."""

import functools
import importlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from apo_sim.checks import as_function, check_positive, check_single, concrete
from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.llm._thinking import said
from apo_sim.llm.data._instruction_settings import (
    SETTINGS,
    check_settings,
    check_signature,
    given_settings,
)
from apo_sim.llm.data._verifiers import verifiers
from apo_sim.llm.data.prompts import Prompt


@runtime_checkable
class ResponseRanker(Protocol):
    """Scores of responses to one prompt; a higher one is better.

    Scores are held against each other only where they come from one call: a ranker may score each
    response by itself, or compare them.

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

    Raises:
        InvalidArgument: another sign, or a unit that is not positive.

    Example:
        >>> Length(-1).scores(Prompt("?"), ["a", "abc"]).tolist()
        [-0.01, -0.03]
    """

    sign: int = 1
    unit: float = 100.0

    def __post_init__(self) -> None:
        if self.sign not in (1, -1):
            raise InvalidArgument("sign", self.sign, "is not a sign", "pass 1 or -1")
        check_single("unit", self.unit, "pass one number")
        check_positive("unit", self.unit)

    def scores(self, prompt: Prompt, responses: Sequence[str]) -> np.ndarray:
        del prompt
        return np.array([self.sign * len(response) / self.unit for response in responses])


@dataclass(frozen=True)
class Verifiable:
    """The share of a prompt's instructions that a response follows, as a program verifies it.

    Responses that follow equally many are told apart by the loose verdicts, which forgive a first
    or last line and asterisks. A response without an answer follows none: one that is empty, or
    that ends within its `<think>`.

    Args:
        loose_share: what a loose verdict adds, for one that is strict.

    Raises:
        InvalidArgument: a share that is negative or not finite.

    Source: IFEval (Zhou et al. 2023), IFBench (Pyatkin et al. 2025), by the package if-verifiable.

    Example:
        >>> prompt = Prompt("Answer without commas.", ("punctuation:no_comma",), ({},))
        >>> Verifiable().scores(prompt, ["Yes, I do", "Yes I do", ""]).tolist()
        [0.0, 1.1, 0.0]
    """

    loose_share: float = 0.1

    def __post_init__(self) -> None:
        check_single("loose_share", self.loose_share, "pass one number")
        if not 0.0 <= self.loose_share < math.inf:
            raise InvalidArgument(
                "loose_share",
                self.loose_share,
                "is not a finite number of at least 0",
                "pass a share such as 0.1",
            )

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
    try:
        verdicts, _ = _common().evaluate_instructions(
            response=said(response),
            instruction_id_list=list(prompt.instructions),
            kwargs_list=[given_settings(entry) for entry in prompt.kwargs],
            prompt=prompt.text,
            instruction_registry=verifiers(),
        )
    except LookupError as error:
        raise _without_data(prompt.instructions, error) from error
    if not verdicts:  # there is no answer, or it is still to come after the thinking
        nothing = np.zeros(len(prompt.instructions), bool)
        return nothing, nothing
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
    known = verifiers()
    for name, settings in zip(prompt.instructions, prompt.kwargs, strict=True):
        if name not in known:
            raise UnknownName("instruction", name, known)
        if name in SETTINGS:
            check_settings(name, settings)
        else:
            check_signature(name, known[name], settings)
        if name not in SETTINGS or name in _NEED_PUNKT:
            _check_data(name, json.dumps(given_settings(settings), sort_keys=True))


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

    def __post_init__(self) -> None:
        as_function("function", self.function)

    def scores(self, prompt: Prompt, responses: Sequence[str]) -> np.ndarray:
        return check_scores(self.function(prompt.text, list(responses)), responses)


@dataclass(frozen=True)
class PairwiseJudge:
    """A ranker that compares two responses, such as PairRM: scores are mean log-odds of winning.

    A response alone scores 0, whatever it is. Each pair is compared both ways round, and the
    log-odds are averaged: many such rankers favour the response that they read first.

    Args:
        preference: from the prompt's text and two responses to P(first beats second), in [0, 1];
            odds beyond a million to one count as those.

    Raises:
        InvalidArgument: a preference that is not a probability.

    Source: Jiang et al. 2023 (LLM-Blender); on a response alone, LLM-Blender #16.

    Example:
        >>> ranker = PairwiseJudge(lambda prompt, first, second: 0.9 if first > second else 0.1)
        >>> ranker.scores(Prompt("?"), ["a", "b"]).round(2).tolist()
        [-1.1, 1.1]
    """

    preference: Callable[[str, str, str], Any]

    def __post_init__(self) -> None:
        as_function("preference", self.preference)

    def scores(self, prompt: Prompt, responses: Sequence[str]) -> np.ndarray:
        number = len(responses)
        odds = np.zeros((number, number))
        for i in range(number):
            for j in range(i + 1, number):
                first, second = responses[i], responses[j]
                there = self._log_odds(prompt, first, second)
                back = self._log_odds(prompt, second, first)
                odds[i, j] = 0.5 * (there - back)
        return check_scores((odds - odds.T).mean(axis=1), responses)

    def _log_odds(self, prompt: Prompt, first: str, second: str) -> float:
        given = self.preference(prompt.text, first, second)
        try:
            chance = float(given)
        except (TypeError, ValueError):
            chance = math.nan
        if not 0.0 <= chance <= 1.0:
            raise InvalidArgument(
                "preference", given, "is not a probability", "let it return P(first beats second)"
            )
        chance = min(max(chance, 1e-6), 1.0 - 1e-6)
        return math.log(chance / (1.0 - chance))


RANKERS: dict[str, Callable[[], ResponseRanker]] = {
    "verifiable": Verifiable,
    "length": Length,
    "brevity": lambda: Length(-1),
}


def named(name: str) -> ResponseRanker:
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
    why = ""
    try:
        given = concrete(scores)
        if given is None or given.dtype.kind not in "fiub" or np.ma.is_masked(scores):
            given = np.array(math.nan)
        found = given.astype(float)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        # A tensor of PyTorch's says itself why it is none of NumPy's, and what to do.
        found, why = np.array(math.nan), f" ({error})"
    if found.shape != (len(responses),) or not np.isfinite(found).all():
        raise InvalidArgument(
            "scores",
            scores,
            f"are not {len(responses)} finite numbers{why}",
            "let the ranker return one for each response",
        )
    return found


_NLTK = "python -m nltk.downloader punkt punkt_tab stopwords averaged_perceptron_tagger_eng"
# Sentences and words are told apart by a model that comes apart from the package.
_NEED_PUNKT = frozenset(
    {"length_constraints:number_sentences", "change_case:capital_word_frequency"}
)


# So many sentences that whatever looks at one of them finds it.
_PROBE = "Say a word or two. " * 100


def _common() -> Any:
    return importlib.import_module("if_verifiable.common")


@functools.cache  # which keeps no errors: what is missing may be installed in between
def _check_data(name: str, settings: str) -> None:
    """Refuse what a verifier cannot work with, or without, before any response is drawn.

    That is settings of another kind, and NLTK's data.
    """
    verifier, given = verifiers()[name](name), json.loads(settings)
    try:
        verifier.build_description(**given)
        verifier.check_following(_PROBE)
    except Exception as error:  # of many classes, where a number is given for a text
        if type(error) is LookupError:
            raise _without_data((name,), error) from error
        raise InvalidArgument(
            "kwargs", given, f"cannot be used by {name} ({error})", "pass such as IFBench's own"
        ) from error


def _without_data(names: Sequence[str], error: LookupError) -> Exception:
    """What to say where NLTK does not find its data: it raises no class of its own."""
    if type(error) is not LookupError:
        return error
    return InvalidArgument(
        "instructions",
        tuple(names),
        "need NLTK data that are not installed",
        f"{_NLTK}, or leave such prompts out",
    )
