"""The instance that refutes the printed coverage coefficient: two arms and a small beta.

Both arms are equally likely under the reference. If the data point the wrong way, a small beta
throws the policy to the wrong arm while the exact one goes to the right arm: the distance is 1,
but at *every single arm* one of the two policies is tiny, and so is the printed kappa, which
multiplies them at the same arm.

The class of policies is finite: those that N pairs an iteration can lead to and the exact updates
from them. After one update a table's empirical minimiser is one of them, so log|Pi| and R are
literal and every assumption holds. From the second update on that is no longer so: the loop fits
within a step of its centre, and no bounded class satisfies Assumptions 4.2 and 4.3 around every
centre (claim A4.3).
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from scipy.special import expit, log_expit
from scipy.stats import multinomial

from apo_sim import theory
from apo_sim.claims._studies import Runs, Setting, constants, log10_tv_bound, sampled
from apo_sim.claims.verdict import Study

COVERAGE = "(4.1) takes one maximum where its proof needs two"
GAP = 0.5  # reward difference of the two arms
FIT = 0.25  # reward_bound of the fit: differences up to 2 * FIT, which GAP just is
UPDATES = 20  # as T4.4-stat, which then shares the compilation; every horizon up to this


@dataclass(frozen=True)
class Outcome:
    """Runs of one setting, axis (seeds,), and what the bounds say; logarithms are decimal.

    Attributes:
        gap: of pi_hat_T.
        distance: total variation between pi_hat_T and the exact pi*_T.
        tv: total variation between pi_hat_T and the optimal policy.
        log_printed: the printed bound on `distance`.
        log_corrected: with the corrected kappa and constant.
        gamma: gamma_T.
        log_class: log|Pi| (natural).
        reward_bound: R of the whole class.
    """

    gap: np.ndarray
    distance: np.ndarray
    tv: np.ndarray
    log_printed: np.ndarray
    log_corrected: np.ndarray
    gamma: float
    log_class: float
    reward_bound: float

    @property
    def log_distance(self) -> np.ndarray:
        """Decimal logarithm of `distance`, the smallest float for 0."""
        return np.log10(np.maximum(self.distance, 1e-300))


@runtime_checkable
class Bounds(Protocol):
    """The decimal logarithms of a bound, with either coverage coefficient, (seeds,)."""

    @property
    def log_printed(self) -> np.ndarray:
        """As printed."""
        ...

    @property
    def log_corrected(self) -> np.ndarray:
        """Repaired."""
        ...


def log_bound(bounds: Bounds, study: Study, mistake: float) -> np.ndarray:
    """Decimal logarithm of the bound that a variant of a check judges, (seeds,).

    The printed one; repaired for the positive control; and for the negative one repaired, with
    `mistake` decimal orders taken off.
    """
    if study.repaired:
        return bounds.log_corrected
    if study.wrong:
        return bounds.log_corrected - mistake
    return bounds.log_printed


def two_arms(
    key: jax.Array, seeds: int, settings: list[Setting], horizons: list[int], delta: float
) -> list[list[Outcome]]:
    """Run every setting on the two-armed bandit; per setting, the bounds after each horizon."""
    reward = np.tile([GAP / 2, -GAP / 2], (seeds, 1))
    bandits = (reward, np.full((seeds, 2), -np.log(2.0)))
    runs = sampled(key, settings, bandits, UPDATES, reward_bound=FIT)
    return [
        [_outcome(runs, row, setting, horizon, delta) for horizon in horizons]
        for row, setting in enumerate(settings)
    ]


def every_count(samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Wins and losses of the better arm in N pairs from the reference, and how likely they are.

    A pair compares an arm with itself half of the time, and then says nothing.

    Example:
        >>> wins, losses, probability = every_count(1)
        >>> list(zip(wins.tolist(), losses.tolist(), probability.round(4).tolist()))
        [(0, 0, 0.5), (0, 1, 0.1888), (1, 0, 0.3112)]
    """
    pairs = np.arange(samples + 1)
    counts = np.array([(w, n, samples - w - n) for w in pairs for n in pairs if w + n <= samples])
    better = expit(GAP) / 2
    probability = multinomial.pmf(counts, samples, [better, 0.5 - better, 0.5])
    return counts[:, 0], counts[:, 1], np.asarray(probability)


