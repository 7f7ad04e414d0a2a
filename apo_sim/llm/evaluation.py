"""How good a policy is on held-out prompts: instructions followed, win rate, length, divergence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special

from apo_sim.llm.prompts import Prompt
from apo_sim.llm.rankers import can_verify, followed

_RESAMPLES = 2_000
# Keeps the regression finite where one side wins every comparison.
_RIDGE = 1e-4


@dataclass(frozen=True)
class Judged:
    """Responses of one policy to the held-out prompts, one each, and what was measured on them.

    Attributes:
        texts: the responses.
        tokens: their lengths.
        scores: of the ranker.
        divergence: of the policy from the reference along each of them, in nats.
        reverse_divergence: of the reference from the policy along each of its own responses.
    """

    texts: list[str]
    tokens: list[int]
    scores: list[float]
    divergence: list[float]
    reverse_divergence: list[float]


def summary(
    prompts: Sequence[Prompt], policy: Judged, reference: Judged, seed: int = 0
) -> dict[str, Any]:
    """One row of the table: every figure with a 95 % interval over prompts.

    Args:
        prompts: held out.
        policy: what is judged.
        reference: the reference policy, on the same prompts.
        seed: of the bootstrap.

    Returns:
        From a name to [figure, low, high], or None where it is not defined:

        - `strict`, `loose`: share of the prompts all of whose instructions are followed;
        - `instructions`: share of the instructions that are followed, strictly;
        - `score`: mean of the ranker's scores;
        - `win_rate`: share of the prompts on which it scores above the reference; ties count half;
        - `lc_win_rate`: the same at equal length, by a logistic regression of the wins on the
          difference in length (as AlpacaEval 2 does, for one pair of policies);
        - `characters`: mean length;
        - `kl`: KL divergence from the reference, in nats a response, by `divergence`;
        - `reverse_kl`: of the reference from the policy, over the reference's responses;

        and `wins`: the comparison on every prompt, 1, 0 or one half, to pair policies by.

    Source: the paper's section 5.1; IFEval; AlpacaEval 2 (Dubois et al. 2024).

    Example:
        >>> prompts = [Prompt(str(number)) for number in range(4)]
        >>> good = Judged(["ab"] * 4, [1] * 4, [1.0] * 4, [0.5] * 4, [0.0] * 4)
        >>> bad = Judged(["cd"] * 4, [1] * 4, [0.0] * 4, [0.0] * 4, [0.0] * 4)
        >>> summary(prompts, good, bad)["win_rate"]
        [1.0, 1.0, 1.0]
    """
    number = len(prompts)
    wins = win(np.array(policy.scores), np.array(reference.scores))
    lengths = np.array([len(text) for text in policy.texts], float)
    longer = lengths - np.array([len(text) for text in reference.texts])
    draws = resamples(number, seed)

    def mean(values: Any) -> list[float]:
        return mean_and_interval(np.asarray(values, float), draws)

    verdicts = [
        followed(prompt, text)
        for prompt, text in zip(prompts, policy.texts, strict=True)
        if can_verify(prompt)
    ]
    verified = len(verdicts) == number
    controlled = [length_controlled(wins[rows], longer[rows]) for rows in draws[:200]]
    return {
        "strict": mean([strict.all() for strict, _ in verdicts]) if verified else None,
        "loose": mean([loose.all() for _, loose in verdicts]) if verified else None,
        "instructions": mean([strict.mean() for strict, _ in verdicts]) if verified else None,
        "score": mean(policy.scores),
        "win_rate": mean(wins),
        "lc_win_rate": _rounded(length_controlled(wins, longer), np.array(controlled)),
        "characters": mean(lengths),
        "tokens": mean(policy.tokens),
        "kl": mean(policy.divergence),
        "reverse_kl": mean(policy.reverse_divergence),
        "wins": wins.tolist(),
    }


def resamples(number: int, seed: int) -> np.ndarray:
    """Which prompts each resample of the bootstrap holds, shape (resamples, prompts)."""
    return np.random.default_rng(seed).integers(0, number, (_RESAMPLES, number))


def mean_and_interval(values: np.ndarray, draws: np.ndarray) -> list[float]:
    """The mean over prompts and its 95 % interval, by the bootstrap."""
    return _rounded(values.mean(), values[draws].mean(axis=1))


def win(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """1 for a win, 0 for a loss, one half for a tie.

    Example:
        >>> win(np.array([1.0, 0.0, 0.5]), np.array([0.0, 1.0, 0.5])).tolist()
        [1.0, 0.0, 0.5]
    """
    return 0.5 * (1.0 + np.sign(scores - others))


def divergence(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Estimates of the KL divergence of one policy from another, along responses of the one.

    The sum over tokens of r - 1 - log r, with r the other's probability of the token over the own:
    without bias for responses drawn at temperature and top-p 1, never negative, and of far less
    variance than the sum of -log r. Elsewhere it is that of the tokens likely to be drawn.

    Args:
        own: log-probability of every token under the policy that drew it, shape (..., tokens).
        other: the same under the other policy.

    Source: Schulman 2020, "Approximating KL divergence", the estimator k3.

    Example:
        >>> divergence(np.log([[0.5, 0.9]]), np.log([[0.5, 0.45]])).round(3).tolist()
        [0.193]
    """
    log_ratio = np.asarray(other, float) - np.asarray(own, float)
    return (np.expm1(log_ratio) - log_ratio).sum(axis=-1)


def length_controlled(wins: np.ndarray, longer: np.ndarray) -> float:
    """The win rate that a logistic regression expects where both responses are equally long.

    Args:
        wins: 1, 0 or one half, shape (prompts,).
        longer: by how many characters the response is the longer one, shape (prompts,).

    Source: AlpacaEval 2 (Dubois et al. 2024): wins on tanh of the difference in units of its
    standard deviation; a slight ridge keeps it finite.

    Example:
        >>> wins, longer = np.array([1.0, 1.0, 0.0, 0.0]), np.array([9.0, 8.0, -9.0, -8.0])
        >>> round(length_controlled(wins, longer), 2)
        0.5
    """
    spread = longer.std()
    length = np.tanh(longer / spread) if spread > 0 else np.zeros_like(longer)

    def cost(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = weights[0] + weights[1] * length
        value = np.mean(np.logaddexp(0.0, odds) - wins * odds) + 0.5 * _RIDGE * weights @ weights
        miss = scipy.special.expit(odds) - wins
        return value, np.array([miss.mean(), (miss * length).mean()]) + _RIDGE * weights

    found = scipy.optimize.minimize(cost, np.zeros(2), jac=True, method="BFGS")
    return float(scipy.special.expit(found.x[0]))


def _rounded(value: float, draws: np.ndarray) -> list[float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return [round(float(figure), 6) for figure in (value, low, high)]
