"""F2: online DPO without a bonus may not find the better of two arms."""

import functools
import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import _exploration as exploration
from apo_sim.claims import judge
from apo_sim.claims.adaptive import until_decided
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies.caption import caption

# Below log(2) / 8.
BETAS = (0.08, 0.05, 0.035, 0.028)
SMALLER = 0.02  # at full effort: 259 pairs
REWARD = (1.0, 0.5)
SHORT = 1 / 8
# What (1 - p)^(2 T) is at least, where p = pi_ref(best) <= e^(-1 / log 2) and T <= 1 / (2 p).
PROBABILITY = 0.31


@claim(
    id="F2",
    title="Online DPO without a bonus stays short",
    source="ours",
    statement=r"Two arms of rewards 1 and $\frac12$, $\pi_{\mathrm{ref}}(y^*) = e^{-1/(8\beta)}$, "
    r"$\beta < \log(2)/8$, and $T = \lfloor e^{1/(8\beta)}/2 \rfloor$ pairs, of each of which "
    r"$\pi_t$ gives one response and $\pi_{\mathrm{ref}}$ the other one: with probability at least "
    rf"{PROBABILITY:g} every one of $\pi_1, \dots, \pi_{{T+1}}$, the minimisers of DPO's loss on "
    r"all pairs so far, is $\frac18$ or more short of $\max_\pi J$, $J(\pi) = E_\pi r^* - \beta\,"
    r"\mathrm{KL}(\pi\|\pi_{\mathrm{ref}})$.",
    control="XPO, with its bonus at the weight of its theorem",
    scope=Scope(
        "exists",
        "the bandit of the statement; the probability is for every proximal weight β < log(2)/8",
        arms=2,
        iterations="half the inverse reference mass of the best arm, e^(1/(8β)) / 2",
        beta=BETAS,
        samples=1,
    ),
)
def stays_short(study: Study) -> Finding:
    r"""Count the runs of online DPO that never come within 1/8 of the best policy.

    Problem: while nobody has seen the better arm all data are ties of the other one with itself,
    whose minimiser nearest to the reference is the reference; its gap is above 7/8 - 1/2 - p/2,
    p = pi_ref(best). In T rounds both responses are 2 T draws at p <= 0.24, and (1 - p)^(2 T) is
    at least (1 - p)^(1/p) > 0.31. A comparison that the better arm loses (38 %) keeps it away, too.

    Method: XPO at alpha = 0, a pair an iteration, many seeds; Clopper-Pearson's intervals,
    corrected for the betas. Beside it XPO with the bonus of its Theorem 3.1, constants at 1.

    Guarantee: the proposition's, "with constant probability"; the bandit and the constant are
    ours. It says that none of the policies is good, and so the bonus refutes it: an arm that
    nobody has seen is tried at once. That is all the bonus does here. Where the better arm loses
    its first comparison, the objective has a stationary point on either side, the method finds the
    one next to DPO's minimiser, and the last policy of most runs is short as before.

    Reference: Xie et al. (2024), Proposition 2.1.

    Example:
        >>> [horizon(beta) for beta in BETAS]
        [2, 6, 17, 43]
    """
    return until_decided(study, functools.partial(_look, study), quick=400, full=2000)


