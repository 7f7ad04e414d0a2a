"""From scores of responses to preference pairs in tokens."""

import json
import operator
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from apo_sim.checks import as_count, check_positive, check_single
from apo_sim.errors import InvalidArgument
from apo_sim.llm import stages

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Preference:
    """One preference pair, in tokens.

    Attributes:
        prompt: what was asked, the conversation around it included.
        winner: response preferred, the token that ends it included.
        loser: the other one.
        weight: how many such pairs it stands for: a count, or a probability.
        log_normalizer: beta log Z of the proximal step at this prompt, which SPPO regresses on.
        other: a response to another prompt, for the anchor of KTO; none where it is not needed.
        winner_from_reference: whether the winner was drawn from the reference policy and the loser
            from the policy, or the other way round; for XPO.
    """

    prompt: Tokens
    winner: Tokens
    loser: Tokens
    weight: float = 1.0
    log_normalizer: float = 0.5
    other: Tokens = ()
    winner_from_reference: bool = False


@runtime_checkable
class Pairing(Protocol):
    """From the scores of n responses to one prompt to pairs of their places.

    Optional: `scale`, which differences of scores are divided by where they become preferences; 1
    where it is absent.
    """

    def __call__(self, scores: np.ndarray, random: np.random.Generator) -> list[tuple[int, int]]:
        """(winner, loser) of every pair, as places among the responses."""
        ...


@dataclass(frozen=True)
class TopAgainstBottom:
    """The best response against the worst; none where all tie.

    Source: the paper's section 5.1; `apo_sim.BestAgainstWorst` on a bandit.

    Example:
        >>> TopAgainstBottom()(np.array([0.2, 0.9, 0.1]), np.random.default_rng(0))
        [(1, 2)]
    """

    def __call__(self, scores: np.ndarray, random: np.random.Generator) -> list[tuple[int, int]]:
        del random
        best, worst = int(np.argmax(scores)), int(np.argmin(scores))
        return [] if scores[best] == scores[worst] else [(best, worst)]


@dataclass(frozen=True)
class BradleyTerry:
    """Pairs of responses drawn at random, the winner with probability sigmoid(difference).

    A single response makes no pair.

    Source: the paper's Algorithm 1; `apo_sim.Pairwise` on a bandit.

    Args:
        pairs: to each prompt.
        scale: scores are divided by it; how much noise there is in a preference.

    Raises:
        InvalidArgument: pairs that are no count, a scale that is not positive.

    Example:
        >>> BradleyTerry(2)(np.array([50.0, 0.0]), np.random.default_rng(0))
        [(0, 1), (0, 1)]
    """

    pairs: int = 1
    scale: float = 1.0

    def __post_init__(self) -> None:
        as_count("pairs", self.pairs)
        check_single("scale", self.scale, "pass one number")
        check_positive("scale", self.scale)

    def __call__(self, scores: np.ndarray, random: np.random.Generator) -> list[tuple[int, int]]:
        if len(scores) < 2:
            return []
        drawn = [random.choice(len(scores), 2, replace=False) for _ in range(self.pairs)]
        wins = random.uniform(size=self.pairs)
        found = []
        for (first, second), uniform in zip(drawn, wins, strict=True):
            chance = _preferred(scores[first], scores[second], self.scale)
            order = (first, second) if uniform < chance else (second, first)
            found.append((int(order[0]), int(order[1])))
        return found


def log_normalizer(scores: np.ndarray, beta: float, scale: float = 1.0) -> float:
    """beta log Z, from how often each of n responses beats the others.

    Z is the mean of exp(P(y > policy) / beta) under the policy (the proximal step of SPPO), here
    over the responses drawn from it, with P of Bradley and Terry from their scores.

    Args:
        scores: of the responses.
        beta: proximal weight.
        scale: of the preferences that the pairs are drawn by (`BradleyTerry`).

    Source: ours; Wu et al. 2024 (SPPO). That P must be that of the preferences: uclaml/SPPO #15.

    Example:
        >>> log_normalizer(np.array([1.0, 1.0]), beta=1.0)
        0.5
    """
    wins = _preferred(scores[:, None], scores[None, :], scale).mean(axis=1)
    top = wins.max()
    with np.errstate(over="ignore"):  # of a tiny beta, only the best responses count
        return float(top + beta * np.log(np.exp((wins - top) / beta).mean()))


