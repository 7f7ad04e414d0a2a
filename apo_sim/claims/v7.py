"""V7: would more than three iterations help?"""

import dataclasses
import functools
from typing import Any

import numpy as np
import xarray as xr

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies import long_run
from apo_sim.studies.long_run import BETAS, BUDGET, FIRST
from apo_sim.studies.ring_protocol import BETA as RING_BETA
from apo_sim.studies.ring_protocol import Protocol, setup
from apo_sim.sweep import trainings

ITERATIONS, ALPHA = 20, 0.3
ARMS = 5
BUDGETS = {"each": "fresh labels in each", "in all": "the same labels in all"}
RING = f"ring, {BUDGETS['each']}"
PLANTED = 0.06  # of the gap, in reward


@claim(
    id="V7",
    title="Where more than three iterations help",
    source="reviews",
    statement=r"$$E\,\mathrm{gap}(\hat\pi_{20}) < E\,\mathrm{gap}(\hat\pi_3)$$ of DPO with "
    r"$\alpha = 0.3$, $N = 2{,}000$ pairs in each iteration or 6,000 in all: asked for random "
    r"bandits at each $\beta \in \{0.1, 1, 5\}$ and for the network on the ring.",
    control="the policy after three iterations replaced by the best one, which none beats",
    power=f"a gap smaller by {PLANTED:g} in place of the mean change of every cell",
    scope=Scope(
        "where",
        "random bandits of uniform rewards, uniform reference; the network of the ring task",
        arms=f"{ARMS}; {Protocol().side ** 2} on the ring",
        iterations=(FIRST, ITERATIONS),
        beta=f"0.1, 1, 5; {RING_BETA:g} on the ring",
        samples="2,000 or 6,000/T; on the ring 1,024, or in three iterations those of twenty",
        alpha=ALPHA,
    ),
)
def more_iterations(study: Study) -> Finding:
    r"""Map where the gap after twenty iterations is below that after three.

    Problem: random bandits, fresh data in every iteration; beside it the same labels in all, cut
    into twenty parts in place of three. The network is that of the ring task
    (`studies.ring_protocol`); there the run of three has the labels of twenty instead.

    Method: paired differences over seeds, Student's intervals for all cells together.

    Guarantee: statistical. Yes where beta is large enough for the policy to be still under way.
    With a small one no: one arm that won its only comparison is enough to leave a good one, and
    later labels compare few others. A smaller R, which caps such steps, takes the harm away.

    Reference: a question in the paper's reviews, left open there.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V7").source
        'reviews'
    """
    data = _measured(study.effort == "quick", study.sweep_seed())
    cells = _pairs(data, _network(study.pick(quick=16, full=60), study.seed))
    changes = {
        name: later - (0.0 if study.wrong else first) for name, (later, first) in cells.items()
    }
    if study.planted:
        changes = {name: each - each.mean() - PLANTED for name, each in changes.items()}
    found = judge.estimates(changes)
    fresh = [found[_table(beta, "each")] for beta in BETAS]
    return judge.where(
        found,
        unit="cells where more iterations help",
        instances=sum(each.size for each in changes.values()),
        facts={f"change at {name}": cell for name, cell in found.items()},
        note=(
            f"With fresh labels in each {ITERATIONS} iterations in place of {FIRST} change the gap "
            f"by {', '.join(f'{cell.value:+.3f}' for cell in fresh)} at "
            rf"$\beta = {', '.join(f'{beta:g}' for beta in BETAS)}$, over {data.sizes['seed']} "
            f"paired seeds each (the network: {changes[RING].size}). Other horizons and $\\alpha$ "
            "are in the study `long_run`."
        ),
        draw=lambda figure: long_run.draw(figure, data),
    )


def _table(beta: float, budget: str) -> str:
    return f"β = {beta:g}, {BUDGETS[budget]}"


def _pairs(data: xr.Dataset, network: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The gap after twenty iterations and after three, by the name of the cell."""
    gap = long_run.by_length(data).sel(alpha=ALPHA)
    cells = {}
    for beta in BETAS:
        first = gap.sel(budget="each", beta=beta, length=FIRST).values
        for budget in BUDGETS:
            later = gap.sel(budget=budget, beta=beta, length=ITERATIONS).values
            cells[_table(beta, budget)] = later, first
    early, late = network["each"]
    for budget, first in (("each", early), ("in all", network["in all"])):
        cells[f"ring, {BUDGETS[budget]}"] = late, first
    return cells


@functools.lru_cache(maxsize=1)
def _measured(quick: bool, seed: int) -> xr.Dataset:
    """The experiment; in a hurry, without the longest runs."""
    if not quick:
        return long_run.measure(seeds=300, seed=seed, progress=False, arms=ARMS)
    return long_run.measure(
        seeds=300,
        seed=seed,
        progress=False,
        arms=ARMS,
        alphas=[0.0, ALPHA],
        lengths=[1, FIRST, 10, ITERATIONS],
        budget=BUDGET,
    )


@functools.lru_cache(maxsize=1)
def _network(seeds: int, seed: int) -> dict[str, Any]:
    """The gap after 3 and after 20 iterations, and after 3 that have the labels of 20."""
    gaps = {}
    protocol = Protocol()
    assert protocol.samples is not None
    more = dataclasses.replace(protocol, samples=round(protocol.samples * ITERATIONS / FIRST))
    lanes = {
        "replicate": np.arange(seeds),
        "alpha": np.full(seeds, ALPHA),
        "beta": np.full(seeds, RING_BETA),
    }
    for name, own, length in (("each", protocol, ITERATIONS), ("in all", more, FIRST)):
        found = trainings(setup(own, seed), lanes, iterations=length, block=length, progress=False)
        gaps[name] = found["suboptimality"].astype(float)
    each = gaps["each"]
    return {"each": (each[:, FIRST - 1], each[:, -1]), "in all": gaps["in all"][:, -1]}
