"""How good a policy is on held-out prompts: instructions followed, win rate, length, divergence."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

from apo_sim.llm.data.prompts import Prompt
from apo_sim.llm.data.rankers import can_verify, followed
from apo_sim.statistics import CONFIDENCE, clopper_pearson, student

# Keeps the regression finite where one side wins every comparison.
_RIDGE = 1e-4


@dataclass(frozen=True)
class Judged:
    """Responses of one policy to the held-out prompts, one each, and what was measured on them.

    Attributes:
        texts: the responses.
        tokens: their lengths.
        scores: of the ranker, relative to the reference's response if the ranker compares.
        divergence: of the policy from the reference along each of them, in nats.
        reverse_divergence: of the reference from the policy along each of its own responses.
        beside: scores of the reference's responses, each from the ranker's same call, for rankers
            that compare; None: those of the reference's own `scores`.
    """

    texts: list[str]
    tokens: list[int]
    scores: list[float]
    divergence: list[float]
    reverse_divergence: list[float]
    beside: list[float] | None = None


def summary(prompts: Sequence[Prompt], policy: Judged, reference: Judged) -> dict[str, Any]:
    """One row of the table: every figure with a 95 % interval over prompts.

    Args:
        prompts: held out.
        policy: what is judged.
        reference: the reference policy, on the same prompts.

    Returns:
        From a name to [figure, low, high], or None where it is not defined; low and high are None
        where no interval can be had, as from one prompt:

        - `strict`, `loose`: share of the prompts all of whose instructions are followed;
        - `instructions`: share of the instructions that are followed, strictly;
        - `score`: mean of the ranker's scores;
        - `win_rate`: share of the prompts on which it scores above the reference; ties count half;
        - `lc_win_rate`: the same at equal length, by a logistic regression of the wins on the
            difference in length (as AlpacaEval 2 does, for one pair of policies), with the interval
            of its profile likelihood;
        - `characters`: mean length;
        - `kl`: KL divergence from the reference, in nats a response, by `divergence`;
        - `reverse_kl`: of the reference from the policy, over the reference's responses;

        and `wins`: the comparison on every prompt, 1, 0 or one half, to pair policies by. Shares
        have intervals of Clopper and Pearson, other means those of Student. The reference policy
        against itself is known, without an interval's doubt.

    Source: the paper's section 5.1; IFEval; AlpacaEval 2 (Dubois et al. 2024).

    Example:
        >>> prompts = [Prompt(str(number)) for number in range(4)]
        >>> good = Judged(["ab"] * 4, [1] * 4, [1.0] * 4, [0.5] * 4, [0.0] * 4)
        >>> bad = Judged(["cd"] * 4, [1] * 4, [0.0] * 4, [0.0] * 4, [0.0] * 4)
        >>> summary(prompts, good, bad)["win_rate"]
        [1.0, 0.397635, 1.0]
    """
    number = len(prompts)
    others = reference.scores if policy.beside is None else policy.beside
    wins = win(np.array(policy.scores), np.array(others))
    lengths = np.array([len(text) for text in policy.texts], float)
    longer = lengths - np.array([len(text) for text in reference.texts])
    itself = policy is reference
    verdicts = [
        followed(prompt, text)
        for prompt, text in zip(prompts, policy.texts, strict=True)
        if can_verify(prompt)
    ]
    verified = len(verdicts) == number
    return {
        "strict": share([strict.all() for strict, _ in verdicts]) if verified else None,
        "loose": share([loose.all() for _, loose in verdicts]) if verified else None,
        "instructions": share([strict.mean() for strict, _ in verdicts]) if verified else None,
        "score": mean(policy.scores),
        "win_rate": _known(0.5) if itself else share(wins),
        "lc_win_rate": _known(0.5) if itself else length_controlled(wins, longer),
        "characters": mean(lengths),
        "tokens": mean(policy.tokens),
        "kl": _known(0.0) if itself else mean(policy.divergence, least=0.0),
        "reverse_kl": _known(0.0) if itself else mean(policy.reverse_divergence, least=0.0),
        "wins": wins.tolist(),
    }


def share(values: Any) -> list[float]:
    """The mean of numbers in [0, 1] and its 95 % interval, which is never too narrow.

    Example:
        >>> share([1.0, 1.0, 0.5])
        [0.833333, 0.094299, 1.0]
    """
    total, number = float(np.sum(values)), len(values)
    return [round(figure, 6) for figure in (total / number, *clopper_pearson(total, number))]


def mean(values: Any, least: float = -math.inf) -> list[float | None]:
    """The mean and its 95 % interval, of what cannot be below `least`.

    Example:
        >>> mean([1.0, 2.0, 3.0], least=0.0), mean([1.0])
        ([2.0, 0.0, 4.484138], [1.0, None, None])
    """
    numbers = np.asarray(values, float)
    middle = round(float(np.mean(numbers)), 6)
    if numbers.size < 2 or np.ptp(numbers) == 0:  # nothing tells how far off it is
        return [middle, None, None]
    low, high = student(numbers)
    return [middle, round(max(low, least), 6), round(high, 6)]


def win(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """1 for a win, 0 for a loss, one half for a tie.

    Example:
        >>> win(np.array([1.0, 0.0, 0.5]), np.array([0.0, 1.0, 0.5])).tolist()
        [1.0, 0.0, 0.5]
    """
    return 0.5 * (1.0 + np.sign(scores - others))


def length_controlled(wins: np.ndarray, longer: np.ndarray) -> list[float]:
    """The win rate that a logistic regression expects where both responses are equally long.

    Returned with the 95 % interval of its profile likelihood, which holds every win rate that
    explains the wins hardly worse than the best one does; it is there even where one side wins all.

    Args:
        wins: 1, 0 or one half, shape (prompts,).
        longer: by how many characters the response is the longer one, shape (prompts,).

    Source: AlpacaEval 2 (Dubois et al. 2024): wins on tanh of the difference in units of its
    standard deviation; a slight ridge keeps it finite.

    Example:
        >>> wins, longer = np.array([1.0, 1.0, 0.0, 0.0]), np.array([9.0, 8.0, -9.0, -8.0])
        >>> rate, low, high = length_controlled(wins, longer)
        >>> round(rate, 2), low < 0.1, high > 0.9
        (0.5, True, True)
    """
    spread = longer.std()
    length = np.tanh(longer / spread) if spread > 0 else np.zeros_like(longer)

    def cost(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = weights[0] + weights[1] * length
        value = np.mean(np.logaddexp(0.0, odds) - wins * odds) + 0.5 * _RIDGE * weights @ weights
        miss = scipy.special.expit(odds) - wins
        return value, np.array([miss.mean(), (miss * length).mean()]) + _RIDGE * weights

    def profile(intercept: float) -> float:
        """The least cost with this intercept."""

        def slope_cost(slope: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = cost(np.array([intercept, slope[0]]))
            return value, gradient[1:]

        return scipy.optimize.minimize(slope_cost, best.x[1:], jac=True, method="BFGS").fun

    best = scipy.optimize.minimize(cost, np.zeros(2), jac=True, method="BFGS")
    allowed = 0.5 * scipy.stats.chi2.ppf(CONFIDENCE, 1) / len(wins)
    low, high = (
        _end(lambda intercept: profile(intercept) - best.fun - allowed, best.x[0], direction)
        for direction in (-1.0, 1.0)
    )
    return [round(float(scipy.special.expit(odds)), 6) for odds in (best.x[0], low, high)]


def _end(excess: Callable[[float], float], start: float, direction: float) -> float:
    """Where a convex function that is negative at the start reaches zero, in one direction."""
    step = direction
    while excess(start + step) < 0.0:
        step *= 2.0
    root: Any = scipy.optimize.brentq(excess, start, start + step, xtol=1e-6)
    return float(root)


def _known(value: float) -> list[float]:
    return [value, value, value]