def _look(study: Study, seeds: int, at_most: float) -> Finding:
    betas = study.pick(BETAS, (*BETAS, SMALLER))
    gaps = dict(zip((False, True), _measured(study.sweep_seed(), betas, seeds), strict=True))
    confidence = judge.together(len(betas), at_most)

    def share(beta: float, index: int, bonus: bool) -> int:
        reached = gaps[bonus][index, :, : horizon(beta) + 1].min(axis=1) < SHORT
        return int(reached.sum())

    parts = [
        judge.failure_rate(
            share(beta, index, study.wrong),
            seeds,
            1 - PROBABILITY,
            confidence=confidence,
            witness={"beta": beta, "pairs": horizon(beta)},
            unit="share of runs that come within 1/8",
        )
        for index, beta in enumerate(betas)
    ]
    stuck = {b: 1 - share(b, i, False) / seeds for i, b in enumerate(BETAS)}
    explored = {b: 1 - share(b, i, True) / seeds for i, b in enumerate(BETAS)}
    last = {
        bonus: {
            b: float(np.mean(each[i, :, horizon(b)] >= SHORT)) for i, b in enumerate(BETAS)
        }
        for bonus, each in gaps.items()
    }  # fmt: skip
    decisive = max(parts, key=lambda part: float(part.measured or 0.0))
    return Finding(
        judge.worst(parts).verdict,
        measured=decisive.measured,
        bound=decisive.bound,
        interval=decisive.interval,
        unit=decisive.unit,
        instances=seeds * len(betas),
        cells=len(betas),
        counterexample=decisive.counterexample,
        facts={
            **{f"share of runs never within 1/8, β = {b:g}": s for b, s in stuck.items()},
            **{f"with the bonus, β = {b:g}": s for b, s in explored.items()},
            **{f"last policy short, β = {b:g}": s for b, s in last[False].items()},
            **{f"last policy short with the bonus, β = {b:g}": s for b, s in last[True].items()},
        },
        note=f"No policy comes within 1/8 in {min(stuck.values()):.0%} to "
        f"{max(stuck.values()):.0%} of runs, with the bonus in {min(explored.values()):.0%} to "
        f"{max(explored.values()):.0%}. The last policy is short in {min(last[False].values()):.0%}"
        f" to {max(last[False].values()):.0%} without and in {min(last[True].values()):.0%} to "
        f"{max(last[True].values()):.0%} with it.",
        draw=lambda figure: _draw(figure, betas, gaps),
    )


def horizon(beta: float) -> int:
    """T = floor(e^(1/(8 beta)) / 2), the most pairs that the proposition is for."""
    return math.floor(math.exp(1 / (8 * beta)) / 2)


@functools.lru_cache(maxsize=4)
def _measured(seed: int, betas: tuple[float, ...], seeds: int) -> np.ndarray:
    """Gaps without and with the bonus, shape (2, betas, seeds, T+1) with T the longest."""
    iterations = max(map(horizon, betas))
    log_p = [-1 / (8 * beta) for beta in betas]
    log_ref = np.stack([log_p, np.log(-np.expm1(log_p))], axis=1)
    bonus = [float(exploration.weight(2, beta, horizon(beta))) for beta in betas]
    alpha = np.array([[0.0] * len(betas), bonus])
    shape = (*alpha.shape, seeds)
    lanes = exploration.Lanes(
        reward=_spread(np.array(REWARD), (*shape, 1)),
        log_ref=_spread(log_ref[None, :, None], (*shape, 1)),
        beta=np.broadcast_to(np.array(betas)[:, None], shape).ravel(),
        alpha=np.broadcast_to(alpha[..., None], shape).ravel(),
        key=_spread(exploration.keys(seed, seeds), shape),
    )
    return exploration.gaps(lanes, iterations).reshape(*shape, -1)


def _spread(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rows (..., k) repeated to the lanes of that shape: (n, k), or (n, 1, k)."""
    lanes = math.prod(shape[:3])
    if len(shape) == 3:
        return np.broadcast_to(rows, (*shape, rows.shape[-1])).reshape(lanes, -1)
    return np.broadcast_to(rows, (*shape[:3], rows.shape[-1])).reshape(lanes, 1, -1)


def _draw(figure: Figure, betas: tuple[float, ...], gaps: dict[bool, np.ndarray]) -> None:
    caption(
        figure,
        "Share of runs none of whose policies up to then is within 1/8 of the best; the dashed "
        "line is at the\npairs up to which the proposition speaks, the dotted one at what it "
        "promises there",
    )
    panels: Any = figure.subplots(1, 2, sharey=True)
    names = ("without a bonus", "XPO's bonus")
    for axes, name, each in zip(panels, names, gaps.values(), strict=True):
        for index, beta in enumerate(betas):
            short = np.minimum.accumulate(each[index], axis=1) >= SHORT
            pairs = np.arange(short.shape[1]) / horizon(beta)
            axes.plot(pairs[1:], short.mean(axis=0)[1:], color=f"C{index}", label=rf"{beta:g}")
        axes.axvline(1, color="0.5", linestyle="--", linewidth=1)
        axes.axhline(PROBABILITY, color="0.5", linestyle=":", linewidth=1.2)
        axes.set(xscale="log", xlabel=r"pairs over $e^{1/(8\beta)}/2$", title=name, ylim=(0, 1))
    panels[0].set(ylabel="share of runs still short")
    panels[1].legend(title=r"$\beta$")
