"""V7: would more than three iterations help?"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.estimate import Estimate
from apo_sim.studies import long_run
from apo_sim.studies.caption import caption
from apo_sim.studies.long_run import BETAS, FIRST
from apo_sim.studies.ring_protocol import BETA as RING_BETA
from apo_sim.studies.ring_protocol import Protocol, setup
from apo_sim.sweep import trainings

ITERATIONS, ALPHA = 20, 0.3
ARMS = 5
BUDGETS = {"each": "fresh labels in each", "in all": "the same labels in all"}
RING = "ring"
PLANTED = 0.06  # of the gap, in reward


@claim(
    id="V7",
    title="More than three iterations, or only longer steps",
    source="reviews",
    statement=r"$$E\,\mathrm{gap}(\hat\pi_{20}) < E\,\mathrm{gap}(\hat\pi_3)$$ of DPO with "
    r"$\alpha = 0.3$, $N = 2{,}000$ pairs in each iteration or 6,000 in all; the run of three has "
    r"either the same $\beta$ or, at a smaller one, the same $\gamma_T$. Asked for random bandits "
    r"at each $\beta \in \{0.1, 1, 5\}$ and for the network on the ring.",
    control="the policy after three iterations replaced by the best one, which none beats",
    power=f"a gap smaller by {PLANTED:g} in place of the mean change of every cell",
    scope=Scope(
        "where",
        "random bandits of uniform rewards, uniform reference; the network of the ring task",
        arms=f"{ARMS}; {Protocol().side ** 2} on the ring",
        iterations=(FIRST, ITERATIONS),
        beta=f"0.1, 1, 5; {RING_BETA:g} on the ring; 0.13 times that in three of equal γ",
        samples="2,000 or 6,000/T; on the ring 1,024, or in three iterations those of twenty",
        alpha=ALPHA,
    ),
)
def more_iterations(study: Study) -> Finding:
    r"""Map where the gap after twenty iterations is below that after three.

    Problem: random bandits, fresh data in every iteration; beside it the same labels in all, cut
    into twenty parts in place of three. The network is that of the ring task
    (`studies.ring_protocol`); there the run of three has the labels and the inner steps of twenty
    instead.

    Method: paired differences over seeds, Student's intervals for all cells together. At the same
    beta the run of twenty has the larger gamma, too. What the number of iterations does by itself
    is seen against three iterations at the smaller beta of equal gamma, which with exact
    preferences end at the same policy.

    Guarantee: statistical. At beta = 5 nearly all of the gain is that of longer steps, and on the
    ring more than all; at beta = 1 it is that of more iterations, as three long steps are worse
    than three short ones. With a small beta more iterations harm: one arm that won its only
    comparison is enough to leave a good one, and later labels compare few others. A smaller R,
    which caps such steps, takes the harm away.

    Reference: a question in the paper's reviews, left open there.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V7").source
        'reviews'
    """
    seeds = study.pick(quick=1000, full=3000)
    tables = _tables(seeds, study.sweep_seed())
    on_ring = study.pick(quick=30, full=60)
    cells = tables | _network(on_ring, study.seed)
    changes = {
        name: later - (0.0 if study.wrong else first) for name, (later, first) in cells.items()
    }
    if study.planted:
        changes = {name: each - each.mean() - PLANTED for name, each in changes.items()}
    found = judge.estimates(changes)
    same, equal = (
        ", ".join(f"{found[_name(f'β = {beta:g}', 'each', longer)].value:+.3f}" for beta in BETAS)
        for longer in (False, True)
    )
    return judge.where(
        found,
        unit="cells where more iterations help",
        instances=sum(each.size for each in changes.values()),
        facts={
            **{f"change at {name}": cell for name, cell in found.items()},
            "gap with fresh labels in each": {
                f"β = {beta:g}": _gaps(tables, f"β = {beta:g}") for beta in BETAS
            },
        },
        note=(
            f"With fresh labels in each {ITERATIONS} iterations in place of {FIRST} change the gap "
            rf"by {same} at $\beta = {', '.join(f'{beta:g}' for beta in BETAS)}$, and in place of "
            rf"{FIRST} of equal $\gamma$ by {equal}, over {seeds:,} paired seeds each (network: "
            f"{on_ring}). Other horizons and $\\alpha$ are in the study "
            "`long_run`."
        ),
        draw=lambda figure: _draw(figure, found, seeds),
    )


def _name(place: str, budget: str, longer: bool = False) -> str:
    """A cell, as readers see it; `longer`: three iterations have the gamma of twenty."""
    return f"{place}, {BUDGETS[budget]}{', equal γ' if longer else ''}"


def _gaps(tables: Mapping[str, tuple[Any, Any]], place: str) -> dict[str, float]:
    """The mean gaps after three iterations, three of equal gamma and twenty."""
    later, first = tables[_name(place, "each")]
    longer = tables[_name(place, "each", True)][1]
    return {
        "three": float(first.mean()),
        "three of equal γ": float(longer.mean()),
        "twenty": float(later.mean()),
    }


def of_equal_gamma(beta: float) -> float:
    """The beta at which three iterations have the gamma of twenty at `beta`."""
    gamma = theory.gamma(ALPHA, beta, ITERATIONS)
    return beta * float(gamma[FIRST - 1] / gamma[-1])


@functools.lru_cache(maxsize=1)
def _tables(seeds: int, seed: int) -> dict[str, tuple[Any, Any]]:
    """The gap after twenty iterations and after three, by the name of the cell."""
    gap = long_run.by_length(
        long_run.measure(
            seeds=seeds,
            seed=seed,
            progress=False,
            arms=ARMS,
            alphas=[ALPHA],
            betas=[*BETAS, *map(of_equal_gamma, BETAS)],
            lengths=[FIRST, ITERATIONS],
        )
    ).sel(alpha=ALPHA)
    cells = {}
    for place, beta in enumerate(BETAS):
        for budget in BUDGETS:
            later = gap.sel(budget=budget, length=ITERATIONS)[place].values
            for longer in (False, True):
                first = gap.sel(budget="each", length=FIRST)[place + longer * len(BETAS)].values
                cells[_name(f"β = {beta:g}", budget, longer)] = later, first
    return cells


@functools.lru_cache(maxsize=1)
def _network(seeds: int, seed: int) -> dict[str, tuple[Any, Any]]:
    """The same of the network; where labels are the same in all, so are the inner steps."""
    protocol = Protocol()
    assert protocol.samples is not None
    times = ITERATIONS / FIRST
    more = dataclasses.replace(
        protocol, samples=round(times * protocol.samples), steps=round(times * protocol.steps)
    )
    each = _trained(protocol, seeds, seed, [RING_BETA], ITERATIONS)[0]
    of_three = _trained(more, seeds, seed, [RING_BETA, of_equal_gamma(RING_BETA)], FIRST)
    same, longer = of_three[..., -1]
    late = each[:, -1]
    return {
        _name(RING, "each"): (late, each[:, FIRST - 1]),
        _name(RING, "in all"): (late, same),
        _name(RING, "in all", True): (late, longer),
    }


def _trained(
    protocol: Protocol, seeds: int, seed: int, betas: list[float], iterations: int
) -> np.ndarray:
    """The gap by beta, seed and iteration."""
    lanes = {
        "replicate": np.tile(np.arange(seeds), len(betas)),
        "alpha": np.full(seeds * len(betas), ALPHA),
        "beta": np.repeat(betas, seeds),
    }
    found = trainings(
        setup(protocol, seed), lanes, iterations=iterations, block=iterations, progress=False
    )
    return found["suboptimality"].astype(float).reshape(len(betas), seeds, iterations)


def _draw(figure: Figure, found: Mapping[str, Estimate], seeds: int) -> None:
    """The change of every cell, by the rival: three at the same beta, or of equal gamma."""
    caption(
        figure,
        f"K = {ARMS}, α = {ALPHA:g}; means over {seeds:,} paired seeds (fewer on the ring), "
        f"95 % intervals of all {len(found)} together",
    )
    axes = figure.subplots()
    rows = [name for name in found if not name.endswith("equal γ")]
    for longer, colour, marker, label in (
        (False, "C0", "o", f"{FIRST} at the same β"),
        (True, "C1", "s", f"{FIRST} of equal γ"),
    ):
        names = [name + ", equal γ" * longer for name in rows]
        shown = [(row, found[name]) for row, name in enumerate(names) if name in found]
        heights = np.array([row for row, _ in shown]) + 0.18 * (2 * longer - 1)
        cells = [cell for _, cell in shown]
        values = np.array([cell.value for cell in cells])
        ends = np.abs(np.array([[cell.low, cell.high] for cell in cells]).T - values)
        axes.errorbar(values, heights, xerr=ends, fmt=marker, ms=4, color=colour, label=label)
        for cell, height in zip(cells, heights, strict=True):
            left = cell.value < 0
            axes.annotate(
                f"{cell.value:+.3f}".replace("-", "−"),
                (cell.low if left else cell.high, height),
                xytext=(-4 if left else 4, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                fontsize=7.5,
                color=colour,
            )
    axes.axvline(0.0, color="0.4", lw=1)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlabel(f"change of the gap (reward) by {ITERATIONS} iterations in place of")
    axes.margins(x=0.12)
    figure.legend(loc="outside lower center", ncols=2)
