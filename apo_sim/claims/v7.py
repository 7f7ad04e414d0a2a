"""V7: would more than three iterations help?"""

import dataclasses
import functools
from typing import Any

import numpy as np
import xarray as xr

from apo_sim.claims import judge
from apo_sim.claims._studies import worst
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies import long_run
from apo_sim.studies.long_run import BETAS, BUDGET, FIRST
from apo_sim.studies.ring_protocol import BETA as RING_BETA
from apo_sim.studies.ring_protocol import Protocol, setup
from apo_sim.sweep import trainings

ITERATIONS, ALPHA = 20, 0.3


@claim(
    id="V7",
    title="More than three iterations help",
    source="reviews",
    statement=r"At $N = 2{,}000$ pairs an iteration, $\alpha = 0.3$ and every "
    r"$\beta \in \{0.1, 1, 5\}$, and for the network on the ring: "
    r"$$E\,\mathrm{gap}(\hat\pi_{20}) < E\,\mathrm{gap}(\hat\pi_3).$$",
    control="the two horizons swapped",
)
def more_iterations(study: Study) -> Finding:
    r"""Compare the gap after twenty iterations with that after three, run by run.

    Problem: random bandits of five arms, uniform rewards and reference, fresh data in every
    iteration; beside it the same labels in all, cut into twenty parts in place of three. The
    network is that of the ring task (`studies.ring_protocol`).

    Method: paired differences over seeds, Student's interval, for every beta; the verdict is the
    worst.

    Guarantee: statistical. Yes where beta is large enough for the policy to be still under way.
    With a small one no: the policy has become nearly deterministic, its data compare few arms,
    and one arm that won its only comparison is enough to leave a good one (R = 2 caps the step).

    Reference: a question in the paper's reviews, left open there.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V7").source
        'reviews'
    """
    data = _measured(study.effort == "quick", study.sweep_seed())
    gap = long_run.by_length(data).sel(alpha=ALPHA)
    findings, words = [], []
    for beta in BETAS:
        last, first = (
            gap.sel(budget="each", beta=beta, length=t).values for t in (ITERATIONS, FIRST)
        )
        findings.append(
            judge.compare(
                *((first, last) if study.wrong else (last, first)),
                unit="change of the gap (reward)",
                witness={"beta": beta, "gap_at_3": first.mean(), "gap_at_20": last.mean()},
                draw=lambda figure: long_run.draw(figure, data),
            )
        )
        same_labels = gap.sel(budget="in all", beta=beta, length=ITERATIONS).values
        words.append(
            rf"$\beta = {beta:g}$: {_change(last - first)}, same labels in all "
            f"{_change(same_labels - first)}"
        )
    network = _network(study.pick(quick=16, full=60), study.seed)
    each, in_all = network["each"], network["in all"]
    findings.append(
        judge.compare(
            *((each[0], each[1]) if study.wrong else (each[1], each[0])),
            unit="change of the gap (reward)",
            witness={"network": "ring", "gap_at_3": each[0].mean(), "gap_at_20": each[1].mean()},
            draw=lambda figure: long_run.draw(figure, data),
        )
    )
    words.append(
        f"network on the ring ({each[0].size} seeds): {_change(each[1] - each[0])}, same labels in "
        f"all {_change(each[1] - in_all)}"
    )
    decisive = worst(findings)
    note = (
        f"{ITERATIONS} iterations in place of {FIRST} change the gap, over {gap.sizes['seed']} "
        "paired seeds, by"
    )
    return dataclasses.replace(
        decisive,
        instances=gap.sizes["seed"] * len(BETAS) + each[0].size,
        note=f"{note}: {'; '.join(words)}.",
    )


@functools.lru_cache(maxsize=1)
def _measured(quick: bool, seed: int) -> xr.Dataset:
    """The experiment; in a hurry, without the longest runs."""
    if not quick:
        return long_run.measure(seeds=300, seed=seed, progress=False)
    return long_run.measure(
        seeds=300,
        seed=seed,
        progress=False,
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


def _change(differences) -> str:
    low, high = judge.mean_interval(differences)
    word = "helps" if high < 0 else "hurts" if low > 0 else "undecided"
    return f"{differences.mean():+.3f} [{low:+.3f}, {high:+.3f}] ({word})"