def fitted_difference(wins: np.ndarray, losses: np.ndarray, reach: float) -> np.ndarray:
    """The difference of the rewards that fits the counts best within [-reach, reach].

    Example:
        >>> fitted_difference(np.array([0, 1, 2]), np.array([0, 1, 0]), 4.0).tolist()
        [0.0, 0.0, 4.0]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(wins) - np.log(losses)
    return np.clip(np.where(wins + losses > 0, ratio, 0.0), -reach, reach)


def every_data_set(setting: Setting, delta: float) -> tuple[np.ndarray, Outcome]:
    """What one update makes of every data set there is, without a run, and how likely each is.

    Example:
        >>> probability, outcome = every_data_set(Setting(1, 0.02), 0.05)
        >>> probability.round(4).tolist()  # nothing learned, a wrong label, a right one
        [0.5, 0.1888, 0.3112]
        >>> outcome.tv.round(4).tolist()
        [0.5, 1.0, 0.0]
    """
    wins, losses, probability = every_count(int(setting.samples))
    fitted = fitted_difference(wins, losses, 2 * FIT)
    log_run, log_exact = (
        log_expit(np.stack([d, -d]) / setting.beta) for d in (fitted, np.full_like(fitted, GAP))
    )
    log_ref = -np.log(2.0)
    printed = np.max(log_run + log_exact, axis=0) - 2 * log_ref
    corrected = np.max(log_run, axis=0) + np.max(log_exact, axis=0) - 2 * log_ref
    wrong_arm = np.exp(log_run[1])
    return probability, _bounded(
        setting,
        1,
        delta,
        kappas=(printed[:, None], corrected[:, None]),
        gap=GAP * wrong_arm,
        distance=np.abs(wrong_arm - np.exp(log_exact[1])),
        tv=wrong_arm,
    )


def _outcome(runs: Runs, row: int, setting: Setting, horizon: int, delta: float) -> Outcome:
    met = constants(runs, row, setting.beta, horizon)
    return _bounded(
        setting,
        horizon,
        delta,
        kappas=(met.log_printed, met.log_corrected),
        gap=runs.gap[row, :, horizon - 1],
        distance=runs.paper_statistics[row, :, horizon - 1] / 2,
        tv=runs.tv[row, :, horizon - 1],
    )


def _bounded(
    setting: Setting,
    horizon: int,
    delta: float,
    *,
    kappas: tuple[np.ndarray, np.ndarray],
    gap: np.ndarray,
    distance: np.ndarray,
    tv: np.ndarray,
) -> Outcome:
    """Both bounds, from log kappa (seeds, horizon) as printed and as corrected."""
    gamma = float(theory.gamma(setting.alpha, setting.beta, horizon)[-1])
    # Two arms: |log pi/pi_t| is at most the difference of their log-odds, and each of those is at
    # most gamma times the widest fitted difference.
    reward_bound = 2 * gamma * setting.beta * 2 * FIT
    outcomes = (setting.samples + 1) * (setting.samples + 2) / 2  # (wins, losses) of one batch
    log_class = float(horizon * np.log(outcomes) + np.log(4.0))
    arguments = (setting, np.full(len(gap), reward_bound), log_class, delta)
    printed, corrected = (
        log10_tv_bound(kappa, *arguments, flavour)
        for kappa, flavour in zip(kappas, ("printed", "corrected"), strict=True)
    )
    return Outcome(gap, distance, tv, printed, corrected, gamma, log_class, reward_bound)
