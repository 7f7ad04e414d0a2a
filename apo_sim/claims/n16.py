"""N16: how many pairs an iteration it takes for momentum to pay."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import _noise_law, judge
from apo_sim.claims._noise_law import Cell
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.statistics import standard_error, t_quantile
from apo_sim.studies.caption import caption
from apo_sim.sweep.lanes import over_lanes
from apo_sim.theory.leading_order import TRUSTED

HORIZONS = (2, 3, 5, 10, 20)
ITERATIONS = HORIZONS[-1]
ARMS = (3, 10)
ALPHAS = (0.3, 0.9)
BETAS = (0.5, 1.0, 2.0, 4.0, 16.0)
SAMPLES = tuple(4.0**k for k in range(9))
FACTOR = 2.0  # up to which the law's N* is called right
# Where momentum pays in simulation, whatever alpha and K.
LEAST_BETA, LONGEST, ENOUGH = 2.0, 5.0, 256.0
INDEX = TRUSTED / 4  # of the near ties, at N*
TIED_BETAS = (2.0, 8.0, 30.0)  # after the last update
PLAIN, MOMENTUM, MATCHED = range(3)


@claim(
    id="N16",
    title="From how many pairs on momentum pays",
    source="ours",
    statement=r"At equal $\beta$ momentum leaves a smaller mean gap than plain updates from $N^*$ "
    r"pairs an iteration on and a larger one below, $$N^* = \frac{c_\alpha - c_0}"
    r"{\mathrm{gap}_{\infty, 0} - \mathrm{gap}_{\infty, \alpha}},$$ c and the exact gaps being "
    rf"those of the law N13, up to a factor {FACTOR:g}.",
    control="the runs with momentum and those without exchanged",
    repair=r"(i) So it does where the law is valid at $N^*$ itself, which takes rewards that "
    r"nearly tie and a reference that prefers the best arm. (ii) For rewards in $[-1, 1]$, a "
    rf"uniform reference and $R = 2$ momentum pays at every $N \ge {ENOUGH:g}$ where "
    rf"$\beta \ge {LEAST_BETA:g}$ and $T \le {LONGEST:g}\,\beta$",
    scope=Scope(
        "on average",
        "random bandits, rewards uniform on [-1, 1], uniform reference, R = 2; for the repaired "
        "statement near ties as well",
        arms="3 quick, 3 and 10 full",
        iterations=HORIZONS,
        beta="three from 0.5 to 16 quick, five full",
        samples="powers of 4, up to 4,096 quick and 65,536 full",
        alpha="0.9 quick, 0.3 and 0.9 full",
    ),
)
def begins_to_pay(study: Study) -> Finding:
    r"""Judge where momentum's mean gap falls below that of plain updates, as N grows.

    Problem: the law knows N* in closed form, yet it is an expansion in 1/N: of use only if N* is
    large. For two arms, p the mass of the better one, and a lead Delta so small that beta Delta and
    gamma Delta are small, it is
    $\frac{2p-1}{p(1-p)}\,\frac{\sum w^2 - T}{\sum w - T}\,\frac1{\beta\Delta}$: large for near ties
    only, and negative (momentum pays at once) if the better arm is the rarer one.

    Method: the same bandits and keys with and without momentum, at N from 1 to 4^8, and the
    matched beta, which takes momentum's exact path in plain updates. The stated claim is refuted
    by a cell whose mean difference surely has the wrong sign at N above 2 N* or below N*/2. Near
    ties are run at 2 N* and at N*/2, with the control variate of N13.

    Guarantee: empirical but for the law. (i) is what N13 implies. That momentum pays *wherever*
    the law is valid was true of 16,300 random settings with rewards of order one (N* at most 0.17
    of the least valid N) and is not in general: near ties refute it. Beyond (ii), once T is above
    some 10 beta and plain updates have converged, no N up to 65,536 may be enough. That is the
    price of a long step, and the matched beta pays more of it.

    Reference: ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N16").source
        'ours'
    """
    data = _runs(study.effort, study.seed)
    if study.repaired or study.wrong:
        sign = -1.0 if study.wrong else 1.0
        return judge.worst([_ties_cross(study, sign), _pays(data, sign)])
    finding = _law_is_right(data)
    facts = _facts(data)
    note = (
        f"With T at most {LONGEST:g} β and β at least {LEAST_BETA:g} momentum surely pays from "
        f"{facts['pairs from which momentum surely pays where (ii) is made, most']:g} pairs on at "
        f"the latest; the law says up to {facts['N* of the law there, most']:.0f}. At β = "
        f"{data.betas[0]:g}, T = {ITERATIONS} it does not with {data.samples[-1]:,.0f}."
    )
    return dataclasses.replace(
        finding, facts=facts, note=note, draw=lambda figure: _draw(figure, data)
    )


class _Data(NamedTuple):
    """Mean differences of gaps to plain updates, paired over bandits, and the law's N*.

    `change` and `error` have axes (arms, alpha, beta, samples, horizons, of momentum or matched);
    `star` and `gain`, what momentum gains with exact preferences, (arms, alpha, beta, horizons).
    """

    arms: tuple[int, ...]
    alphas: tuple[float, ...]
    betas: tuple[float, ...]
    samples: np.ndarray
    seeds: int
    change: np.ndarray
    error: np.ndarray
    star: np.ndarray
    gain: np.ndarray

    @property
    def length(self) -> np.ndarray:
        """T / beta, what plain updates accumulate, (1, 1, beta, horizons)."""
        return (np.array(HORIZONS) / np.array(self.betas)[:, None])[None, None]

    def named(self, place: tuple[Any, ...]) -> dict[str, Any]:
        k, a, b, n, t = place
        return {
            "arms": self.arms[k],
            "alpha": self.alphas[a],
            "beta": self.betas[b],
            "iterations": HORIZONS[t],
            "samples": self.samples[n],
            "N* of the law": self.star[k, a, b, t],
            "momentum minus plain": self.change[(*place, 0)],
            "error": self.error[(*place, 0)],
        }


@functools.lru_cache(maxsize=1)
def _runs(effort: str, seed: int) -> _Data:
    study = Study("N16", effort, seed)
    arms, alphas = study.pick(((3,), (0.9,)), (ARMS, ALPHAS))
    betas, most = study.pick(((0.5, 2.0, 16.0), 7), (BETAS, len(SAMPLES)))
    samples, seeds = np.array(SAMPLES[:most]), study.pick(100, 150)
    parts = [_of_arms(study, k, alphas, betas, samples, seeds) for k in arms]
    joined = (np.stack(part) for part in zip(*parts, strict=True))
    return _Data(arms, alphas, betas, samples, seeds, *joined)


def _of_arms(
    study: Study, arms: int, alphas: Any, betas: Any, samples: np.ndarray, seeds: int
) -> tuple[np.ndarray, ...]:
    rng = study.rng(arms)
    bandits = [_noise_law.draw(rng, arms, "uniform") for _ in range(seeds)]
    contenders = [
        rule
        for alpha in alphas
        for beta in betas
        for rule in (
            (np.zeros(ITERATIONS), np.full(ITERATIONS, beta)),
            (np.full(ITERATIONS, alpha), np.full(ITERATIONS, beta)),
            (np.zeros(ITERATIONS), np.asarray(theory.matched_beta(alpha, beta, ITERATIONS))),
        )
    ]
    shape = len(contenders), samples.size, seeds
    rule, n, bandit = np.indices(shape).reshape(3, -1)
    lanes = {
        "reward": np.array([reward for reward, _ in bandits])[bandit],
        "log_ref": np.array([log_ref for _, log_ref in bandits])[bandit],
        "alphas": np.array([alphas for alphas, _ in contenders])[rule],
        "betas": np.array([betas for _, betas in contenders])[rule],
        "samples": samples[n],
        "key": _keys(study.subkey(arms), seeds)[bandit],
        "pulls": np.zeros((rule.size, len(HORIZONS), ITERATIONS, arms)),
    }
    # The program of the near ties, without the control variate.
    gap = over_lanes(_noise_law.run_lane, lanes, at_once=100, horizons=HORIZONS)[0]
    gap = gap.reshape(len(alphas), len(betas), 3, *shape[1:], len(HORIZONS))
    change = gap[:, :, [MOMENTUM, MATCHED]] - gap[:, :, [PLAIN]]
    change = np.moveaxis(change, 2, -1)
    laws = _noise_law.laws(
        [Cell(*b, a, beta) for a in (0.0, *alphas) for beta in betas for b in bandits], ITERATIONS
    )
    exact, c = (
        getattr(laws, name).reshape(-1, len(betas), seeds, ITERATIONS).mean(axis=2)
        for name in ("exact_gap", "coefficient")
    )
    at = np.array(HORIZONS) - 1
    gain, cost = (exact[:1] - exact[1:])[..., at], (c[1:] - c[:1])[..., at]
    error = standard_error(change, axis=3)
    return change.mean(axis=3), error, cost / gain, gain


def _keys(key: Array, seeds: int) -> Array:
    """A key for every update of every seed, (seeds, T)."""
    return jax.vmap(lambda k: jax.random.split(k, ITERATIONS))(jax.random.split(key, seeds))


def _width(data: _Data, cells: int) -> float:
    return t_quantile(judge.together(cells), data.seeds - 1)


def _law_is_right(data: _Data) -> Finding:
    """No mean difference surely has another sign than the law's N* says, up to a factor of 2."""
    samples, star = data.samples[:, None], data.star[..., None, :]
    above, below = samples >= FACTOR * star, samples <= star / FACTOR
    cells = int(np.sum(above | below))
    width = _width(data, cells)
    change, error = data.change[..., 0], data.error[..., 0]
    wrong = np.where(above, change, np.where(below, -change, 0.0))
    sure = np.where(above | below, np.maximum(wrong - width * error, 0.0), 0.0)
    finding = judge.upper_bound(
        sure / data.gain[..., None, :],
        0.0,
        floor=0.0,
        unit="difference of the wrong sign beyond its error bar, over the gain without noise",
        instances=data.seeds * cells,
        witness=lambda worst: data.named(np.unravel_index(worst, sure.shape)),
    )
    return dataclasses.replace(finding, cells=cells)


