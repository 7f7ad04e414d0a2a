"""N14: when noise lowers the gap, and where that turns."""

import dataclasses
import functools
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import _noise_law, judge
from apo_sim.claims._noise_law import Cell
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies.caption import caption

ITERATIONS = 20
ARMS = (2, 4, 10)
ALPHAS = (0.0, 0.3, 0.9)
SMALL = 1e-5  # so large are the rewards of the expansion, and the law cannot tell them from 0
STILL = 1e8  # a beta at which gamma is as good as 0
TOLERANCE = 0.01
GAMMAS = np.geomspace(1.0, 60.0, 20)


@claim(
    id="N14",
    title="Noise lowers the gap as long as the policy has moved little",
    source="ours",
    statement=r"In $E\,\mathrm{gap}_N = \mathrm{gap}_\infty + c/N$ (N13): (i) for every bandit "
    r"$c/\gamma_T \le -(1 + K/2)\,\mathrm{Var}_{\pi_{\mathrm{ref}}}(r)$ as $\gamma_T \to 0$: "
    r"maximum likelihood overstates differences, and so takes longer "
    r"steps. (ii) On two arms with a uniform reference one update has $c < 0$ exactly if "
    r"$\gamma < 1$, whatever the rewards. (iii) For small rewards and a uniform reference "
    r"$$c \to -\Bigl[\gamma_T - \frac1K\sum_t a_t^2\bigl(2\gamma_T + (K-2)\,\gamma^{\pi}_t\bigr)"
    r"\Bigr]\sum_y (r_y - \bar r)^2,$$ $a_t = w_{T-t}/\beta$ and $\gamma^\pi_t$ the weight behind "
    r"$\pi_t$; for T = 1 it turns at $\gamma = \sqrt{K/2}$.",
    control=r"the variance left out of (iii), so that noise always helps",
    scope=Scope(
        "for all",
        "(i) random bandits of five families; (ii), (iii) uniform reference",
        arms=ARMS,
        iterations=f"1 to {ITERATIONS}",
        beta="such that γ is between 0 and 60",
        samples="the law N13, to leading order",
        alpha=ALPHAS,
    ),
)
def noise_helps(study: Study) -> Finding:
    r"""Judge the sign of c while gamma is small, and where it turns.

    Problem: c of the law over random bandits at a beta that keeps the policy where it is; on two
    arms around gamma = 1; and for small rewards against the expansion, over alpha, T and gamma.

    Method: the bias of the learned rewards adds -g·b to c, of order gamma; their variance adds
    half the trace of the Hessian times the covariance, which the expansion has to third order in
    gamma: the gap is concave along what noise does once the policy has moved.

    Guarantee: (ii), (iii), and (i) for small rewards are proved in the derivation of the law; (i)
    is attained as all arms vanish but two of equal mass. For larger rewards it is a search, with
    no counterexample among random bandits, nor by descent.

    Reference: ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N14").source
        'ours'
    """
    first, expansion, turns = _found(study.effort, study.seed)
    measured, formula, bias = expansion
    expected = bias if study.wrong else formula
    errors = np.abs(measured - expected) / (np.abs(bias) + np.abs(bias - formula))
    small = judge.identity(errors, TOLERANCE, unit="error of (iii), relative to its two terms")
    early = judge.upper_bound(
        first,
        -1.0,
        rounding=1e-6,
        unit="c over gamma and (1 + K/2) times the variance of the rewards, gamma going to 0",
    )
    one = _at_gamma_one(study)
    exact = judge.identity(one, 1e-9, unit="c at gamma = 1 over c at gamma = 2")
    facts: dict[str, Any] = {"largest c over gamma and (1 + K/2) variances": float(first.max())}
    for alpha, row in zip(ALPHAS, turns, strict=True):
        facts[f"gamma at which c turns, T = 20, alpha = {alpha:g}"] = float(np.median(row))
    return dataclasses.replace(
        judge.worst([small, early, exact]),
        cells=1,
        facts=facts,
        note=f"Among {first.size:,} random bandits the largest c over γ and (1 + K/2) Var is "
        f"{first.max():.4f} as γ goes to 0. With rewards "
        f"uniform on [-1, 1], {ARMS[-1]} arms and T = {ITERATIONS} it turns near γ = "
        + ", ".join(
            f"{np.median(row):.1f} (α = {alpha:g})"
            for alpha, row in zip(ALPHAS, turns, strict=True)
        )
        + ".",
        draw=lambda figure: _draw(figure, study, turns),
    )


def _cell(bandit: tuple[np.ndarray, np.ndarray], alpha: float, gamma: float) -> Cell:
    """A run whose gamma_T is given."""
    return Cell(*bandit, alpha, float(theory.gamma(alpha, 1.0, ITERATIONS)[-1]) / gamma)


