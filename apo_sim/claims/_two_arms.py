"""The instance that refutes the printed coverage coefficient: two arms and a small beta.

Both arms are equally likely under the reference. If all of the data said little and the last batch
points the wrong way, a small beta throws the policy to the wrong arm while the exact one goes to
the right arm: the distance is 1, but at *every single arm* one of the two policies is tiny, and so
is the printed kappa, which multiplies them at the same arm.

The class of policies is finite: those that N pairs an iteration can lead to and the exact updates
from them. A table's empirical minimiser is one of them, so log|Pi| and R are literal. (From the
second update on the loop fits within a step of its centre; a minimiser over all of Pi would go at
least as far, and lower the bound.)
"""

from dataclasses import dataclass

import jax
import numpy as np

from apo_sim import theory
from apo_sim.claims._studies import Runs, Setting, constants, log10_tv_bound, sampled

GAP = 0.5  # reward difference of the two arms
FIT = 0.25  # reward_bound of the fit: differences up to 2 * FIT, which GAP just is
UPDATES = 3  # one compilation for every horizon up to this


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


def two_arms(
    key: jax.Array, seeds: int, settings: list[Setting], horizon: int, delta: float
) -> list[Outcome]:
    """Run every setting on the two-armed bandit and evaluate the bounds after `horizon` updates."""
    reward = np.tile([GAP / 2, -GAP / 2], (seeds, 1))
    bandits = (reward, np.full((seeds, 2), -np.log(2.0)))
    runs = sampled(key, settings, bandits, UPDATES, reward_bound=FIT)
    return [_outcome(runs, row, s, horizon, delta) for row, s in enumerate(settings)]


def _outcome(runs: Runs, row: int, setting: Setting, horizon: int, delta: float) -> Outcome:
    gamma = float(theory.gamma(setting.alpha, setting.beta, horizon)[-1])
    # Two arms: |log pi/pi_t| is at most the difference of their log-odds, and each of those is at
    # most gamma times the widest fitted difference.
    reward_bound = 2 * gamma * setting.beta * 2 * FIT
    outcomes = (setting.samples + 1) * (setting.samples + 2) / 2  # (wins, losses) of one batch
    log_class = horizon * np.log(outcomes) + np.log(4.0)
    met = constants(runs, row, setting.beta, horizon)
    arguments = (setting, np.full(len(met.reward_bound), reward_bound), log_class, delta)
    return Outcome(
        gap=runs.gap[row, :, horizon - 1],
        distance=runs.paper_statistics[row, :, horizon - 1] / 2,
        tv=runs.tv[row, :, horizon - 1],
        log_printed=log10_tv_bound(met.log_printed, *arguments, "printed"),
        log_corrected=log10_tv_bound(met.log_corrected, *arguments, "corrected"),
        gamma=gamma,
        log_class=float(log_class),
        reward_bound=reward_bound,
    )
