"""N18: what sampling does to the gap while the policy has hardly moved."""

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import judge
from apo_sim.claims._studies import Runs, Setting, sampled, uniform_bandits
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.statistics import log_log_slope, percentile_ends, resampled_rows
from apo_sim.studies.caption import caption

ARMS, ITERATIONS, SAMPLES = 5, 20, 1000
BETAS, ALPHAS = (1e4, 100.0, 5.0), (0.0, 0.3, 0.6, 0.9)
HORIZONS = (1, 2, 5, 10, 20)  # where the law of gamma_T is fitted, at the largest beta
TOLERANCE = 0.1  # on its exponent


@claim(
    id="N18",
    title="Sampling error grows like γ until the policy has moved",
    source="ours",
    statement=r"For any rewards with average $\bar r$: $$\Bigl|\mathrm{gap}(\hat\pi_T) - "
    r"\mathrm{gap}(\pi^*_T) + \gamma_T\,\mathrm{Cov}_{\pi_{\mathrm{ref}}}(r^*, \bar r - r^*)\Bigr| "
    r"\le \frac{\gamma_T^2}{4}\,|r^*|\,|\bar r - r^*|\,\max(|r^*|, |\bar r|),$$ $|f| = \max_y f - "
    r"\min_y f$. So while $\gamma_T \ll 1$ the sampling error of the gap is linear in $\gamma_T$, "
    r"and at $\beta = 10^4$ its mean size grows like $\gamma_T/\sqrt{T_{\mathrm{eff}}}$ over "
    rf"$\alpha$ and $T$: an exponent of 1 to within {TOLERANCE}.",
    control="the sign of the covariance",
    scope=Scope(
        "for all",
        "random bandits, uniform rewards and reference; the exponent on average over them",
        arms=ARMS,
        iterations=f"1 to {ITERATIONS}",
        beta=BETAS,
        samples=SAMPLES,
        alpha=ALPHAS,
    ),
)
def first_order(study: Study) -> Finding:
    r"""Judge the first-order formula for the sampling error, its remainder and its growth.

    Problem: sampled runs at three beta, every update judged; the remainder of the formula against
    the bound, and the exponent of the mean error in gamma_T/T_eff^(1/2) over alpha and T at the
    largest beta. The relative error of the formula is the root mean square of the remainder over
    that of the error, in one update over the seeds.

    Method: along r* + s (r_bar - r*) the derivative of the gap is -gamma_T times a covariance,
    which a third central moment of three bounded functions keeps within gamma_T/4 times their
    ranges of that under the reference.

    Guarantee: a bound for all rewards. Its size relative to the first term is about gamma_T |r*|,
    so that it says nothing once gamma_T is of order 1: there the policy converges, and the error
    falls again.

    Reference: ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N18").source
        'ours'
    """
    runs = _sampled(dataclasses.replace(study, variant="stated"))
    terms = _terms(runs)
    sign = -1.0 if study.wrong else 1.0
    remainder = np.abs(terms.error + sign * terms.first)
    exponent, low, high = _exponent(runs, terms)
    facts = _facts(runs, terms) | {"exponent in gamma_T over the root of T_eff": exponent}
    bounded = judge.upper_bound(
        remainder,
        terms.bound,
        unit="remainder of the sampling error (reward)",
        witness=lambda worst: _witness(runs, int(worst)),
        note="Relative to the error itself the formula is off by "
        rf"{100 * facts['off at gamma 0.01']:.1f} % at $\gamma_T = 0.01$, by "
        f"{100 * facts['off at gamma 0.2']:.0f} % at 0.2, and at 1 by "
        f"{100 * facts['off at gamma 1']:.0f} %, where "
        rf"it says nothing any more. At $\beta = "
        rf"{BETAS[0]:,g}$ the mean error grows like $(\gamma_T/\sqrt{{T_{{\mathrm{{eff}}}}}})^p$ "
        f"with p = {exponent:.3f} [{low:.3f}, {high:.3f}] ({runs.gap.shape[1]} bandits, every "
        r"$\alpha$).",
        draw=lambda figure: _draw(figure, runs, terms),
    )
    grows = judge.close(exponent, (low, high), 1.0, TOLERANCE, unit="exponent in gamma/sqrt(T_eff)")
    decisive = judge.worst([bounded, grows])
    return dataclasses.replace(decisive, facts=facts, note=bounded.note, draw=bounded.draw)


# The claim and its control look at the same runs.
@functools.lru_cache(maxsize=1)
def _sampled(study: Study) -> Runs:
    settings = [Setting(SAMPLES, beta, alpha) for beta in BETAS for alpha in ALPHAS]
    bandits = uniform_bandits(study.subkey(0), study.pick(300, 2_000), ARMS)
    return sampled(study.subkey(1), settings, bandits, ITERATIONS)


class _Terms(NamedTuple):
    """Of every update, (settings, seeds, T): gap less the exact run's, and the formula's parts."""

    error: np.ndarray
    first: np.ndarray
    bound: np.ndarray


