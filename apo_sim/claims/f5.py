"""F5: how slowly offline DPO learns where chi-PO does not, on a bandit that changes with n."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.loop import solve
from apo_sim.methods.chipo import ChiPO
from apo_sim.methods.on_table import OnTable
from apo_sim.methods.proximal import Proximal
from apo_sim.problems import Bandit
from apo_sim.studies.caption import caption

PAIRS = 10.0 ** np.arange(3, 13, 1.5)
REWARD_BOUND = 1.0
# Betas: of DPO in units of 1 / log n, of chi-PO from those of its theorem, 1 / sqrt(n), up.
OF_DPO, OF_CHIPO = np.geomspace(0.5, 30, 20), np.geomspace(1, 1e6, 20)
LEAD = 0.5  # where it does not shrink
TOLERANCE = 0.12


class Lanes(NamedTuple):
    """Runs of both methods on the same data of the bandit of n pairs.

    Attributes:
        pairs: shape (lanes,).
        lead: of the best arm, shape (lanes,).
        of_dpo: beta, shape (lanes,).
        of_chipo: beta, shape (lanes,).
        key: data of keys, shape (lanes, 2).
    """

    pairs: np.ndarray
    lead: np.ndarray
    of_dpo: np.ndarray
    of_chipo: np.ndarray
    key: np.ndarray


class Gaps(NamedTuple):
    """Mean gaps of both methods, shape (pairs, betas), or of one run."""

    dpo: np.ndarray
    chipo: np.ndarray

    def best(self) -> "Gaps":
        """At the best beta for each n."""
        return Gaps(*(each.min(axis=1) for each in self))


@claim(
    id="F5",
    title="DPO's gap at its best beta falls as 1/log n",
    source="ours",
    statement=r"Arms of rewards $\frac12 + \frac1{\log n}$, $\frac12$ and 0, the last one of "
    r"reference mass $1/n$, the others alike. From $n$ pairs of $\pi_{\mathrm{ref}}$ the mean gap "
    r"of DPO falls as $1/\log n$ at the best $\beta$ for each $n$, and that of $\chi$PO at "
    r"least as fast as $1/\sqrt n$ at $\beta = 1/\sqrt n$.",
    control="the methods exchanged",
    scope=Scope(
        "for all",
        "the bandits of the statement, one for each n",
        arms=3,
        iterations=1,
        beta="every one of a grid; the best in hindsight for DPO",
        samples=PAIRS,
    ),
)
def only_logarithmic(study: Study) -> Finding:
    r"""Measure how the mean gap of both methods falls with n, on the bandit of each n.

    Problem: about twice in n pairs somebody sees the rare arm, and often it wins: its fitted reward
    is then as high as the bound R allows. Under KL it takes over unless e^(2R/beta) < n, so that
    beta cannot be less than 2R/log n; there the two common arms, whose rewards are 1/log n apart,
    keep a constant share each. Under chi-square plus KL its mass is at most 2R/(beta n).

    Method: offline fits of both, many data sets for each n; the mean gap at the best of a grid of
    betas, taken on the same data, which favours DPO. Exponents from the least-squares line through
    the logarithms, of log n for DPO.

    Guarantee: the proposition is a lower bound for DPO at any beta and an upper one for chi-PO. The
    bandits are ours. Each is hard at its own n alone: with a fixed lead in place of 1/log n, DPO's
    gap falls as the power lead/(2R) of n. And chi-PO is faster than 1/sqrt(n) at a larger beta,
    nearly 1/n.

    Reference: Huang et al. (2024), Proposition A.1.

    Example:
        >>> [round(float(lead), 3) for lead in leads(np.array([1e3, 1e12]))]
        [0.145, 0.036]
    """
    seeds = study.pick(150, 500)
    measured, fixed = _measured(study.sweep_seed(), seeds)
    best = measured.best()
    dpo, chipo = best.dpo, measured.chipo[:, 0]
    if study.wrong:
        dpo, chipo = chipo, dpo
    of_dpo, interval = _exponent(np.log(PAIRS), dpo)
    slow = judge.close(
        of_dpo,
        interval,
        -1.0,
        TOLERANCE,
        witness={"gaps of DPO": dpo},
        unit="exponent of log n, DPO",
        instances=2 * measured.dpo.size * seeds,
    )
    of_chipo, interval = _exponent(PAIRS, chipo)
    fast = judge.upper_bound(
        interval[1],
        -0.5 + TOLERANCE,
        floor=0.0,
        witness={"gaps of chi-PO": chipo},
        unit="exponent of n, chi-PO",
        instances=slow.instances,
    )
    of_best = _exponent(PAIRS, best.chipo)[0]
    of_fixed = _exponent(PAIRS, fixed.best().dpo)[0]
    constant = best.dpo * np.log(PAIRS)
    return dataclasses.replace(
        judge.worst([slow, fast]),
        cells=1,
        facts={
            "exponent of DPO in log n": of_dpo,
            "exponent of chi-PO in n": of_chipo,
            "exponent of chi-PO in n at its best beta": of_best,
            "exponent of DPO in n at a fixed lead": of_fixed,
            "DPO's gap times log n, first and last": [constant[0], constant[-1]],
        },
        note=f"DPO's gap at its best $\\beta$ is {constant[0]:.2f} to {constant[-1]:.2f} over "
        rf"$\log n$. At its own best $\beta$ that of $\chi$PO falls as $n^{{{of_best:.2f}}}$, and "
        f"with a lead of {LEAD:g} at every n that of DPO as $n^{{{of_fixed:.2f}}}$.",
        draw=lambda figure: _draw(figure, measured, fixed),
    )


def leads(pairs: Any) -> Any:
    """By how much the best arm leads: 1 / log n."""
    return 1 / np.log(pairs)


def _exponent(x: np.ndarray, gaps: np.ndarray) -> tuple[float, judge.Interval]:
    """Slope of log gap on log x, with its interval for both methods at once."""
    along, up = np.log(x), np.log(gaps)
    return judge.slope(along, up)[0], judge.slope_interval(along, up, judge.together(2))


@functools.lru_cache(maxsize=2)
def _measured(seed: int, seeds: int) -> tuple[Gaps, Gaps]:
    """Mean gaps where the lead shrinks, and where it does not."""
    both = np.stack([leads(PAIRS), np.full_like(PAIRS, LEAD)])
    keys = np.asarray(jax.random.key_data(jax.random.split(jax.random.key(seed), seeds)))
    shape = (*both.shape, len(OF_DPO), seeds)

    def spread(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values[..., None], shape).ravel()

    found = _all_gaps(
        Lanes(
            spread(PAIRS[:, None]),
            spread(both[..., None]),
            spread(OF_DPO / np.log(PAIRS)[:, None]),
            spread(OF_CHIPO / np.sqrt(PAIRS)[:, None]),
            np.broadcast_to(keys, (*shape, 2)).reshape(-1, 2),
        ),
    )
    means = [np.asarray(each).reshape(shape).mean(axis=-1) for each in found]
    shrinking, fixed = (Gaps(*(mean[index] for mean in means)) for index in (0, 1))
    return shrinking, fixed


# Fits of three arms are cheap: what optimised code saves is less than it costs.
@functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
@jax.vmap
def _all_gaps(lane: Lanes) -> Gaps:
    rare = 1 / lane.pairs
    log_ref = jnp.log(jnp.stack([(1 - rare) / 2, (1 - rare) / 2, rare]))
    reward = jnp.stack([0.5 + lane.lead, jnp.full_like(rare, 0.5), jnp.zeros_like(rare)])
    bandit = Bandit(reward[None], log_ref[None])
    methods = (
        Proximal(beta=lane.of_dpo, fit=OnTable(reward_bound=REWARD_BOUND)),  # type: ignore[arg-type]
        ChiPO(lane.of_chipo, REWARD_BOUND),  # type: ignore[arg-type]
    )
    key = jax.random.wrap_key_data(jnp.asarray(lane.key))
    runs = [solve(bandit, m, iterations=1, samples=lane.pairs, key=key) for m in methods]
    return Gaps(*(found.suboptimality[0] for found in runs))  # type: ignore[arg-type]


def _draw(figure: Figure, measured: Gaps, fixed: Gaps) -> None:
    caption(
        figure,
        "Mean gap at the best β of a grid (chi-PO: also at its theorem's, 1/√n); right: DPO's "
        "gap at every β",
    )
    left, right = figure.subplots(1, 2)
    rows = (
        ("DPO, best β", measured.best().dpo, "C3", "o-"),
        ("DPO, best β, lead 1/2", fixed.best().dpo, "C1", "s--"),
        ("chi-PO, β = 1/√n", measured.chipo[:, 0], "C0", "o-"),
        ("chi-PO, best β", measured.best().chipo, "C0", "s--"),
    )
    for name, gaps, colour, style in rows:
        left.loglog(PAIRS, gaps, style, color=colour, label=name, markersize=4)
    for slope, name in (
        (0.5 / np.log(PAIRS), r"$1/\log n$"),
        (1 / np.sqrt(PAIRS), r"$1/\sqrt{n}$"),
    ):
        left.loglog(PAIRS, slope, color="0.6", linewidth=1, linestyle=":")
        left.text(PAIRS[-1], slope[-1] * 2, name, color="0.45", ha="right", fontsize=8)
    left.set(xlabel="pairs $n$", ylabel="mean gap")
    left.legend(fontsize=7.5, loc="lower left")
    for index in (0, len(PAIRS) // 2, len(PAIRS) - 1):
        n = PAIRS[index]
        right.loglog(OF_DPO, measured.dpo[index], ".-", label=rf"$n = 10^{{{np.log10(n):g}}}$")
    right.axvline(2 * REWARD_BOUND, color="0.5", linestyle="--", linewidth=1)
    right.set(xlabel=r"$\beta\,\log n$", ylabel="mean gap of DPO")
    right.legend(fontsize=8)