def _pays(data: _Data, sign: float) -> Finding:
    """Momentum surely has the smaller gap in every cell that (ii) names."""
    betas = np.array(data.betas)[:, None]
    where = (data.length <= LONGEST) & (betas >= LEAST_BETA)
    where = where[:, :, :, None] & (data.samples[:, None] >= ENOUGH)
    where = np.broadcast_to(where, data.change.shape[:-1])
    cells = int(where.sum())
    change, error = sign * data.change[..., 0][where], data.error[..., 0][where]
    gain = np.broadcast_to(data.gain[..., None, :], where.shape)[where]
    high = (change + _width(data, cells) * error) / gain
    finding = judge.upper_bound(
        high,
        0.0,
        floor=0.0,
        unit="upper end of momentum minus plain, over the gain without noise",
        instances=data.seeds * cells,
        witness=lambda worst: {"cell": int(worst), "upper end": high[worst]},
    )
    return dataclasses.replace(finding, cells=cells)


def _ties(study: Study) -> list[tuple[Cell, Cell]]:
    """Near ties whose N* the law may be asked for, with momentum and without, at N = N*."""
    rng = study.rng(1)
    log_ref = np.log(np.array([0.7, 0.2, 0.1]))  # the best arm is the likeliest
    ties = [
        (Cell(reward, log_ref, alpha, beta), Cell(reward, log_ref, 0.0, beta))
        for alpha in study.pick((0.9,), ALPHAS)
        for beta in TIED_BETAS
        for reward in [np.array([1.0, *np.sort(rng.uniform(-1.0, 0.8, 2))[::-1]])]
    ]
    # N* goes like the inverse of the rewards, while the spread hardly depends on them.
    ties = _scaled(ties, np.full(len(ties), 1e-3))
    star, spread = _crossing(ties)
    ties = _scaled(ties, star * INDEX / spread)
    star, _ = _crossing(ties)
    return [
        (dataclasses.replace(fast, samples=n), dataclasses.replace(plain, samples=n))
        for (fast, plain), n in zip(ties, star, strict=True)
    ]