def _terms(runs: Runs) -> _Terms:
    reward = runs.true_reward[None, :, None]
    reference = np.exp(runs.log_ref)[None, :, None]
    gamma = runs.gamma[..., None]
    average = (runs.log_policy[:, :, 1:] - runs.log_ref[None, :, None]) / gamma
    wrong = average - reward
    centred = reward - np.sum(reference * reward, axis=-1, keepdims=True)
    first = runs.gamma * np.sum(reference * centred * wrong, axis=-1)
    longest = np.maximum(np.ptp(reward, axis=-1), np.ptp(average, axis=-1))
    ranges = np.ptp(reward, axis=-1) * np.ptp(wrong, axis=-1) * longest
    return _Terms(runs.gap - runs.paper_optimisation, first, runs.gamma**2 / 4 * ranges)


def _exponent(runs: Runs, terms: _Terms) -> tuple[float, float, float]:
    """Of the mean error in gamma_T/sqrt(T_eff) over alpha and T, with a bootstrap interval."""
    shown = np.array(HORIZONS) - 1
    still = slice(0, len(ALPHAS))  # the settings of the largest beta
    errors = np.abs(terms.error[still][..., shown])
    errors = np.moveaxis(errors, 1, -1).reshape(-1, runs.gap.shape[1])
    size = _size(runs)[:, shown].ravel()

    def slope(columns: np.ndarray) -> np.ndarray:
        return log_log_slope(size, errors[:, columns].mean(axis=-1))

    low, high = percentile_ends(slope(resampled_rows(errors.shape[1])))
    return float(slope(np.arange(errors.shape[1]))), float(low), float(high)


def _size(runs: Runs) -> np.ndarray:
    """gamma_T/sqrt(T_eff) at the largest beta, (alpha, T)."""
    weights = np.array([theory.weights(alpha, ITERATIONS) for alpha in ALPHAS])
    effective = np.cumsum(weights, axis=1) ** 2 / np.cumsum(weights**2, axis=1)
    return runs.gamma[: len(ALPHAS), 0] / np.sqrt(effective)


def _off(terms: _Terms) -> np.ndarray:
    """Root mean square of the remainder over that of the error, (settings, T)."""
    remainder = np.sqrt(np.mean((terms.error + terms.first) ** 2, axis=1))
    return remainder / np.sqrt(np.mean(terms.error**2, axis=1))


def _facts(runs: Runs, terms: _Terms) -> dict[str, float]:
    """How far the formula is off where gamma_T is given: without momentum, T = gamma_T beta."""
    off = _off(terms)
    plain = {beta: row * len(ALPHAS) for row, beta in enumerate(BETAS)}
    places = {"0.01": (100.0, 1), "0.05": (100.0, 5), "0.2": (100.0, 20), "1": (5.0, 5)}
    facts = {}
    for gamma, (beta, t) in places.items():
        assert np.isclose(runs.gamma[plain[beta], 0, t - 1], float(gamma))
        facts[f"off at gamma {gamma}"] = float(off[plain[beta], t - 1])
    facts["largest share of the bound"] = float(
        np.max(np.abs(terms.error + terms.first) / terms.bound)
    )
    return facts


def _witness(runs: Runs, worst: int) -> dict[str, Any]:
    setting, seed, update = np.unravel_index(worst, runs.gap.shape)
    return {
        "beta": BETAS[setting // len(ALPHAS)],
        "alpha": ALPHAS[setting % len(ALPHAS)],
        "samples": SAMPLES,
        "iterations": int(update) + 1,
        "reward": runs.true_reward[seed],
        "log_policy": runs.log_policy[setting, seed, update + 1],
    }


def _draw(figure: Figure, runs: Runs, terms: _Terms) -> None:
    caption(
        figure,
        f"K = {ARMS}, N = {SAMPLES:,}, {runs.gap.shape[1]} bandits; a dot: one α, β and number "
        "of updates",
    )
    left, right = figure.subplots(1, 2)
    gamma, off = runs.gamma[:, 0], _off(terms)
    sizes = np.abs(terms.error).mean(axis=1)
    for row, (beta, colour) in enumerate(zip(BETAS, ("C0", "C4", "C3"), strict=True)):
        here = slice(row * len(ALPHAS), (row + 1) * len(ALPHAS))
        left.plot(gamma[here].ravel(), off[here].ravel(), "o", ms=3, color=colour)
        right.plot(
            gamma[here].ravel(),
            sizes[here].ravel(),
            "o",
            ms=3,
            color=colour,
            label=f"β = {beta:,g}",
        )
    ends = np.array([gamma.min(), 2.0])
    left.plot(ends, ends / 2, ":", color="0.3", label=r"$\gamma_T/2$")
    left.axhline(1.0, color="0.6", lw=1)
    left.set(xscale="log", yscale="log", ylim=(1e-5, 1e2), xlabel=r"$\gamma_T$")
    left.set(ylabel="error of the formula, relative", title="first order against measured")
    right.set(xscale="log", yscale="log", xlabel=r"$\gamma_T$")
    right.set(ylabel="reward", title="sampling error of the gap")
    left.legend(loc="lower right")
    right.legend(loc="lower right")
