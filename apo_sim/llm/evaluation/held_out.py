"""How good a policy is on held-out prompts: instructions followed, win rate, length, divergence."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

from apo_sim.estimate import Estimate
from apo_sim.llm.data.prompts import Prompt
from apo_sim.llm.data.rankers import can_verify, followed
from apo_sim.statistics import CONFIDENCE, clopper_pearson, student
from apo_sim.transformer_rows import HeldOutFigures

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


def summary(prompts: Sequence[Prompt], policy: Judged, reference: Judged) -> HeldOutFigures:
    """Every figure of a policy, with a 95 % interval over prompts.

    Args:
        prompts: held out.
        policy: what is judged.
        reference: the reference policy, on the same prompts.

    Returns:
        The figures. The length-controlled win rate is that of AlpacaEval 2, for one pair of
        policies. The reference policy against itself is known, without an interval's doubt.

    Source: the paper's section 5.1; IFEval; AlpacaEval 2 (Dubois et al. 2024).

    Example:
        >>> prompts = [Prompt(str(number)) for number in range(4)]
        >>> good = Judged(["ab"] * 4, [1] * 4, [1.0] * 4, [0.5] * 4, [0.0] * 4)
        >>> bad = Judged(["cd"] * 4, [1] * 4, [0.0] * 4, [0.0] * 4, [0.0] * 4)
        >>> print(summary(prompts, good, bad).win_rate)
        1 [0.3976, 1]
    """
    number = len(prompts)
    others = reference.scores if policy.beside is None else policy.beside
    wins = win(np.array(policy.scores), np.array(others))
    lengths = np.array([len(text) for text in policy.texts], float)
    longer = lengths - np.array([len(text) for text in reference.texts])
    verdicts = [
        followed(prompt, text)
        for prompt, text in zip(prompts, policy.texts, strict=True)
        if can_verify(prompt)
    ]
    verified = len(verdicts) == number
    figures = HeldOutFigures(
        strict=share([strict.all() for strict, _ in verdicts]) if verified else None,
        loose=share([loose.all() for _, loose in verdicts]) if verified else None,
        instructions=share([strict.mean() for strict, _ in verdicts]) if verified else None,
        score=mean(policy.scores, "score"),
        win_rate=share(wins),
        lc_win_rate=length_controlled(wins, longer),
        characters=mean(lengths, "characters", least=0.0),
        tokens=mean(policy.tokens, "tokens", least=0.0),
        kl=mean(policy.divergence, "nats", least=0.0),
        reverse_kl=mean(policy.reverse_divergence, "nats", least=0.0),
        wins=tuple(wins.tolist()),
    )
    if policy is not reference:
        return figures
    even = Estimate(0.5, 0.5, 0.5, "share", number)
    nothing = Estimate(0.0, 0.0, 0.0, "nats", number)
    return dataclasses.replace(
        figures, win_rate=even, lc_win_rate=even, kl=nothing, reverse_kl=nothing
    )


def share(values: Any) -> Estimate:
    """The mean of numbers in [0, 1] and its 95 % interval, which is never too narrow.

    Example:
        >>> print(share([1.0, 1.0, 0.5]))
        0.8333 [0.0943, 1]
    """
    total, number = float(np.sum(values)), len(values)
    return Estimate(total / number, *clopper_pearson(total, number), "share", number)


def mean(values: Any, unit: str = "", least: float = -math.inf) -> Estimate:
    """The mean and its 95 % interval, of what cannot be below `least`.

    The ends are infinite where nothing tells how far off the mean is: there is one value, or all
    are the same.

    Example:
        >>> print(mean([1.0, 2.0, 3.0], least=0.0), mean([1.0]))
        2 [0, 4.484] 1 [-inf, inf]
    """
    numbers = np.asarray(values, float)
    middle = float(np.mean(numbers))
    if numbers.size < 2 or np.ptp(numbers) == 0:
        return Estimate(middle, -math.inf, math.inf, unit, numbers.size)
    low, high = student(numbers)
    return Estimate(middle, max(low, least), high, unit, numbers.size)


def win(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """1 for a win, 0 for a loss, one half for a tie.

    Example:
        >>> win(np.array([1.0, 0.0, 0.5]), np.array([0.0, 1.0, 0.5])).tolist()
        [1.0, 0.0, 0.5]
    """
    return 0.5 * (1.0 + np.sign(scores - others))


def length_controlled(wins: np.ndarray, longer: np.ndarray) -> Estimate:
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
        >>> rate = length_controlled(wins, longer)
        >>> round(rate.value, 2), rate.low < 0.1, rate.high > 0.9
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
    value, *ends = (float(scipy.special.expit(odds)) for odds in (best.x[0], low, high))
    return Estimate(value, ends[0], ends[1], "share", len(wins))


def _end(excess: Callable[[float], float], start: float, direction: float) -> float:
    """Where a convex function that is negative at the start reaches zero, in one direction."""
    step = direction
    while excess(start + step) < 0.0:
        step *= 2.0
    root: Any = scipy.optimize.brentq(excess, start, start + step, xtol=1e-6)
    return float(root)
