"""N15: what momentum costs in statistics, as a power of 1/(1 - alpha)."""

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import _noise_law, judge
from apo_sim.claims._noise_law import Cell
from apo_sim.claims.n13 import HORIZONS
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.statistics import percentile_ends, resampled_rows
from apo_sim.studies.caption import caption

ITERATIONS = HORIZONS[-1]
STILL = 1e8  # a beta at which the policy hardly moves
ALPHAS = (0.0, 0.5, 0.8, 0.9, 0.95)
LARGE = (0.3, 0.9, 0.99)
TOLERANCE = 1e-4  # of the identity, which holds up to terms of order gamma
OF_EXPONENT = 0.1
MOST = 3.0  # what momentum may multiply the error by at equal gamma
LEFT = 0.01  # as long as so much of the gap is left
ARMS = (2, 5, 10)


@claim(
    id="N15",
    title="Momentum costs statistics what its longer steps cost",
    source="ours",
    statement=r"While the policy hardly moves, the standard deviation of the gap is "
    r"$$\mathrm{sd} = \frac{\sqrt{\sum_k w_k^2}}{\beta}\sqrt{\frac{g^\top G_0\,g}{N}} = "
    r"\frac{\gamma_T}{\sqrt{T_{\mathrm{eff}}}}\sqrt{\frac{g^\top G_0\,g}{N}}.$$ At fixed "
    r"$\beta$ and T it grows with exponent $\frac12\,\mathrm{d}\log\sum_k w_k^2 / "
    r"\mathrm{d}\log\frac1{1-\alpha}$ in $1/(1-\alpha)$, which tends to 1 as $T \to \infty$ and to "
    r"0 as $\alpha \to 1$, and never above what plain updates at $\beta(1-\alpha)$ pay, "
    r"$1/(1-\alpha)$ in full. At equal $\gamma_T$ the factor is $\sqrt{T/T_{\mathrm{eff}}} \le "
    r"2/\sqrt3$: exponent 0. And once the policy moves, at equal $\gamma_T$ it is at most "
    rf"{MOST:g}, for $\alpha$ up to {LARGE[-1]:g} and as long as {100 * LEFT:g} % of the gap are "
    "left (for random bandits, by the law N13).",
    control=r"errors that add up in place of their squares: $(\sum w)^2$ for $\sum w^2$",
    scope=Scope(
        "for all",
        "random bandits of five families; the exponent in simulation for one of them",
        arms=ARMS,
        iterations=f"1 to {ITERATIONS}",
        beta=f"{STILL:.0e}; from 1 to 1,000 where the policy moves",
        samples="the law, to leading order; 1,000 in simulation",
        alpha=(*ALPHAS, LARGE[-1]),
    ),
)
def price(study: Study) -> Finding:
    r"""Judge the closed form of the noise, its exponent in simulation, and its factor elsewhere.

    Problem: the paper's bound on the statistical error has 1/(1 - alpha) in it, and reviewers
    asked whether that is momentum or the proof.

    Method: the law of N13 against the closed form at a beta that keeps the policy where it is;
    the exponent of the standard deviation over alpha in sampled runs, by bootstrap, against that
    of the closed form; and the law's standard deviation against that of plain updates on the same
    exact path (matched beta), over random bandits, alphas, beta and T.

    Guarantee: the first is an identity to first order in gamma. It is neither momentum nor the
    proof alone: 1/(1 - alpha) is sharp at equal beta, but is the price of a larger gamma, which
    plain updates with smaller beta pay in full. The last part is a search over random bandits: far
    in the tail, where every step multiplies what is left by a small number, the factor has no
    bound, since the policy that collects the data is ahead and hardly draws what is left.

    Reference: ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N15").source
        'ours'
    """
    still, moved = _still(study.effort, study.seed), _laws(study.effort, study.seed)[1]
    errors = _identity_errors(study)
    exact = judge.identity(
        errors,
        TOLERANCE,
        instances=errors.size,
        witness=lambda worst: {"alpha": ALPHAS[int(worst) % len(ALPHAS)]},
    )
    exponent, low, high = _measured_exponent(still)
    formula = _slope(np.log(_noise_of_weights(2.0)[:, -1]) / 2)
    simulated = judge.close(
        exponent,
        (low, high),
        formula,
        OF_EXPONENT,
        unit="exponent of the standard deviation in 1/(1 - alpha) at fixed beta and T",
        instances=still.size,
    )
    at_equal = judge.upper_bound(
        moved.ratio,
        MOST,
        unit="standard deviation over that of plain updates at equal gamma",
        witness=lambda worst: moved.witness(int(worst)),
    )
    rise = float(np.max(np.log(moved.ratio) / np.log(1 / (1 - moved.alpha))))
    facts = {
        "exponent at fixed beta, T = 20, simulated": exponent,
        "exponent at fixed beta, T = 20, closed form": formula,
        "largest factor at equal gamma": float(moved.ratio.max()),
        "median factor at equal gamma": float(np.median(moved.ratio)),
        "least factor at equal gamma": float(moved.ratio.min()),
        "largest exponent at equal gamma": rise,
    }
    decisive = judge.worst([simulated, exact, at_equal])
    return dataclasses.replace(
        decisive,
        cells=1,
        facts=facts,
        note=rf"At T = {ITERATIONS}, $\alpha$ up to {ALPHAS[-1]:g}, the exponent is "
        f"{exponent:.2f} [{low:.2f}, {high:.2f}] in simulation and {formula:.2f} by the closed "
        rf"form. At equal $\gamma_T$, once the policy moves, momentum multiplies the error by "
        f"{moved.ratio.min():.2f} to {moved.ratio.max():.2f}, {np.median(moved.ratio):.2f} in the "
        f"median; over 1/(1 - α) that is an exponent of {rise:.2f} at most.",
        draw=lambda figure: _draw(figure, still, moved),
    )