def _scaled(ties: Sequence[tuple[Cell, Cell]], by: np.ndarray) -> list[tuple[Cell, Cell]]:
    return [
        (
            dataclasses.replace(fast, reward=scale * fast.reward),
            dataclasses.replace(plain, reward=scale * plain.reward),
        )
        for (fast, plain), scale in zip(ties, by, strict=True)
    ]


def _crossing(ties: Sequence[tuple[Cell, Cell]]) -> tuple[np.ndarray, np.ndarray]:
    """The law's N* after the last update, and the larger of the two spreads."""
    laws = _noise_law.laws([cell for pair in ties for cell in pair], ITERATIONS)
    c, exact, spread = (
        getattr(laws, name)[:, -1].reshape(-1, 2) for name in ("coefficient", "exact_gap", "spread")
    )
    return (c[:, 0] - c[:, 1]) / (exact[:, 1] - exact[:, 0]), spread.max(axis=1)


@functools.lru_cache(maxsize=1)
def _tied(effort: str, seed: int) -> np.ndarray:
    """Momentum's gap less that of plain updates, (ties and N*/2, 2 N*, runs)."""
    study = Study("N16", effort, seed)
    ties, runs = _ties(study), study.pick(200, 1000)
    cells = [
        _noise_law.with_samples(cell, cell.samples * factor)
        for pair in ties
        for cell in pair
        for factor in (1.0 / FACTOR, FACTOR)
    ]
    measured = _noise_law.measured(study.subkey(1), cells, runs, HORIZONS, arms=3)
    gap = (measured.gap - measured.linear)[..., -1].reshape(len(ties), 2, 2, runs)
    return np.reshape(gap[:, 0] - gap[:, 1], (-1, runs))