def scale_of(pairing: Pairing) -> float:
    """What a pairing divides differences of scores by.

    Raises:
        InvalidArgument: a scale that is not one positive number.

    Example:
        >>> scale_of(BradleyTerry(scale=8.0)), scale_of(TopAgainstBottom())
        (8.0, 1.0)
    """
    scale = getattr(pairing, "scale", 1.0)
    check_single("pairing.scale", scale, "pass one number")
    check_positive("pairing.scale", scale)
    return scale


def preferences(
    prompt: Tokens,
    responses: Sequence[Tokens],
    scores: np.ndarray,
    pairing: Pairing,
    random: np.random.Generator,
    beta: float,
) -> list[Preference]:
    """The pairs of one prompt; identical responses make none.

    Raises:
        InvalidArgument: a pairing that returns anything but pairs of places, or has no usable
            scale.

    Example:
        >>> random, scores = np.random.default_rng(0), np.array([0.0, 1.0])
        >>> pair = preferences((1,), [(2,), (3,)], scores, TopAgainstBottom(), random, 1.0)[0]
        >>> pair.winner, pair.loser
        ((3,), (2,))
    """
    beta_log_z = log_normalizer(scores, beta, scale_of(pairing))
    return [
        Preference(prompt, responses[winner], responses[loser], 1.0, beta_log_z)
        for winner, loser in _places(pairing(scores, random), len(responses))
        if responses[winner] != responses[loser]
    ]


def with_others(pairs: Sequence[Preference], random: np.random.Generator) -> list[Preference]:
    """The same pairs, each with a response to another prompt: a winner or a loser of these pairs.

    Pairs that have one keep it.

    Raises:
        InvalidArgument: pairs of a single prompt.

    Example:
        >>> pairs = [Preference((prompt,), (prompt, 7), (prompt, 8)) for prompt in (1, 2)]
        >>> [pair.other[0] for pair in with_others(pairs, np.random.default_rng(0))]
        [2, 1]
    """
    lacking = [pair for pair in pairs if not pair.other]
    if lacking and len({pair.prompt for pair in pairs}) < 2:
        raise InvalidArgument(
            "loss",
            "of labelled responses",
            "compares responses to different prompts, but there is only one prompt",
            "pass more prompts, or a loss on pairs",
        )

    def other(pair: Preference) -> Tokens:
        while True:
            found = pairs[int(random.integers(len(pairs)))]
            if found.prompt != pair.prompt:
                return found.winner if random.uniform() < 0.5 else found.loser

    return [pair if pair.other else replace(pair, other=other(pair)) for pair in pairs]


def write(folder: Path, pairs: Sequence[Preference]) -> None:
    """Keep pairs, by the first process."""
    stages.write_json(folder / "pairs.json", [astuple(pair) for pair in pairs])


def read(folder: Path) -> list[Preference]:
    """What `write` kept."""
    entries = json.loads((folder / "pairs.json").read_text())
    return [
        Preference(tuple(asked), tuple(winner), tuple(loser), weight, log_z, tuple(other), flag)
        for asked, winner, loser, weight, log_z, other, flag in entries
    ]


def _places(found: Any, number: int) -> list[tuple[int, int]]:
    """Of winners and losers among so many responses; a negative one would count from the end."""
    try:
        places = [(operator.index(winner), operator.index(loser)) for winner, loser in found]
    except (TypeError, ValueError):
        places = [(-1, -1)]
    if any(not 0 <= place < number for pair in places for place in pair):
        raise InvalidArgument(
            "pairing",
            found,
            f"does not return pairs of indices of the {number} responses",
            "let it return [(winner, loser), ...]",
        )
    return places


def _preferred(first: Any, second: Any, scale: float) -> Any:
    """P(first beats second) of Bradley and Terry; certain where the difference is beyond range."""
    with np.errstate(over="ignore"):
        return 0.5 * (1.0 + np.tanh(0.5 * ((first - second) / scale)))