@functools.lru_cache(maxsize=1)
def _found(effort: str, seed: int) -> tuple[np.ndarray, tuple[np.ndarray, ...], np.ndarray]:
    """(i) over random bandits, (iii) with its two sides, and where c turns for larger rewards."""
    study = Study("N14", effort, seed)
    rng = study.rng()
    early, small, wide = [], [], []
    for arms in ARMS:
        for place in range(study.pick(quick=100, full=2000)):
            family = _noise_law.FAMILIES[place % len(_noise_law.FAMILIES)]
            early.append(Cell(*_noise_law.draw(rng, arms, family), 0.0, STILL))
        reward, log_ref = _noise_law.draw(rng, arms, "uniform")
        small += [
            _cell((SMALL * reward, log_ref), alpha, gamma)
            for alpha in ALPHAS
            for gamma in (0.3, 1.0, 3.0, 10.0)
        ]
    bandits = [
        _noise_law.draw(rng, ARMS[-1], "uniform") for _ in range(study.pick(quick=3, full=20))
    ]
    wide = [_cell(b, alpha, gamma) for alpha in ALPHAS for b in bandits for gamma in GAMMAS]
    law = _noise_law.laws([*early, *small, *wide], ITERATIONS)
    parts = np.split(law.coefficient, np.cumsum([len(early), len(small)]))
    spread = [float(np.exp(c.log_ref) @ c.reward**2 - (np.exp(c.log_ref) @ c.reward) ** 2)
              for c in early]  # fmt: skip
    sizes = np.array([1 + cell.reward.size / 2 for cell in early])
    first = STILL * parts[0][:, 0] / np.array(spread) / sizes
    sides = [_expansion(cell) for cell in small]
    formula, bias = (np.array([side[n] for side in sides]) for n in (0, 1))
    turns = parts[2][:, -1].reshape(len(ALPHAS), len(bandits), len(GAMMAS))
    return first, (parts[1], formula, bias), _first_turn(turns)


def _expansion(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """(iii) after every update, and its first term alone."""
    arms = cell.reward.size
    square = float(np.sum((cell.reward - cell.reward.mean()) ** 2))
    gammas = np.asarray(theory.gamma(cell.alpha, cell.beta, ITERATIONS))
    before = np.concatenate([[0.0, 0.0], gammas])
    ahead = before[1:-1] + cell.alpha * np.diff(before)[:-1]
    noisy = [
        np.sum(
            np.asarray(theory.reward_weights(cell.alpha, cell.beta, t)) ** 2
            * (2 * gammas[t - 1] + (arms - 2) * ahead[:t])
        )
        for t in range(1, ITERATIONS + 1)
    ]
    return -square * (gammas - np.array(noisy) / arms), -square * gammas


def _first_turn(coefficients: np.ndarray) -> np.ndarray:
    """gamma at which c is first above 0, by interpolation in its logarithm; the last if never."""
    above = coefficients > 0
    place = np.where(above.any(axis=-1), above.argmax(axis=-1), len(GAMMAS) - 1)
    place = np.maximum(place, 1)[..., None]
    low, high = (np.take_along_axis(coefficients, p, -1)[..., 0] for p in (place - 1, place))
    rise = np.where(above.any(axis=-1), high - low, 1.0)
    share = np.where(above.any(axis=-1), np.clip(-low / rise, 0.0, 1.0), 1.0)
    logs = np.log(GAMMAS)[place[..., 0] - 1] + share * np.log(GAMMAS[1] / GAMMAS[0])
    return np.asarray(np.exp(logs))


def _at_gamma_one(study: Study) -> np.ndarray:
    """(ii): c of one update on two arms at gamma = 1, over that at gamma = 2."""
    even = np.log(np.array([0.5, 0.5]))
    leads = np.linspace(0.1, 2.0, 10)
    cells = [
        Cell(np.array([lead, 0.0]), even, 0.0, 1 / gamma) for lead in leads for gamma in (1.0, 2.0)
    ]
    found = _noise_law.laws(cells, ITERATIONS).coefficient[:, 0].reshape(-1, 2)
    return np.asarray(found[:, 0] / found[:, 1])


def _draw(figure: Figure, study: Study, turns: np.ndarray) -> None:
    caption(
        figure,
        f"left: small rewards, uniform reference, T = 1; right: rewards uniform on [-1, 1], "
        f"K = {ARMS[-1]}, T = {ITERATIONS}, a dot is a bandit",
    )
    left, right = figure.subplots(1, 2)
    gammas = np.linspace(0.0, 3.0, 200)
    for colour, arms in enumerate(ARMS):
        c = -gammas * (1 - 2 * gammas**2 / arms)
        left.plot(gammas, c, color=f"C{colour}", label=f"K = {arms}")
        left.plot((arms / 2) ** 0.5, 0.0, "o", color=f"C{colour}", ms=4)
    left.axhline(0.0, color="0.4", lw=0.8)
    left.set(xlabel=r"$\gamma$", ylabel=r"c over $\sum_y (r_y - \bar r)^2$", ylim=(-2.0, 2.0))
    left.set_title("below 0 noise helps")
    left.legend()
    for place, (alpha, row) in enumerate(zip(ALPHAS, turns, strict=True)):
        effective = float(theory.effective_updates(alpha, ITERATIONS))
        right.plot(np.full(row.size, place), row, "o", ms=4, color=f"C{place}")
        right.plot(
            [place - 0.3, place + 0.3], [(ARMS[-1] * effective / 2) ** 0.5] * 2, color="0.3", lw=1
        )
    right.set_xticks(range(len(ALPHAS)), [f"α = {alpha:g}" for alpha in ALPHAS])
    right.set(ylabel=r"$\gamma_T$ at which c turns", yscale="log")
    right.set_title(r"line: $\sqrt{K\,T_{\mathrm{eff}}/2}$")