def _ties_cross(study: Study, sign: float) -> Finding:
    """Momentum surely costs at N*/2 and surely pays at 2 N*."""
    change = _tied(study.effort, study.seed)
    runs = change.shape[1]
    change = sign * change * np.where(np.arange(len(change)) % 2, 1.0, -1.0)[:, None]
    width = t_quantile(judge.together(len(change)), runs - 1)
    mean, error = change.mean(axis=1), standard_error(change, axis=1)
    high = (mean + width * error) / np.abs(mean)
    finding = judge.upper_bound(
        high,
        0.0,
        floor=0.0,
        unit="upper end of the difference that should be negative, over its size",
        instances=change.size,
        witness=lambda worst: {"tie": int(worst) // 2, "upper end": high[worst]},
    )
    return dataclasses.replace(finding, cells=len(change))


def _from(data: _Data, of: int) -> np.ndarray:
    """The least N at and above which the smaller gap is sure, each cell by itself."""
    sure = data.change[..., of] + _width(data, 1) * data.error[..., of] < 0
    lasting = np.flip(np.logical_and.accumulate(np.flip(sure, axis=3), axis=3), axis=3)
    least = np.where(lasting, data.samples[:, None], np.inf)
    return np.min(least, axis=3)


def _facts(data: _Data) -> dict[str, Any]:
    pays, matched = _from(data, 0), _from(data, 1)
    made = (data.length <= LONGEST) & (np.array(data.betas)[:, None] >= LEAST_BETA)
    made = np.broadcast_to(made, pays.shape)
    named = {
        f"K = {data.arms[k]}, α = {data.alphas[a]:g}, β = {data.betas[b]:g}, T = {HORIZONS[t]}": (
            pays[k, a, b, t],
            data.star[k, a, b, t],
        )
        for k, a, b, t in np.ndindex(pays.shape)
    }
    return {
        "pairs from which momentum surely pays where (ii) is made, most": float(pays[made].max()),
        "N* of the law there, most": float(data.star[made].max()),
        "cells where the matched schedule needs more pairs": int(np.sum(matched > pays)),
        "cells where it needs fewer": int(np.sum(matched < pays)),
        "cells": pays.size,
        **{f"pairs from which momentum surely pays, {n}": v[0] for n, v in named.items()},
        **{f"N* of the law, {n}": v[1] for n, v in named.items()},
    }


def _draw(figure: Figure, data: _Data) -> None:
    caption(
        figure,
        "dots, squares (K = "
        f"{', '.join(map(str, data.arms))}): the least of N = 1, 4, 16, ... from which the smaller "
        f"mean gap of {data.seeds} bandits is sure;\ntriangles: not up to the largest N; crosses: "
        "N* of the law, where positive; left of the line (ii) is made",
    )
    panels = figure.subplots(1, len(data.alphas) + 1, sharey=True, squeeze=False)[0]
    ceiling = 4.0 * data.samples[-1]
    pays, matched = _from(data, 0), _from(data, 1)
    for axes, (place, of, title) in zip(
        panels,
        [(a, pays, f"α = {alpha:g} against plain") for a, alpha in enumerate(data.alphas)]
        + [(len(data.alphas) - 1, matched, "matched β against plain")],
        strict=True,
    ):
        for b, beta in enumerate(data.betas):
            for k in range(len(data.arms)):
                x, y = data.length[0, 0, b], of[k, place, b]
                style = {"color": f"C{b}", "ms": 4, "alpha": 0.6 + 0.4 * (k == 0)}
                never = np.isinf(y)
                label = rf"$\beta$ = {beta:g}" if k == 0 else None
                axes.plot(x[~never], y[~never] * 1.15**b, "os"[k], label=label, **style)
                axes.plot(x[never], np.full(never.sum(), ceiling) * 1.15**b, "^", **style)
                star = data.star[k, place, b]
                above = star >= 1.0
                axes.plot(x[above], star[above], "x", ms=4, color=f"C{b}", alpha=0.5)
        axes.axvline(LONGEST, color="0.7", lw=1)
        axes.set(xscale="log", yscale="log", xlabel=r"$T/\beta$", title=title)
    panels[0].set(ylabel="pairs an iteration from which it pays")
    panels[0].legend(fontsize=7)