def _noise_of_weights(power: float) -> np.ndarray:
    """sum w^2 after every update, (alphas, T); with power 1 the square of the sum."""
    weights = np.array([np.asarray(theory.weights(a, ITERATIONS)) for a in ALPHAS])
    return np.asarray(np.cumsum(weights**power, axis=1) ** (2.0 / power))


@functools.lru_cache(maxsize=1)
def _laws(effort: str, seed: int) -> tuple[np.ndarray, "_Moved"]:
    """The variance where the policy stays, (bandits, alphas, T), and what it is elsewhere."""
    study = Study("N15", effort, seed)
    rng = study.rng(1)
    still, fast, plain = [], [], []
    for arms in ARMS:
        for place in range(study.pick(quick=40, full=400)):
            family = _noise_law.FAMILIES[place % len(_noise_law.FAMILIES)]
            bandit = _noise_law.draw(rng, arms, family)
            alpha, beta = float(rng.choice(LARGE)), float(np.exp(rng.uniform(0.0, np.log(1e3))))
            fast.append(Cell(*bandit, alpha, beta))
            matched = np.asarray(theory.matched_beta(alpha, beta, ITERATIONS))
            plain.append(Cell(*bandit, 0.0, matched))
            if place < len(_noise_law.FAMILIES):
                still += [Cell(*bandit, alpha, STILL) for alpha in ALPHAS]
    law = _noise_law.laws([*still, *fast, *plain], ITERATIONS)
    ends = np.cumsum([len(still), len(fast)])
    variance, of_fast, of_plain = np.split(law.variance, ends)
    start = np.array([c.reward.max() - np.exp(c.log_ref) @ c.reward for c in fast])
    left = np.split(law.exact_gap, ends)[1] / start[:, None]
    alphas, betas = (np.array([[getattr(c, n)] for c in fast]) for n in ("alpha", "beta"))
    parts = np.broadcast_arrays(alphas, left, betas, np.arange(1, ITERATIONS + 1))
    kept = left >= LEFT
    ratio = np.sqrt(of_fast[kept] / of_plain[kept])
    moved = _Moved(ratio, *(part[kept] for part in parts))
    return variance.reshape(-1, len(ALPHAS), ITERATIONS), moved


