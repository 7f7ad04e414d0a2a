"""All short sequences under random policies: what a loss of the policy-gradient kind is asked."""

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import log_softmax

_TOKENS, _LENGTH, _PROMPTS = 3, 2, 8
# Of a logit: how far the policy has gone from the one that drew, so that some ratios are clipped.
_GONE = 0.2


@dataclass(frozen=True)
class Draws:
    """Responses, one a row, and where a loss compares two, another one to the same prompt.

    Arrays of any framework, of shape (rows,).

    Attributes:
        policy_logps: log pi of the response, summed over its tokens.
        old_logps: the same under the policy that drew it.
        ref_logps: the same under the reference.
        rewards: its reward, or advantage.
        win_rates: how often it beats a rival.
        other_policy_logps: log pi of the other response.
        other_old_logps: the same under the policy that drew it.
        other_rewards: its reward.
    """

    policy_logps: Any
    old_logps: Any
    ref_logps: Any
    rewards: Any
    win_rates: Any
    other_policy_logps: Any
    other_old_logps: Any
    other_rewards: Any

    variables: ClassVar[tuple[str, ...]] = ("policy_logps", "other_policy_logps")

    def rows(self, index: Any) -> "Draws":
        """Some of the rows."""
        fields = {f.name: getattr(self, f.name)[index] for f in dataclasses.fields(self)}
        return Draws(**fields)


FIELDS = tuple(field.name for field in dataclasses.fields(Draws))


@dataclass(frozen=True)
class Tables:
    """Every sequence of two tokens out of three, to a few prompts, each policy drawn at random.

    Attributes:
        policy: log pi of the next token along each sequence, (prompts, sequences, tokens, words).
        ref: the same of the reference.
        old: the same of the policy that draws.
        chosen: which word each sequence has, shape (sequences, tokens).
        rewards: shape (prompts, sequences).
        preference: P(row beats column), shape (prompts, sequences, sequences).
    """

    policy: np.ndarray
    ref: np.ndarray
    old: np.ndarray
    chosen: np.ndarray
    rewards: np.ndarray
    preference: np.ndarray

    def of_sequences(self, tokens: np.ndarray) -> np.ndarray:
        """log-probability of every sequence, shape (prompts, sequences)."""
        picked = np.take_along_axis(tokens, self.chosen[None, ..., None], axis=-1)
        return picked[..., 0].sum(axis=-1)


def tables(seed: int, on_policy: bool) -> Tables:
    """Random policies on all sequences.

    Args:
        seed: of the random numbers.
        on_policy: whether the policy itself draws.

    Example:
        >>> found = tables(0, on_policy=False)
        >>> np.exp(found.of_sequences(found.policy)).sum(axis=1).round(6).tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    random = np.random.default_rng(seed)
    chosen = np.array(list(itertools.product(range(_TOKENS), repeat=_LENGTH)))
    # Sequences that begin alike share the law of their next token.
    prefix = np.stack(
        [chosen[:, :place] @ _TOKENS ** np.arange(place) for place in range(_LENGTH)], axis=1
    )

    def policy(about: Any = 0.0, size: float = 1.0) -> np.ndarray:
        logits = size * random.normal(size=(_PROMPTS, _LENGTH, _TOKENS**_LENGTH, _TOKENS))
        return log_softmax(about + logits[:, np.arange(_LENGTH), prefix], axis=-1)

    now, ref = policy(), policy()
    old = policy(now, _GONE)
    scores = random.normal(size=(_PROMPTS, len(chosen), len(chosen)))
    preference = 1.0 / (1.0 + np.exp(scores.transpose(0, 2, 1) - scores))
    rewards = random.normal(size=(_PROMPTS, len(chosen)))
    return Tables(now, ref, now if on_policy else old, chosen, rewards, preference)


def singles(given: Tables, log_opponent: np.ndarray) -> Draws:
    """Every sequence, a row each.

    Args:
        given: the policies.
        log_opponent: log-probability of every sequence as a rival, shape (prompts, sequences).

    Example:
        >>> given = tables(0, on_policy=True)
        >>> singles(given, given.of_sequences(given.ref)).policy_logps.shape
        (72,)
    """
    won = np.einsum("xij,xj->xi", given.preference, np.exp(log_opponent))
    policy, old, ref = (
        given.of_sequences(one).ravel() for one in (given.policy, given.old, given.ref)
    )
    rewards = given.rewards.ravel()
    return Draws(policy, old, ref, rewards, won.ravel(), policy, old, rewards)


def pairs(given: Tables) -> Draws:
    """Every pair of sequences to one prompt, a row each; rivals are of no account.

    Example:
        >>> pairs(tables(0, on_policy=False)).other_rewards.shape
        (648,)
    """
    alone = singles(given, given.of_sequences(given.policy))
    count = given.rewards.shape[1]
    first = np.repeat(np.arange(given.rewards.size), count)
    second = first // count * count + np.tile(np.arange(count), given.rewards.size)
    one, other = alone.rows(first), alone.rows(second)
    return dataclasses.replace(
        one,
        other_policy_logps=other.policy_logps,
        other_old_logps=other.old_logps,
        other_rewards=other.rewards,
    )


def mixture(first: np.ndarray, second: np.ndarray, weight: float) -> np.ndarray:
    """log of first^(1 - weight) second^weight, normalised over the last axis.

    Example:
        >>> half = np.log([0.5, 0.5])
        >>> np.exp(mixture(half, np.log([0.2, 0.8]), 1.0)).round(3).tolist()
        [0.2, 0.8]
    """
    mixed = (1.0 - weight) * first + weight * second
    return log_softmax(mixed, axis=-1)