def _identity_errors(study: Study) -> np.ndarray:
    """Of the law's variance against the closed form, (bandits, alphas)."""
    variance = _laws(study.effort, study.seed)[0]
    one = variance[:, :1, :1]  # a single update without momentum: w = 1
    expected = _noise_of_weights(1.0 if study.wrong else 2.0)
    return np.asarray(np.abs(variance / one / expected - 1.0).max(axis=2))


@functools.lru_cache(maxsize=1)
def _still(effort: str, seed: int) -> np.ndarray:
    """Gaps after T updates that hardly move the policy, (alphas, seeds)."""
    study = Study("N15", effort, seed)
    bandit = _noise_law.draw(study.rng(0), 5, "uniform")
    cells = [Cell(*bandit, alpha, STILL, 1000.0) for alpha in ALPHAS]
    seeds = study.pick(quick=200, full=2000)
    return _noise_law.measured(study.subkey(0), cells, seeds, HORIZONS, arms=5).gap[..., -1]


def _measured_exponent(gaps: np.ndarray) -> tuple[float, float, float]:
    """Least-squares exponent of the standard deviation, with a bootstrap interval over seeds."""
    rows = resampled_rows(gaps.shape[1])
    draws = [_slope(np.log(gaps[:, row].std(axis=1, ddof=1))) for row in rows]
    low, high = percentile_ends(draws)
    return _slope(np.log(gaps.std(axis=1, ddof=1))), float(low), float(high)


def _slope(logs: np.ndarray) -> float:
    return judge.slope(-np.log1p(-np.array(ALPHAS)), logs)[0]


class _Moved(NamedTuple):
    """Standard deviation with momentum over that of plain updates on the same exact path."""

    ratio: np.ndarray
    alpha: np.ndarray
    left: np.ndarray
    beta: np.ndarray
    updates: np.ndarray

    def witness(self, place: int) -> dict[str, Any]:
        return {name: float(each[place]) for name, each in self._asdict().items()}


def _draw(figure: Figure, still: np.ndarray, moved: _Moved) -> None:
    caption(
        figure,
        f"left: β so large that the policy stays, T = {ITERATIONS}, dots {still.shape[1]} runs "
        f"each;\nright: a dot is a bandit, α, β and T; equal γ means the same exact path",
    )
    left, right = figure.subplots(1, 2)
    alphas = 1 - np.geomspace(1.0, 1e-3, 100)
    weights = np.array([np.asarray(theory.weights(float(a), ITERATIONS)) for a in alphas[1:]])
    inverse = 1 / (1 - alphas[1:])
    left.plot(inverse, np.sqrt((weights**2).sum(axis=1) / ITERATIONS), label="momentum at β")
    left.plot(inverse, inverse, "--", color="0.4", label=r"plain at $\beta(1-\alpha)$")
    factor = np.sqrt(ITERATIONS * (weights**2).sum(axis=1)) / weights.sum(axis=1)
    left.plot(inverse, factor, color="C2", label=r"momentum over plain, equal $\gamma_T$")
    scatter = still.std(axis=1, ddof=1)
    left.plot(1 / (1 - np.array(ALPHAS)), scatter / scatter[0], "o", color="C0", ms=4)
    left.set(xscale="log", yscale="log", xlabel=r"$1/(1-\alpha)$", ylim=(0.7, 200))
    left.set(ylabel=r"standard deviation, over that of $\alpha = 0$")
    left.legend()
    for colour, alpha in enumerate(LARGE):
        here = moved.alpha == alpha
        right.plot(
            1 - moved.left[here],
            moved.ratio[here],
            ".",
            ms=2,
            color=f"C{colour}",
            label=f"α = {alpha:g}, 1/(1-α) = {1 / (1 - alpha):.3g}",
        )
    right.axhline(2 / 3**0.5, color="0.3", ls=":", lw=1)
    right.axhline(1.0, color="0.6", lw=0.8)
    right.set(xlabel="share of the gap that is gone", yscale="log", ylim=(0.1, 10))
    right.set_ylabel(r"momentum over plain, equal $\gamma_T$")
    right.legend(markerscale=4)
